"""Cards from sources, into what this machine keeps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import Mendable, at_work, mending
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.directory.card import Card
    from archipel.directory.known import Directory
    from archipel.directory.lines import Taken

"""Between two words about how far it is."""
MAX_SOURCE_CHARACTERS = 500


def refreshed(folder: Path, sources: tuple[str, ...] = ()) -> "Directory":
    """What is known, with what these hand out; of several, one that is silent is said, and the others count.

    Raises:
        Mendable: the only one is silent; or what is kept cannot be read.
    """
    from archipel.directory.known import swept
    from archipel.directory.shelf import Unkept, loaded

    for each in sources:
        try:
            taken = taken_in(folder, each, is_by_hand=False)
        except Mendable as error:
            if len(sources) == 1:
                raise
            click.echo(f"archipel: {error}", err=True)
        else:
            for why in taken.refused:
                click.echo(f"archipel: {each}: {why}", err=True)
    with mending(Unkept, OSError):
        return swept(loaded(folder), clock_ms())


def taken_in(folder: Path, where: str, *, is_by_hand: bool) -> "Taken":
    """Cards of one source, into what is kept; where: an address, a file or a folder.

    Raises:
        Mendable: there are none, or they cannot be kept.
    """
    from archipel.directory.asking import NoSource, cards_in
    from archipel.directory.known import Source, took
    from archipel.directory.shelf import Unkept, alone, loaded, save
    from archipel.records.lab_card import is_loopback, spelled

    is_url = "://" in where
    with mending(NoSource, Unkept, OSError, ValueError):
        name = spelled(where.rstrip("/")) if is_url else str(Path(where).resolve())
        known = loaded(folder)
        verified = {card.sealed: card for each in known.labs.values() for card in each.cards}
        with progress("cards came") as note:
            if is_url:
                taken = _asked(name, verified, note)
            else:
                taken = cards_in(Path(where), verified, note)
        source = Source(name[:MAX_SOURCE_CHARACTERS], not is_url or is_loopback(name), is_by_hand)
        with alone(folder):
            save(folder, took(loaded(folder, verified), taken.cards, source, clock_ms()))
    return taken


@contextmanager
def progress(what: str) -> Iterator[Callable[[int], None]]:
    """Says now and then, where somebody watches, how many of something there are."""
    tell = seldom(at_work)
    yield lambda number: tell(f"{number} {what}")


def _asked(url: str, known: "Mapping[bytes, Card]", note: Callable[[int], None]) -> "Taken":
    import asyncio

    from archipel.directory.asking import Asker, cards_at
    from archipel.node.exchange import authorities

    async def asked() -> "Taken":
        async with Asker(authorities()) as asker:
            return await cards_at(asker, url, known, note=note)

    return asyncio.run(asked())
