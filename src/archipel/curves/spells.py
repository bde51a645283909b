"""Which alarms a run has had, and when: what somebody would have heard who had looked at every version. Pure.

`concerns` says what is wrong now. A run that is over, or was looked at seldom, may have had more to say on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from archipel.curves.concerns import concerns
from archipel.curves.history import History

MAX_VERSIONS = 512
"""The newest so many are gone through."""


@dataclass(frozen=True, slots=True)
class Spell:
    """One kind of alarm in the course of a run."""

    kind: str
    first: int
    """Version at which it was given first."""
    last: int
    """And last; between them it may have been silent."""
    text: str
    """Its words at first."""

    def __str__(self) -> str:
        """For a line of several."""
        if self.first == self.last:
            return f"{self.kind} at version {self.first}"
        return f"{self.kind} at versions {self.first} to {self.last}"


def spells_of(history: History) -> list[Spell]:
    """Every kind of alarm that was given up to the newest version, in the order of their beginnings."""
    points = history.points[-MAX_VERSIONS:]
    spells: dict[str, Spell] = {}
    for number, point in enumerate(points, 1):
        exams = tuple(exam for exam in history.exams if exam.version <= point.version)
        then = replace(history, points=points[:number], exams=exams)
        for concern in concerns(then):
            begun = spells.get(concern.kind)
            if begun is None:
                spells[concern.kind] = Spell(
                    concern.kind, point.version, point.version, concern.text
                )
            else:
                spells[concern.kind] = replace(begun, last=point.version)
    return list(spells.values())


def over(spells: Sequence[Spell], standing: Sequence[str]) -> list[Spell]:
    """Those that do not stand any more. standing: kinds that do."""
    return [spell for spell in spells if spell.kind not in standing]
