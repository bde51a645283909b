"""What befalls members of a run of pretraining, and when: drawn from a seed before the run begins. Pure.

Parts: `Rates`, `Event`, `events`. Moments are in outer steps of the undisturbed run, so that the same seed disturbs a
slow machine as much as a fast one.
Law: a place is in one event at a time, and at most half of the places are in one; what is drawn does not depend on the run.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from archipel.records.seeds import derive_seed


class What(Enum):
    """What happens to the member in a place."""

    DIES = "killed"
    """SIGKILL; the same machine starts again when the event is over, and remembers."""
    LEAVES = "replaced"
    """SIGKILL, for good; a member that is new to the run comes in its place when the event is over."""
    SLOWS = "slowed"
    """Its work process runs a share of the time until the event is over."""


@dataclass(frozen=True)
class Rates:
    """How much happens."""

    every: float = 1.5
    """Outer steps between two events, in the mean; gaps are exponential."""
    least: float = 1.0
    most: float = 3.0
    """An event lasts between so many outer steps, each length as likely."""

    def __post_init__(self) -> None:
        if self.every <= 0 or not 0 < self.least <= self.most:
            raise ValueError(
                f"got events every {self.every} outer steps that last {self.least} to {self.most}; expected positive "
                "numbers in order"
            )


@dataclass(frozen=True)
class Event:
    """One disturbance."""

    begins: float
    """Outer steps after version 0."""
    ends: float
    place: int
    """Which member, counted from 0; whoever replaced it has its place."""
    what: What


def most_away(places: int) -> int:
    """Of so many, so many are disturbed at a time at most."""
    return max(1, places // 2)


def events(seed: int, places: int, rates: Rates) -> Iterator[Event]:
    """Without end, in the order in which they begin."""
    chance = random.Random(derive_seed("churn", seed))  # noqa: S311  a schedule, no secret
    away: dict[int, float] = {}
    now = 0.0
    while True:
        now += chance.expovariate(1 / rates.every)
        lasts, what, pick = (
            chance.uniform(rates.least, rates.most),
            chance.choice(list(What)),
            chance.random(),
        )
        away = {place: until for place, until in away.items() if until > now}
        there = [place for place in range(places) if place not in away]
        if places - len(there) >= most_away(places):
            continue
        place = there[int(pick * len(there))]
        away[place] = now + lasts
        yield Event(now, now + lasts, place, what)
