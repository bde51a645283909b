"""Labs that learn of each other: each asks a few sources for cards now and then, and hands on what it knows.

Parts: `Gossip`, `Setting`. Laws: a lab only fetches; whoever wants to be known says where it can be asked, and its card is fetched
from there; all of it happens in a thread of its own, bounded in sources, cards, bytes and time; one source that is silent, floods
or lies costs the others nothing.
"""

import asyncio
import contextlib
import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from archipel.directory.asking import Asker, NoSource, cards_at, own_card
from archipel.directory.card import BadCard, Card
from archipel.directory.known import Directory, Source, reached, swept, took
from archipel.directory.own import card_of, renewed
from archipel.directory.shelf import Unkept, alone, loaded, save
from archipel.identity import Identity
from archipel.records.lab_card import is_loopback, spelled

logger = logging.getLogger("archipel.directory")

MAX_SOURCES_ASKED = 16
MAX_OFFERS = 32
"""Addresses of labs that want to be known, between two turns."""
LOOK_S = 5.0
"""So often a lab looks whether its operator set its card anew."""
LABS_ASKED = 8
"""Known labs whose own card is fetched in a turn."""
BY_ITSELF = "by itself"
"""The source of a card that its own lab gave: one voice, however many labs there are."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a lab's directory lies, and who is asked."""

    home: Path
    sources: tuple[str, ...]
    """Addresses of labs or of directory files."""
    every_s: float
    authorities: ssl.SSLContext


class Gossip:
    """One lab's part in it. Read from any thread; turned by one."""

    def __init__(
        self,
        setting: Setting,
        identity: Identity,
        head: Callable[[], str],
        now_ms: Callable[[], int],
        draw: Random,
    ) -> None:
        """head: the newest signed head of the lab's ledger. now_ms: Unix time. draw: which known labs are asked."""
        self._setting, self._identity, self._head = setting, identity, head
        self._now_ms, self._draw = now_ms, draw
        self._offers: deque[str] = deque(maxlen=MAX_OFFERS)
        self._over = threading.Event()
        self._sealed: Sequence[bytes] = ()
        self.card: Card | None = None
        """The lab's own; None: it says nothing of itself."""
        self.directory = Directory()

    def sealed_card(self) -> bytes | None:
        """The lab's own card, in its envelope."""
        card = self.card
        return None if card is None else card.sealed

    def page(self, start: int, limit: int) -> Sequence[bytes]:
        """Cards that the lab hands on, its own first."""
        return self._sealed[start : start + limit]

    def offer(self, address: str) -> None:
        """Somebody says that a lab can be asked there. What is no address is passed over, and what means this very machine,
        unless this lab is itself to be found on it alone.
        """
        try:
            where = spelled(address)
        except ValueError:
            return
        if self.is_open and where not in self._offers and (self._is_near or not is_loopback(where)):
            self._offers.append(where)

    @property
    def _is_near(self) -> bool:
        card = self.card
        return card is not None and any(map(is_loopback, card.said.addresses))

    @property
    def is_open(self) -> bool:
        """Whether the lab takes part: it says something of itself, or asks others."""
        return self.card is not None or bool(self._setting.sources)

    def end(self) -> None:
        """Of the thread that goes on."""
        self._over.set()

    def go_on(self) -> None:
        """Turn now and again until the end; what goes wrong in a turn is said, and the next one comes all the same."""
        while not self._over.is_set():
            try:
                asyncio.run(self.turn())
            except (OSError, Unkept, BadCard) as error:
                logger.warning("directory not turned", extra={"reason": str(error)})
            self._rest(self._setting.every_s * self._draw.uniform(0.9, 1.1))

    def _rest(self, seconds: float) -> None:
        """Until the next turn, or the end; what the operator says of the lab meanwhile is shown within LOOK_S."""
        ends_s = time.monotonic() + seconds
        while not self._over.wait(max(0.0, min(LOOK_S, ends_s - time.monotonic()))):
            if time.monotonic() >= ends_s:
                return
            with contextlib.suppress(OSError, BadCard):  # the next turn says it
                self.look()

    def look(self) -> None:
        """Show the lab's own card as it lies in its home, if another was signed since. Raises OSError, BadCard."""
        card = card_of(self._setting.home)
        if card is not None and (self.card is None or card.said.number > self.card.said.number):
            self.card = card
            self._publish(self.directory)

    def begin(self) -> None:
        """Sign the lab's own card if it is time, and show what is kept.

        Raises:
            OSError: the disk. Unkept, BadCard: what is kept in the home is damaged.
        """
        home = self._setting.home
        self.card = renewed(home, self._identity, self._head(), self._now_ms())
        self._publish(loaded(home, self._verified()))

    async def turn(self) -> None:
        """Begin, ask, and keep what came. Raises the same."""
        home = self._setting.home
        self.begin()
        if not self.is_open:
            return
        known = self._verified()
        async with Asker(self._setting.authorities) as asker:
            of = (
                None
                if self.card is None or not self.card.said.addresses
                else self.card.said.addresses[0]
            )
            handed, own = await asyncio.gather(
                asyncio.gather(*(self._asked(asker, each, known, of) for each in self._sources())),
                asyncio.gather(*(self._itself(asker, each) for each in self._addresses())),
            )
        with alone(home):
            directory = self._taken(loaded(home, known), handed, [each for each in own if each])
            save(home, directory)
        self._publish(directory)

    def _sources(self) -> tuple[str, ...]:
        return self._setting.sources[:MAX_SOURCES_ASKED]

    def _addresses(self) -> list[str]:
        """Of labs whose own card is wanted: those that offered themselves, and some that are known, drawn."""
        offered = [self._offers.popleft() for _ in range(len(self._offers))]
        shown = [each.card.said.addresses[0] for each in self.directory.shown().values()]
        drawn = self._draw.sample(shown, min(LABS_ASKED, len(shown)))
        return list(dict.fromkeys((*offered, *drawn)))

    async def _asked(
        self, asker: Asker, source: str, known: Mapping[bytes, Card], of: str | None
    ) -> tuple[str, tuple[Card, ...]]:
        try:
            taken = await cards_at(asker, source, known, of)
        except NoSource as error:
            logger.info("no cards", extra={"source": source, "reason": str(error)})
            return source, ()
        return source, taken.cards

    async def _itself(self, asker: Asker, address: str) -> tuple[str, Card] | None:
        try:
            card = await own_card(asker, address)
        except NoSource as error:
            logger.info("no card", extra={"source": address, "reason": str(error)})
            return None
        return (address, card) if address in card.said.addresses or card.said.withdrawn else None

    def _taken(
        self,
        directory: Directory,
        handed: Sequence[tuple[str, tuple[Card, ...]]],
        own: Sequence[tuple[str, Card]],
    ) -> Directory:
        now_ms, me = self._now_ms(), self._identity.did
        for source, cards in handed:
            others = [each for each in cards if each.said.lab != me]
            directory = took(directory, others, Source(source, is_loopback(source)), now_ms)
        for address, card in own:
            if card.said.lab != me:
                itself = Source(BY_ITSELF, is_loopback(address))
                directory = took(directory, [card], itself, now_ms)
                directory = reached(directory, card.said.lab, now_ms)
        return directory

    def _publish(self, directory: Directory) -> None:
        self.directory = swept(directory, self._now_ms())
        mine = () if self.card is None else (self.card.sealed,)
        self._sealed = (*mine, *self.directory.sealed())

    def _verified(self) -> dict[bytes, Card]:
        return {card.sealed: card for each in self.directory.labs.values() for card in each.cards}
