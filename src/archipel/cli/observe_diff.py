"""`archipel observe diff`: what changed between two snapshots."""

from pathlib import Path

import click

from archipel.cli.doors import columns, printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.observe_at import opened

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("diff")
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
@JSON
def command(before: Path, after: Path, as_json: bool) -> None:
    """Two snapshots: rows that came, went or changed, and every figure that moved with them.

    \b
    Examples:
      archipel observe diff snapshots/2026-10-31 snapshots/2026-11-27
      archipel observe diff old new --json
    """
    from archipel.observatory.differing import difference
    from archipel.observatory.wording import difference_text

    found = difference(opened(before), opened(after))
    show(found.data(), as_json, lambda: printable(difference_text(found, columns())))
