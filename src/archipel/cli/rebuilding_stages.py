"""A release's stages made again, one after the other: what `archipel release rebuild` does.

Law: what came of a stage is told before the next one begins, so that whoever stops it loses none.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from archipel.cli.rebuilding import Ended, Rebuilding
from archipel.cli.rebuilding_answers import examined_again, sampled_again
from archipel.cli.rebuilding_start import begun_again
from archipel.cli.rebuilding_updates import made_again
from archipel.cli.run_blobs import Altered, NotKept
from archipel.release.stages import Of, Outcome, Stage

WAYS: Mapping[Of, Callable[[Rebuilding, Sequence[Stage]], Iterator[Ended]]] = {
    "supervised": begun_again,
    "update": made_again,
    "rollouts": sampled_again,
    "evaluation": examined_again,
}


def rebuild(rebuilding: Rebuilding, stages: Sequence[Stage]) -> Iterator[Outcome]:
    """What came of each, in their order.

    Raises:
        Mendable: the release cannot be rebuilt as it was asked.
    """
    for of, way in WAYS.items():
        mine = [each for each in stages if each.of == of]
        if mine:
            yield from _timed(mine, way(rebuilding, mine))


def _timed(stages: Sequence[Stage], came: Iterator[Ended]) -> Iterator[Outcome]:
    """Each with what it took; what cannot be had stops a kind of stages, and says so of each that is left."""
    left = list(stages)
    wall, processor = time.monotonic(), _processor_s()
    try:
        for how, why in came:
            spent = (time.monotonic() - wall, _processor_s() - processor)
            yield Outcome(left.pop(0).name, how, why, *spent)
            wall, processor = time.monotonic(), _processor_s()
    except NotKept as error:
        for each in left:
            yield Outcome(each.name, "not shown", f"{error}")
    except Altered as error:
        for number, each in enumerate(left):
            yield Outcome(each.name, "not shown" if number else "differs", f"{error}")


def _processor_s() -> float:
    """Of this process, to the nanosecond, and of those that it has started and that ended, in ticks of the system."""
    others = os.times()
    return time.process_time() + others.children_user + others.children_system
