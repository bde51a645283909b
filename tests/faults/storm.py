"""Kind `storm`: many faults at once over lab, second lab, update role, nodes, their network and the lab's store.

Every agent reaches each lab through a relay of its own, and every process has a clock of its own. Faults begin at
moments that the seed draws and overlap; what passes is taken back after a while. Whoever ends in words because it
was short of something is started again, as a service manager would.
"""

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from archipel.bench.site import SiteFailed
from faults.afflictions import SHORT_OF, STARVED, STARVING, is_borne, spoilt, stepped
from faults.labs import Labs, shimmed
from faults.moments import moment
from faults.stores import FOLDER, Store
from faults.worlds import FAR, OPENING_S, UPDATE, Bench, Told, World, role, world

NODES = ("node0", "node1")
MOST = 60
"""Faults that are drawn; those of the network come beside them."""
PAUSE_S = (0.02, 0.6)
LASTS_S = (0.3, 3.0)
STILL_S = 120.0
"""A ledger without anything new for so long after the last fault: the run stands still."""
RAGES_S = 150.0
ODDS = {
    "kill": 6,
    "term": 2,
    "int": 1,
    "child": 4,
    "stall": 5,
    "partition": 3,
    "descriptors": 3,
    "memory": 2,
    "full disk": 3,
    "clock step": 3,
    "bit of a copy": 3,
    "store": 4,
    "leader": 2,
}
MOST_LIVES = 100
"""Processes that are started again."""


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """As many faults as the run's life has room for."""
    rng = random.Random(f"storm {seed}")
    stores = bench.stores
    name = rng.choice(stores.names) if stores is not None else FOLDER
    with _store(bench, name, f"storm {seed}") as store, world(bench, folder, store) as made:
        labs = Labs(made, f"storm {seed}")
        try:
            storm = Storm(made, labs, rng)
            storm.begin()
            storm.rage()
            told = storm.told()
        finally:
            labs.close()
        hits = dict(told.hits) | labs.hits()
        return Told(told.wrong, sum(hits.values()), f"over {name}: {told.notes}", hits)


@contextmanager
def _store(bench: Bench, name: str, seed: str) -> Iterator[Store]:
    if bench.stores is None:
        yield Store()
        return
    with bench.stores.opened(name, seed) as store:
        yield store


