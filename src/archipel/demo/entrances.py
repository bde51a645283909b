"""When each node of the demo comes on: one after the other, while the model starts from nothing.

Loading takes each of them seconds of a processor. All at once would take most of it from the supervised stage, which uses
one processor and leaves the others idle. Law: all are on once `rest` returns, in the order in which they stood.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from archipel.bench.cheating import PROGRAM as CHEATING
from archipel.bench.site import PROGRAM, Site
from archipel.demo.plan import DOOMED, FAST, SLOW, SLY, DemoPlan
from archipel.demo.trade import stand_options

PAUSE_S: Final = 3.0
"""About what a node takes to load where it has a processor."""


@dataclass
class Entrances:
    """Those who have not come on yet."""

    waiting: list[Callable[[], None]] = field(default_factory=list)
    """Each starts one process."""
    last_s: float = float("-inf")
    """When somebody came on, by the clock of `look`."""

    def look(self, now_s: float) -> None:
        """Let the next come on, if the one before has had its pause."""
        if self.waiting and now_s - self.last_s >= PAUSE_S:
            self.last_s = now_s
            self.waiting.pop(0)()

    def rest(self) -> None:
        """Let all come on."""
        while self.waiting:
            self.waiting.pop(0)()


def named(plan: DemoPlan) -> Sequence[str]:
    """The nodes that are there from the beginning."""
    return (FAST, SLOW, DOOMED, *([SLY] if plan.cheat else []))


def entrances_of(plan: DemoPlan, site: Site, dids: dict[str, str]) -> Entrances:
    """Those of these nodes; whoever comes on gets its key into `dids`."""
    duty = ["--duty", str(plan.slow_duty)]
    cheating = [*CHEATING, str(plan.cheat), str(plan.cheat_share)]

    def enter(name: str) -> None:
        options = [*stand_options(name), *(duty if name == SLOW else [])]
        program = cheating if name == SLY else PROGRAM
        dids[name] = site.start_node(name, options, program=program)

    return Entrances([partial(enter, name) for name in named(plan)])
