"""`archipel observe add-releases`: releases of one's own as models like any others."""

import datetime
from pathlib import Path

import click

from archipel.cli.doors import at_work, mending, printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.observe_at import AT, opened


@click.command("add-releases")
@click.argument("releases", type=click.Path(path_type=Path, exists=True, file_okay=False))
@AT
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="Folder of the new snapshot, which does not exist yet.",
)
@JSON
def command(releases: Path, folder: Path | None, out: Path, as_json: bool) -> None:
    """A new snapshot with the releases in RELEASES (one, or a folder of them) beside the models that it had.

    Each is graded from its bytes, as `archipel release openness` does, and treated like anybody else's: what its bytes
    do not show is unknown. The old snapshot stays as it was.

    \b
    Examples:
      archipel observe add-releases bundle --out with-ours
      archipel observe add-releases releases --at snapshots/2026-11-27 --out snapshots/2026-11-27-ours
    """
    from archipel.observatory.folder import write
    from archipel.observatory.manifest import InvalidSnapshot
    from archipel.observatory.own import CannotAdd, added, graded, releases_below

    now = datetime.datetime.now(datetime.UTC)
    before = opened(folder)
    with mending(CannotAdd, InvalidSnapshot, OSError):
        found = []
        for each in releases_below(releases):
            at_work(f"grading {each.name}")
            found.append(graded(each))
        made = added(before, tuple(found), now.date().isoformat(), int(now.timestamp() * 1000))
        write(made, out)
    data = {
        "snapshot": made.digest,
        "folder": str(out),
        "added": [
            {"release": each.digest, "run": each.released.run, "class": each.grade.classes.present}
            for each in found
        ],
    }
    said = [f"{out}  {made.digest}"]
    said += [
        f"  {each.released.run} version {each.released.version}: class {each.grade.classes.present or 'none'}"
        for each in found
    ]
    show(data, as_json, lambda: printable("\n".join(said)))