class Storm:
    """One world's."""

    def __init__(self, made: World, labs: Labs, rng: random.Random) -> None:
        self._made, self._labs, self._rng = made, labs, rng
        self._passing: list[tuple[float, str, Callable[[], None]]] = []
        """(until, monotonic seconds; whom; how it is taken back)."""
        self._short_of = defaultdict[str, set[str]](set)
        """Who was short of what: of memory or descriptors, it may end without a word, and its child while it loads its modules.
        """
        self._lives = 0

    @property
    def _names(self) -> list[str]:
        return [*self._labs.names, UPDATE, *NODES]

    def begin(self) -> None:
        """Labs, update role, run and nodes, each with its clock and its way."""
        made = self._made
        self._labs.open()
        with made.surroundings(shimmed(made, UPDATE)):
            self._labs.open_run(self._revive)
        for name in NODES:
            with made.surroundings(shimmed(made, name)), made.reached_at(self._labs.way(name)):
                made.start_nodes([name], FAR)
        if self._rng.random() < 0.8:
            self._labs.wait(lambda: made.version >= 0, "version 0", OPENING_S, self._revive)

    def rage(self) -> None:
        """Fault after fault, until there were enough, or the run is over."""
        made, until_s = self._made, time.monotonic() + RAGES_S
        while made.hits.total() < MOST:
            moment(self._rng, *PAUSE_S)
            self._pass()
            self._labs.look()
            if made.is_over or time.monotonic() > until_s:
                break
            for kind in self._rng.choices(
                list(ODDS), list(ODDS.values()), k=self._rng.randint(1, 4)
            ):
                self._revive()
                self._strike(kind, self._rng.choice(self._names))
            self._revive()
        self._pass(everything=True)
        self._labs.calm()

    def told(self) -> Told:
        """What is left of it once the run is over, or stands still."""
        made = self._made
        while not made.is_over:
            before = made.num_shown
            try:
                self._labs.wait(
                    lambda before=before: made.is_over or made.num_shown > before,
                    "the end of the run",
                    STILL_S,
                    self._revive,
                )
            except SiteFailed as error:
                made.wrong(f"not over: {error}")
                break
        self._labs.look()
        told = made.told()
        borne = {
            f"{said} ended in a traceback: {why}"
            for name, what in self._short_of.items()
            if not STARVING.isdisjoint(what)
            for said in (f"{name}/child.log", f"{name}.out")
            for why in STARVED
        }
        wrong = [each for each in told.wrong if not each.startswith(tuple(borne))]
        return replace(told, wrong=wrong)

    def _strike(self, kind: str, name: str) -> None:
        made, rng = self._made, self._rng
        agent = rng.choice((UPDATE, *NODES))
        if kind in ("kill", "term", "int"):
            self._end(kind, name)
        elif kind == "leader":
            self._end("kill", made.leader)
        elif kind in SHORT_OF:
            self._squeeze(kind, name)
        elif kind == "partition":
            self._begin(kind, agent, lambda: self._labs.part(agent))
        elif kind == "child" and (children := made.children(agent)):
            self._begin("kill", "child", lambda: _killed(rng.choice(children)))
        elif kind == "clock step":
            stepped(made.site.folder / f"{name}.clock", rng)
            made.note(f"{kind} {name}", f"{kind}: {role(name)}")
        elif kind == "bit of a copy":
            self._spoil(kind, made.site.home(rng.choice(NODES)))
        elif kind == "store" and (found := self._labs.of_the_store(rng)):
            self._begin(found[0], "store", found[1])

    def _squeeze(self, kind: str, name: str) -> None:
        everyone = [self._made.site.pid(name), *self._made.children(name)]
        self._short_of[name].add(kind)
        self._begin(kind, name, lambda: SHORT_OF[kind](everyone, self._rng))

    def _spoil(self, kind: str, home: Path) -> None:
        if spoilt([*home.glob("blobs/*/*"), *home.glob("models/*/*")], self._rng):
            self._made.note(f"{kind} of {home.name}", f"{kind}: node")

    def _begin(self, kind: str, name: str, act: Callable[[], Callable[[], None] | None]) -> None:
        undo = act()
        self._made.note(f"{kind} {name}", f"{kind}: {role(name)}")
        if undo is not None:
            self._passing.append((time.monotonic() + self._rng.uniform(*LASTS_S), name, undo))

    def _pass(self, whose: str = "", *, everything: bool = False) -> None:
        """Take back what is over, or all that this one has."""
        now = time.monotonic()
        for each in list(self._passing):
            until_s, name, undo = each
            if everything or until_s < now or name == whose:
                self._passing.remove(each)
                undo()

    def _end(self, how: str, name: str) -> None:
        made = self._made
        self._pass(name)
        if how == "kill":
            made.kill(name)
        else:
            made.end(name, signal.SIGTERM if how == "term" else signal.SIGINT)
        made.note(f"{how} {name}", f"{how}: {role(name)}")
        moment(self._rng, 0.0, 0.5)
        self._again(name)

    def _revive(self) -> None:
        """Whoever ended unasked has said why, and is started again."""
        made = self._made
        for name, code in made.ended_early().items():
            self._pass(name)
            made.notes.append(f"{name} ended with {code}")
            if not is_borne(code, self._short_of[name]):
                made.wrong(f"{name} ended with code {code}")
            self._again(name)

    def _again(self, name: str) -> None:
        made = self._made
        self._lives += 1
        if self._lives > MOST_LIVES:
            raise SiteFailed(f"{name} is the {self._lives}th process that has to be started again")
        with made.surroundings(shimmed(made, name)):
            if name in self._labs.names:
                self._labs.start_again(name)
            else:
                with made.reached_at(self._labs.way(name)):
                    made.start_again(name)


def _killed(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
