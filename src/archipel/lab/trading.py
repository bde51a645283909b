"""What is said in a market: who may say it, and what it does. Pure; part of `admission` and `apply`."""

from archipel.lab import bidding, joining, keys, refusals, rounds
from archipel.lab.state import LabState
from archipel.records.rounds import MarketCleared, MarketOpened, Trading


def admit(state: LabState, said: Trading, now_ms: int) -> None:
    """Refuse, or return."""
    joining.admit_author(state, said.author, now_ms)
    if isinstance(said, MarketOpened | MarketCleared):
        raise refusals.NotAllowed(f"only the lab itself says {said.kind}")
    bidding.admit(state, said, now_ms)


def followed(state: LabState, said: Trading, at_ms: int) -> LabState:
    """The state after it.

    Raises:
        ValueError: it cannot follow.
    """
    why = keys.why_barred(state, said.author, at_ms)
    if why is not None:
        raise ValueError(why)
    match said:
        case MarketOpened():
            return rounds.opened(state, said, at_ms)
        case MarketCleared():
            return rounds.cleared(state, said, at_ms)
        case _:
            return bidding.followed(state, said, at_ms)
