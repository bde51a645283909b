"""`archipel observe page`: a snapshot as one HTML page, or its pictures alone."""

from pathlib import Path

import click

from archipel.cli.doors import at_work
from archipel.cli.observe_at import AT, opened
from archipel.cli.outputs import NewFile


@click.command("page")
@AT
@click.option(
    "--out",
    type=NewFile(".html", ".png", ".svg"),
    default="observatory.html",
    show_default=True,
    help="A page (.html), or its pictures alone (.png, .svg).",
)
@click.option("--title", default="Open models of the world", show_default=True, help="Its title.")
def command(folder: Path | None, out: Path, title: str) -> None:
    """A snapshot as one self-contained HTML page: figures, pictures, tables, published figures, sources.

    The page fetches nothing and runs nothing; the same snapshot gives the same bytes. With --out ending in .png or
    .svg the pictures alone are written.

    \b
    Examples:
      archipel observe page
      archipel observe page --at snapshots/2026-11-27 --out open-models.html
      archipel observe page --out open-models.svg
    """
    from archipel.observatory.drawing import picture
    from archipel.observatory.headlines import headlines
    from archipel.observatory.page import page

    snapshot = opened(folder)
    at_work("drawing")
    ending = out.suffix.lower().removeprefix(".")
    if ending == "html":
        out.write_text(page(snapshot, title), "utf-8")
    else:
        out.write_bytes(picture(headlines(snapshot), ending))
    click.echo(f"{out}: snapshot {snapshot.manifest.name} of {snapshot.manifest.day}", err=True)
