"""A lab's part in a directory of labs, wired: its own card, whom it asks, the thread in which that happens."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from archipel.cli.clock import clock_ms
from archipel.cli.grouped import as_one

if TYPE_CHECKING:
    from archipel.directory.gossip import Gossip
    from archipel.identity import Identity
    from archipel.ledger.log import Log

USUAL_S = 300.0


class SourceUrl(click.ParamType):
    """Where cards lie on the network: a lab, or a directory file."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As a card spells an address."""
        from archipel.records.lab_card import spelled

        try:
            return spelled(str(value).rstrip("/"))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Asked(NamedTuple):
    """Whom a lab asks for cards, and how often, about."""

    know: tuple[str, ...]
    know_every: float


directory_options = as_one(
    "asked",
    Asked,
    click.option(
        "--know",
        multiple=True,
        type=SourceUrl(),
        metavar="URL",
        help="Learn of other labs from this one, or from a directory file (.jsonl), now and then; may be given several "
        "times.",
    ),
    click.option(
        "--know-every",
        default=USUAL_S,
        show_default=True,
        type=click.FloatRange(1.0, 86_400.0),
        metavar="SECONDS",
        help="How often they are asked, about.",
    ),
)


def gossip_of(home: Path, identity: "Identity", log: "Log", asked: Asked) -> "Gossip":
    """The lab's, not turned yet; what it kept is shown from the first request on."""
    from random import SystemRandom

    from archipel.directory.card import BadCard
    from archipel.directory.gossip import Gossip, Setting
    from archipel.directory.shelf import Unkept
    from archipel.node.exchange import authorities

    made = Gossip(
        Setting(home, *asked, authorities()),
        identity,
        lambda: log.head.note.decode(),
        clock_ms,
        SystemRandom(),
    )
    try:
        made.begin()
    except (Unkept, BadCard, OSError) as error:  # no reason for a lab not to run
        click.echo(f"archipel: other labs are not shown: {error}", err=True)
    return made


@contextlib.contextmanager
def gossiping(gossip: "Gossip") -> Iterator[None]:
    """Turned in a thread while the block lasts."""
    import threading

    threading.Thread(target=gossip.go_on, name="directory", daemon=True).start()
    try:
        yield
    finally:
        gossip.end()
