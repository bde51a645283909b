"""`archipel observe list`: what a snapshot holds, or which measures there are."""

from pathlib import Path

import click

from archipel.cli.doors import columns, printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.observe_at import AT, opened


@click.command("list")
@AT
@click.option("--measures", is_flag=True, help="The measures: id, what it is, how it is computed.")
@JSON
def command(folder: Path | None, measures: bool, as_json: bool) -> None:
    """What a snapshot holds: tables, rows, sources, and whether each was read at first hand.

    \b
    Examples:
      archipel observe list
      archipel observe list --at snapshots/2026-11-27 --json
      archipel observe list --measures
    """
    from archipel.observatory.measures.table import MEASURES
    from archipel.observatory.seeds import shipped
    from archipel.observatory.wording import defined_text, listed_text

    if measures:
        known = [definition for definition, _ in MEASURES.values()]
        show(
            [
                {"id": each.id, "title": each.title, "definition": each.words, "unit": each.unit}
                | {"asks": list(each.asks), "flaws": list(each.flaws)}
                for each in known
            ],
            as_json,
            lambda: "\n".join(defined_text(known, columns())),
        )
        return
    snapshot = opened(folder)
    where = str(folder or shipped()[-1].name)
    data = snapshot.manifest.model_dump(mode="json") | {"digest": snapshot.digest}
    show(data, as_json, lambda: printable("\n".join(listed_text(snapshot, where))))
