"""The measurements of one run, version by version, in plain units. Pure.

A record holds integers whose names say their unit (`reward_micro`, `grade_ms`); here they are floats under
names without a millionth in them: `reward`, `grade_s`. Bytes and counts stay as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from archipel.records.recipe_alarms import AlarmSection

MICRO, MILLI = "_micro", "_ms"
GREEDY = "greedy"
_SHARES = (GREEDY, "pass_at_")
"""Scores of an evaluation, recorded in millionths under names without a unit."""


FIRST = (
    "reward",
    "entropy",
    "mismatch_kl",
    "ratio_max",
    "effective_sample_fraction",
    "loss",
    "grad_norm",
    "finished_fraction",
)
"""What people look at first; records hold names in the order of the alphabet."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one version measured."""

    version: int
    at_s: float
    """Unix time by the lab's clock at which it was published, as its author's number says."""
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Exam:
    """What one version achieved on held-out tasks."""

    version: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class History:
    """One run as far as it is known."""

    run: str
    versions: int
    """The last version will have this number."""
    points: tuple[Point, ...]
    """By version; version 0 measured nothing but sizes."""
    exams: tuple[Exam, ...]
    bounds: AlarmSection = field(default_factory=AlarmSection)
    """From where on a measurement is an alarm, as the run's recipe says."""

    def names(self) -> list[str]:
        """Every series there is, training before evaluation, the most looked at first."""
        found = in_order({name for point in self.points for name in point.values})
        exams = dict.fromkeys(name for exam in self.exams for name in exam.values)
        return [*found, *(f"eval_{name}" for name in exams)]

    def series(self, name: str) -> list[tuple[int, float]]:
        """(version, value) of one series; `eval_...` are those of the evaluations."""
        bare = name.removeprefix("eval_")
        rows: Sequence[Point | Exam] = self.points if bare == name else self.exams
        return [(row.version, row.values[bare]) for row in rows if bare in row.values]


def in_order(names: Iterable[str]) -> list[str]:
    """As people read them: the most looked at first, the rest by name."""
    return sorted(
        names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)
    )


def plain(metrics: Mapping[str, int]) -> dict[str, float]:
    """Recorded metrics in plain units: millionths as fractions, milliseconds as seconds."""
    return dict(_plain(name, value) for name, value in metrics.items())


def plain_exam(metrics: Mapping[str, int]) -> dict[str, float]:
    """As `plain`, of an evaluation, whose scores are millionths under names without a unit."""
    return dict(
        (name, value / 1e6)
        if name.startswith(_SHARES) and MICRO not in name
        else _plain(name, value)
        for name, value in metrics.items()
    )


def exams_of(evaluations: Sequence[Mapping[str, int]]) -> tuple[Exam, ...]:
    """The evaluations that a run's view lists, each with its `version`, by version."""
    found = [
        Exam(row["version"], plain_exam({name: row[name] for name in row if name != "version"}))
        for row in evaluations
    ]
    return tuple(sorted(found, key=lambda exam: exam.version))


def _plain(name: str, value: int) -> tuple[str, float]:
    if name.endswith(MICRO):
        return name.removesuffix(MICRO), value / 1e6
    if name.endswith(MILLI):
        return f"{name.removesuffix(MILLI)}_s", value / 1e3
    return name, float(value)
