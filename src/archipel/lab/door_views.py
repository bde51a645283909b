"""What a lab shows of a door's questions. Pure."""

from dataclasses import dataclass

from archipel.lab import refusals
from archipel.lab.programmes import door
from archipel.lab.programmes.door import Answered
from archipel.lab.state import LabState, Run
from archipel.records.door import AdaptQuestion, SampleQuestion
from archipel.records.door_documents import Place
from archipel.records.programmes.door import DoorPace

ENDS = ("answered", "gone")
"""Places that a question never leaves for another but `gone`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a question stands."""

    place: Place
    came_back: int = 0
    node: str | None = None
    grant: int | None = None
    """Position of its lease in the ledger."""
    answer: Answered | None = None
    question: AdaptQuestion | SampleQuestion | None = None
    """None: it is gone."""


def numbers(run: Run, now_ms: int) -> tuple[int, tuple[int, ...]]:
    """The number that the run's next question has, and those of all that are not gone.

    Raises:
        Unknown: no door asks in this run.
    """
    _require_door(run)
    slice_ = door.course(run)
    busy = {held.number for held in slice_.held.values()}
    found = [n for n, each in slice_.asked.items() if n in busy or now_ms < each.until_ms]
    found += [n for n, each in slice_.answered.items() if now_ms < each.until_ms]
    return slice_.next_number, tuple(sorted(found))


def standing(state: LabState, run: Run, number: int, now_ms: int) -> Standing:
    """Where this question stands now.

    Raises:
        Unknown: it was never asked.
    """
    _require_door(run)
    slice_ = door.course(run)
    if not 1 <= number < slice_.next_number:
        raise refusals.Unknown(
            f"no question {number} in run {run.name}; its next one has number {slice_.next_number}"
        )
    kept = slice_.answered.get(number)
    if kept is not None and now_ms < kept.until_ms:
        return Standing("answered", 0, kept.node, kept.grant, kept, kept.question)
    asked = slice_.asked.get(number)
    if asked is None:
        return Standing("gone")
    work = next((work for work, held in slice_.held.items() if held.number == number), None)
    if work is not None:
        lease = state.leases[work]
        return Standing("held", asked.came_back, lease.node, lease.entry, None, asked.question)
    if now_ms >= asked.until_ms:
        return Standing("gone", asked.came_back)
    place: Place = "ready" if number in slice_.ready else "behind"
    return Standing(place, asked.came_back, question=asked.question)


def _require_door(run: Run) -> None:
    if not isinstance(run.opened.pace, DoorPace):
        raise refusals.Unknown(
            f"run {run.name} follows {run.opened.pace.programme}; no door asks in it"
        )
