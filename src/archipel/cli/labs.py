"""`archipel labs`: which labs there are, by their signed cards, and what they answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import KeyName, Mendable, home_folder, mending, show
from archipel.cli.helping import Group
from archipel.cli.labs_sources import progress, refreshed, taken_in
from archipel.cli.outputs import NewFile
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.labs_live import Live
    from archipel.cli.labs_words import Openness
    from archipel.directory.known import KnownLab

HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the labs that this machine knows are kept [~/.archipel/labs].",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
DIRECTORIES = click.option(
    "--directory",
    "directories",
    multiple=True,
    metavar="URL|FILE|FOLDER",
    help="First take in the cards that this lab, directory file or folder of such files hands out; may be given several times.",
)
LIVE = click.option(
    "--live", is_flag=True, help="Ask each lab now: runs, prices, newest head, who signed it."
)
RELEASES = click.option(
    "--releases",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Releases at hand, each a folder: the openness of each lab's newest is computed from its bytes, here.",
)


@click.group(cls=Group, invoke_without_command=True)
@HOME
@DIRECTORIES
@LIVE
@RELEASES
@JSON
@click.pass_context
def command(
    context: click.Context,
    home: Path | None,
    directories: tuple[str, ...],
    live: bool,
    releases: Path | None,
    as_json: bool,
) -> None:
    """Labs that this machine knows, by cards that they signed themselves; there is no registrar.

    \b
    Examples:
      archipel labs --directory https://lab.example --live
      archipel labs --directory labs.jsonl --json
      archipel labs --releases releases
    """
    if context.invoked_subcommand is not None:
        if directories or live or releases or as_json:
            raise click.UsageError(
                f"give options after {context.invoked_subcommand}, not before it"
            )
        return
    folder = home_folder("labs", home)
    known = refreshed(folder, directories)
    shown = known.shown()
    if not shown and known.forgotten and not as_json:
        raise Mendable(
            f"no lab is shown here, and {counted(len(known.forgotten), 'lab was', 'labs were')} forgotten by hand; "
            "show one again: archipel labs add SOURCE"
        )
    _show(shown, _live(shown) if live else {}, _openness(releases), as_json)


@command.command(name="show")
@click.argument("did", type=KeyName())
@HOME
@DIRECTORIES
@LIVE
@RELEASES
@JSON
def show_one(
    did: str,
    home: Path | None,
    directories: tuple[str, ...],
    live: bool,
    releases: Path | None,
    as_json: bool,
) -> None:
    """What one lab says of itself, and what it answers.

    \b
    Example:
      archipel labs show did:key:z6Mk... --live
    """
    from archipel.cli.lab_card import card_lines
    from archipel.cli.labs_words import document, table

    known = refreshed(home_folder("labs", home), directories).labs.get(did)
    if known is None:
        raise Mendable(f"no card of {did} is known here; take some in with --directory")
    answered, openness = _live({did: known}) if live else {}, _openness(releases)

    def text() -> str:
        said = [line for card in known.cards for line in card_lines(card)]
        return "\n".join([*said, *table({did: known}, answered, openness)])

    show(document(did, known, answered.get(did), openness), as_json, text)


@command.command()
@click.argument("where", metavar="URL|FILE|FOLDER")
@HOME
@JSON
def add(where: str, home: Path | None, as_json: bool) -> None:
    """Take in the cards that a lab, a directory file or a folder hands out, and keep them whatever else comes.

    \b
    Examples:
      archipel labs add https://lab.example
      archipel labs add labs.jsonl
    """
    taken = taken_in(home_folder("labs", home), where, is_by_hand=True)
    told = {"cards": len(taken.cards), "refused": taken.num_refused, "why": list(taken.refused)}
    said = [counted(len(taken.cards), "card"), *taken.refused]
    show(told, as_json, lambda: "\n".join(said))


@command.command()
@click.argument("did", type=KeyName())
@HOME
def forget(did: str, home: Path | None) -> None:
    """Show a lab no more, whoever hands on its card, until it is added again.

    \b
    Example:
      archipel labs forget did:key:z6Mk...
    """
    from archipel.directory.known import forgot
    from archipel.directory.shelf import Unkept, alone, loaded, save

    folder = home_folder("labs", home)
    with mending(Unkept, OSError), alone(folder):
        before = loaded(folder)
        save(folder, forgot(before, did))
    click.echo(
        f"{did} is {'forgotten' if did in before.labs else 'not known, and will not be taken in'}"
    )


@command.command()
@click.argument("file", type=NewFile(".jsonl"))
@HOME
@DIRECTORIES
def export(file: Path, home: Path | None, directories: tuple[str, ...]) -> None:
    """Write every card as a directory file, which anybody may host, mirror or send.

    \b
    Example:
      archipel labs export labs.jsonl
    """
    from archipel.directory.lines import to_lines

    sealed = refreshed(home_folder("labs", home), directories).sealed()
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(to_lines(sealed))
    partial.replace(file)
    click.echo(f"{counted(len(sealed), 'card')} in {file}")


def _live(labs: "Mapping[str, KnownLab]") -> "Mapping[str, Live]":
    """What they answer now."""
    import asyncio

    from archipel.cli.labs_live import look
    from archipel.node.exchange import authorities

    cards = {did: each.card for did, each in labs.items() if each.card.said.addresses}
    with progress(f"of {counted(len(cards), 'lab')} asked") as note:
        return asyncio.run(look(cards, authorities(), note))


def _openness(releases: Path | None) -> "Openness":
    """Of each lab's newest release in this folder, computed from its bytes; one that does not hold counts for nothing."""
    if releases is None:
        return {}
    from archipel.cli.labs_openness import openness_in

    with mending(OSError), progress("releases looked at") as note:
        return openness_in(releases, note)


def _show(
    labs: "Mapping[str, KnownLab]",
    live: "Mapping[str, Live]",
    openness: "Openness",
    as_json: bool,
) -> None:
    from archipel.cli.labs_words import document, table

    if not labs and not as_json:
        raise Mendable("no lab is known here; take some in: archipel labs --directory https://LAB")
    told = [document(did, each, live.get(did), openness) for did, each in labs.items()]
    show(told, as_json, lambda: "\n".join(table(labs, live, openness)))
