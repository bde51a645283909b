"""What is said of how answers are looked at and what vouches for them: one table for the door, one for the fold. Pure."""

from archipel.lab import drawing, joining, keys, plants, refusals, stakes
from archipel.lab.state import LabState
from archipel.records.audits import AuditsDrawn, VerdictContested
from archipel.records.judging import Judging
from archipel.records.plants import PlantsCommitted, PlantsRevealed
from archipel.records.stakes import StakeGiven, StakePut, StakeReturned


def admit(state: LabState, statement: Judging, now_ms: int) -> None:
    """Refuse, or return."""
    joining.admit_author(state, statement.author, now_ms)
    match statement:
        case AuditsDrawn():
            raise refusals.NotAllowed(f"only the lab itself says {statement.kind}")
        case VerdictContested():
            if why := drawing.why_not_contested(state, statement, now_ms):
                raise refusals.Conflict(why)
        case PlantsCommitted() | PlantsRevealed():
            plants.admit(state, statement)
        case StakePut() | StakeGiven() | StakeReturned():
            stakes.admit(state, statement, now_ms)


def followed(state: LabState, statement: Judging, at_ms: int) -> LabState:
    """The state after it.

    Raises:
        KeyError, TypeError, ValueError: it cannot follow.
    """
    why = keys.why_barred(state, statement.author, at_ms)
    if why is not None:
        raise ValueError(why)
    match statement:
        case AuditsDrawn():
            return drawing.drawn(state, statement, at_ms)
        case VerdictContested():
            return drawing.contested(state, statement, at_ms)
        case PlantsCommitted() | PlantsRevealed():
            return plants.said(state, statement)
        case StakePut() | StakeGiven() | StakeReturned():
            return stakes.moved(state, statement, at_ms)
