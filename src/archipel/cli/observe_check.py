"""`archipel observe check`: what others published, recomputed from a snapshot."""

import sys
from pathlib import Path

import click

from archipel.cli.doors import columns, printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.observe_at import AT, opened


@click.command("check")
@AT
@click.option("--strict", is_flag=True, help="End with 1 if a figure differs.")
@JSON
def command(folder: Path | None, strict: bool, as_json: bool) -> None:
    """Published figures on open models, recomputed from a snapshot: theirs, ours, how far apart, and why.

    One rule says how near each came; it stands above the list. A figure whose rows the snapshot lacks is told with
    what is lacking.

    \b
    Examples:
      archipel observe check
      archipel observe check --at snapshots/2026-11-27 --strict
      archipel observe check --json
    """
    from archipel.observatory.checking import check
    from archipel.observatory.wording import checked_text

    found = check(opened(folder))
    show(
        [each.data() for each in found], as_json, lambda: printable(checked_text(found, columns()))
    )
    if strict and any(each.verdict == "differs" for each in found):
        sys.exit(1)
