"""One machine divided among the labs that it serves: who has it now, who waits for it, and the account on disk.

Parts: `Divided` (the machine), `Stint` (one lab's way to it, as `stint.Sharing` has it). Law: one lab at a time computes; a lab that holds the machine without work loses it after `ASK_LIMIT_S`, one with work after
`longest_s`; what was given is told by the clock, whatever the lab did with it. A damaged account begins anew: it costs
fairness, never work.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.node.stints import Division, Floor, Next, Place, agreed, came, next_of, spent

logger = logging.getLogger("archipel.node")

FILE = "stints.json"
ASK_LIMIT_S = 15.0
"""So long a lab has the machine without work: to start the process that runs it, to be measured, to ask."""
LONGEST_S = 3600.0
"""Of one lease, where several labs are served: one that takes longer is given back."""
POLL_S = 1.0
"""How long a lab is asked for work while others wait for the machine."""
IDLE_POLL_S = 3.0
"""The same while nobody does."""
FIRST_REST_S, MAX_REST_S = 0.5, 8.0
"""A lab that had no work is asked again after this, and twice that if it has none again."""
NOTHING_S = 1.0
"""Between looks whether a lab has a run again that it may be asked for."""
SAVE_EVERY_S = 10.0


Counts = Callable[[str, str], Collection[str]]
"""Lab and run -> the floors that work of this run counts for."""
Allowed = Callable[[str, str | None], tuple[str, ...] | None]
"""Lab and floor -> the only runs that may be asked for; None: any."""


class Divided:
    """The machine. Make and use it inside one event loop."""

    def __init__(
        self,
        home: Path,
        longest_s: float = LONGEST_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the account that is kept in `home`."""
        self.longest_s = longest_s
        self._file, self._clock_s = home / FILE, clock_s
        self.account = _read(self._file)
        self.holder: Next | None = None
        self._since_s = self._saved_s = clock_s()
        self._run: str | None = None
        self._waiting: dict[str, asyncio.Event] = {}
        self._rests: dict[str, tuple[float, float]] = {}
        """Lab -> since when it has no work, and how long it rests for that."""
        self._end: asyncio.TimerHandle | None = None
        self.serves: Callable[[str], Collection[str]] = lambda lab: ()
        """Lab -> floors that it could serve now."""
        self.counts: Counts = lambda lab, run: ()
        self.allowed: Allowed = lambda lab, floor: None

    def agree(self, weights: Mapping[str, float], floors: Mapping[str, float]) -> None:
        """From now on these labs have these weights, and these floors go before them."""
        self.account = agreed(self.account, weights, floors)

    def stint(self, lab: str) -> "Stint":
        """A lab's way to the machine."""
        return Stint(self, lab)

    @property
    def others_wait(self) -> bool:
        """Whether a lab waits that does not have the machine."""
        return bool(self._waiting)

    async def wait(self, lab: str, *, owes: bool) -> None:
        """Until this lab has the machine; one that had no work rests before it is in the way of others.

        owes: it has a lease to work at.
        """
        await asyncio.sleep(0.0 if owes else self._rest_s(lab))
        while not owes and self.allowed(lab, None) == ():  # noqa: ASYNC110  a look at the lab tells
            await asyncio.sleep(NOTHING_S)
        if self.has(lab):
            return
        self.account = came(self.account, lab)
        given = self._waiting[lab] = asyncio.Event()
        try:
            self._give()
            await given.wait()
        except asyncio.CancelledError:
            if self._waiting.pop(lab, None) is None and self.has(lab):
                self.over(lab, worked=False)
            raise

    def has(self, lab: str) -> bool:
        """Whether this lab has the machine now."""
        return self.holder is not None and self.holder.lab == lab

    def took(self, lab: str, run: str) -> None:
        """Work of this run is done now."""
        self._rests.pop(lab, None)
        if self.has(lab):
            self._run = run
            self._end_after(self.longest_s)

    def over(self, lab: str, *, worked: bool) -> None:
        """The machine is free for the next; one that worked is asked for more at once, unless others are due."""
        if not worked:
            self._no_work(lab)
        if self.has(lab):
            self._count(lab)
            self._give(lab if worked else None)

    def leave(self, lab: str) -> None:
        """Nothing more is asked for this lab."""
        self._waiting.pop(lab, None)
        self.over(lab, worked=False)

    def save(self) -> None:
        """Keep the account; it may lie on a slow disk. A full one costs the account alone."""
        self._saved_s = self._clock_s()
        try:
            write_json(self._file, as_document(self.account))
        except OSError as error:
            logger.warning("stints not saved", extra={"reason": str(error)})

    async def save_if_due(self) -> None:
        """Beside the event loop."""
        if self._clock_s() - self._saved_s >= SAVE_EVERY_S:
            await asyncio.to_thread(self.save)

    def _count(self, lab: str) -> None:
        held_s = max(self._clock_s() - self._since_s, 0.0)
        counts = self.counts(lab, self._run) if self._run is not None else ()
        wanted = {each: self.serves(each) for each in (lab, *self._waiting)}
        self.account = spent(self.account, lab, held_s, wanted, counts)
        self.holder, self._run = None, None
        self._end_after(None)

    def _give(self, goes_on: str | None = None) -> None:
        """To whom it is due, of those who wait and who goes on."""
        if self.holder is not None:
            return
        asking = [*self._waiting, *((goes_on,) if goes_on is not None else ())]
        self.holder = next_of(self.account, {each: self.serves(each) for each in asking})
        if self.holder is None:
            return
        self._since_s = self._clock_s()
        self._end_after(ASK_LIMIT_S)
        event = self._waiting.pop(self.holder.lab, None)
        if event is not None:
            event.set()

    def _end_after(self, limit_s: float | None) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = None
        if limit_s is not None and self.holder is not None:
            loop, lab = asyncio.get_running_loop(), self.holder.lab
            self._end = loop.call_later(limit_s, lambda: self.over(lab, worked=False))

    def _no_work(self, lab: str) -> None:
        _, rest_s = self._rests.get(lab, (0.0, FIRST_REST_S / 2))
        self._rests[lab] = self._clock_s(), min(2 * rest_s, MAX_REST_S)

    def _rest_s(self, lab: str) -> float:
        since_s, rest_s = self._rests.get(lab, (self._clock_s(), 0.0))
        return max(since_s + rest_s - self._clock_s(), 0.0)


