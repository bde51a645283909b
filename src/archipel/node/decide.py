"""What an agent does next, from what it knows: pure, priority is reading order."""

from dataclasses import dataclass
from enum import Enum

FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 30.0


class Act(Enum):
    """One step of an agent's life."""

    LEAVE = "stop: nothing is owed any more"
    GIVE_BACK = "return the lease: the operator is in a hurry"
    START_CHILD = "start the process that runs work"
    JOIN = "present the node to the lab"
    WORK = "do the leased work"
    PAUSE = "leave the machine to others for now"
    YIELD = "wait until it is this lab's time on a machine that serves several"
    DRAIN = "wait for answers still on their way to the lab"
    ASK = "ask for work"


@dataclass(frozen=True, slots=True)
class View:
    """What the agent knows of itself."""

    stopping: bool = False
    """The operator pressed Ctrl-C once: finish what is leased, take nothing new."""
    hurrying: bool = False
    """Twice: give the lease back."""
    paused: bool = False
    """The operator's rules leave the machine to others now; what is leased is finished."""
    yields: bool = False
    """Another lab has the machine, or is due before."""
    child_ready: bool = False
    joined: bool = False
    leased: bool = False
    sending: int = 0
    """Answers being uploaded while the next work runs."""
    asking: bool = False
    """One of them is small: its receipt may bring the next lease."""
    max_sending: int = 2


def next_act(view: View) -> Act:
    """The next step."""
    return (
        _give_back(view)
        or _leave(view)
        or _pause(view)
        or _yield(view)
        or _start_child(view)
        or _join(view)
        or _work(view)
        or _drain(view)
        or Act.ASK
    )


def _give_back(view: View) -> Act | None:
    return Act.GIVE_BACK if view.hurrying and view.leased else None


def _leave(view: View) -> Act | None:
    idle = view.stopping and not view.leased
    return Act.LEAVE if idle and (view.sending == 0 or view.hurrying) else None


def _pause(view: View) -> Act | None:
    return Act.PAUSE if view.paused and not view.leased and not view.stopping else None


def _yield(view: View) -> Act | None:
    return Act.YIELD if view.yields and (view.leased or not view.stopping) else None


def _start_child(view: View) -> Act | None:
    return Act.START_CHILD if not view.child_ready and not view.stopping else None


def _join(view: View) -> Act | None:
    return Act.JOIN if not view.joined and not view.stopping else None


def _work(view: View) -> Act | None:
    return Act.WORK if view.leased else None


def _drain(view: View) -> Act | None:
    must_wait = view.stopping or view.asking or view.sending >= view.max_sending
    return Act.DRAIN if must_wait else None


def backoff_s(attempt: int, draw: float) -> float:
    """Wait before retry number `attempt` (from 0): doubling, capped, and spread by `draw` in [0, 1)."""
    return min(FIRST_BACKOFF_S * 2.0 ** min(attempt, 16), MAX_BACKOFF_S) * (0.5 + draw / 2)
