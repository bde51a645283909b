"""How a run is spoken of, on a page and on a terminal: one place, so that both say the same."""

from collections.abc import Mapping
from typing import Any

from archipel.curves.history import Exam
from archipel.market.amounts import dollars, written
from archipel.plurals import counted
from archipel.records.capacity import CapacityView, PlaceView
from archipel.records.documents import RunView


def version_words(version: int, versions: int) -> str:
    """How far a run is; a dash before version 0."""
    return f"{'-' if version < 0 else version}/{versions}"


def exam_words(exam: Exam) -> str:
    """Each score with its interval."""
    low, high = "_low", "_high"
    scores = [
        f"{name.replace('_', ' ')} {value:.3f} "
        f"[{exam.values[name + low]:.3f}, {exam.values[name + high]:.3f}]"
        for name, value in exam.values.items()
        if name + low in exam.values and name + high in exam.values
    ]
    plain = [f"{name.replace('_', ' ')} {number(value)}" for name, value in exam.values.items()]
    return "  ".join(scores or plain)


def progress_words(run: RunView) -> str:
    """What the run's programme counts, in its own words."""
    return ", ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in run.progress.items())


def capacity_words(capacity: CapacityView | None) -> list[str]:
    """How much work is wanted and brought, by how many nodes, and why the others wait; none where nobody measured it."""
    if capacity is None:
        return []
    wanted = f"{capacity.wanted_per_s:.3g} rollouts/s wanted, {capacity.brought_per_s:.3g} brought"
    by = f"by {counted(capacity.active, 'node')}"
    others = (
        f"{capacity.standby} on standby" if capacity.binds else f"{capacity.standby} more at work"
    )
    why = "; ".join(f"{reason}: {number}" for reason, number in capacity.reasons.items())
    aim = f"to keep the learner busy {capacity.target:.0%} of the time"
    return [f"{wanted} {by}, {aim}; {others}{': ' if why else ''}{why}"]


def place_words(place: PlaceView) -> str:
    """What a node is to one run."""
    doing = "active" if place.is_active else "standby" if place.waits else "works"
    told = f"{place.run}: {doing}, {place.why}"
    if place.ask_micro is None:
        return told
    paid = (
        "its last round bought none of it"
        if place.award_micro is None
        else f"is paid {written(place.award_micro)}"
    )
    return f"{told}; asked {written(place.ask_micro)} credits a million tokens, {paid}"


def credit_words(run: RunView, rate_micro: int | None = None) -> str:
    """What it cost so far, and what sponsors have set aside for it; in dollars as well at a stated rate."""
    usd = "" if rate_micro is None else f" ({written(dollars(run.spent_micro, rate_micro))} USD)"
    spent = f"{written(run.spent_micro)} paid or promised{usd}"
    if run.funded_micro is None:
        return f"{spent}, on its operator's account"
    return f"{spent}; {written(run.left_micro or 0)} left of {written(run.funded_micro)} set aside"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{count}" for key, count in value.items()) or "-"
    return str(value)


def number(value: float) -> str:
    """A measurement in as few digits as say it."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"