class Stint:
    """One lab's way to a machine that others use too."""

    def __init__(self, machine: Divided, lab: str) -> None:
        self._machine, self._lab = machine, lab

    @property
    def runs(self) -> tuple[str, ...] | None:
        """The only runs whose work it may ask for in this stint; None: any."""
        holder = self._machine.holder
        return self._machine.allowed(self._lab, holder.floor if holder and self.is_here else None)

    @property
    def is_here(self) -> bool:
        """Whether it has the machine."""
        return self._machine.has(self._lab)

    @property
    def longest_s(self) -> float:
        """No work may take longer."""
        return self._machine.longest_s

    def poll_s(self, most_s: float) -> float:
        """Shortly, while others wait."""
        return min(most_s, POLL_S if self._machine.others_wait else IDLE_POLL_S)

    async def wait(self, *, owes: bool) -> None:
        """Until it has the machine."""
        await self._machine.wait(self._lab, owes=owes)

    def took(self, run: str) -> None:
        """A lease of this run is worked at."""
        self._machine.took(self._lab, run)

    def over(self, *, worked: bool) -> None:
        """It needs the machine no more, for now."""
        self._machine.over(self._lab, worked=worked)


def as_document(account: Division) -> dict[str, Any]:
    """As it is kept, and told."""
    return asdict(account)


def read_account(home: Path) -> Division:
    """The account kept there; an empty one where there is none, or none that can be read."""
    return _read(home / FILE)


def _read(path: Path) -> Division:
    try:
        read = read_json(path)
        return Division() if read is None else _division(read)
    except (Unreadable, OSError, TypeError, ValueError, KeyError, AttributeError) as error:
        logger.warning("stints unreadable", extra={"reason": str(error)})
        return Division()


def _division(read: dict[str, Any]) -> Division:
    """Raises TypeError, ValueError: it is none."""
    places = {str(lab): Place(**its) for lab, its in read.pop("places").items()}
    floors = {str(name): Floor(**its) for name, its in read.pop("floors").items()}
    found = Division(places=places, floors=floors, **read)
    numbers = [found.now, found.longest_s, found.at_s]
    numbers += [n for each in places.values() for n in (each.weight, each.start, each.spent_s)]
    numbers += [n for each in floors.values() for n in (each.share, each.owed_s, each.given_s)]
    if not all(isinstance(each, float | int) and abs(each) < 1e15 for each in numbers):
        raise ValueError("a number that is none")
    if any(each.weight <= 0 for each in places.values()):
        raise ValueError("a weight that is none")
    return found
