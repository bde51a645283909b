"""What fills the pool: gifts, and parts of providers' pay that come together until they are collected. Pure.

Law: a pledge moves only what could be paid out: pay that a verdict may take back is not given away before.
"""

from collections.abc import Callable

from archipel.lab import refusals
from archipel.lab.grantees import MAX_PLEDGES, Pledge
from archipel.lab.pool import check_operator, posted
from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.lab.treasury import free_treasury_micro
from archipel.market.journal import POOL, TREASURY, Move, Posting, wallet
from archipel.records.changed import changed
from archipel.records.grants import PoolFunded, PoolPledged
from archipel.records.table import Table

Free = Callable[[LabState, str], int]
"""What may be paid out of a key's wallet (`money.free_micro`)."""


def funded(state: LabState, said: PoolFunded, at_ms: int, free: Free) -> LabState:
    if said.source == "wallet":
        source, most = wallet(said.author), free(state, said.author)
        why = "an operator of the lab enters what you pay in (archipel account settle in)"
    else:
        check_operator(state, said.author)
        source, most = TREASURY, free_treasury_micro(state, at_ms)
        why = "stakes that a contest may still give back stay there"
    if said.micro > most:
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits for the pool, and {most} of the {source} are free; {why}"
        )
    return posted(state, Posting(Move.FUND, source, POOL, said.micro))


def pledged(state: LabState, said: PoolPledged) -> LabState:
    pledged: Table[str, Pledge] = state.pledged
    known = pledged.get(said.author)
    if not said.parts:
        if known is None:
            raise refusals.Conflict(f"{said.author} has pledged nothing")
        return changed(state, pledged=pledged.drop(said.author))
    if known is None and len(pledged) >= MAX_PLEDGES:
        raise refusals.TooMuch(
            f"{MAX_PLEDGES} providers pledge already, and no more are remembered"
        )
    after = changed(known or Pledge(0), parts=said.parts)
    return changed(state, pledged=pledged.put(said.author, after))


def accrued(state: LabState, did: str, micro: int) -> LabState:
    """The state when whoever this key belongs to was paid so much; below zero: it went back."""
    if not state.pledged:
        return state
    account = account_of(state, did)
    known: Pledge | None = state.pledged.get(account)
    if known is None:
        return state
    after = changed(known, due=known.due + micro * known.parts)
    return changed(state, pledged=state.pledged.put(account, after))


def handed_over(state: LabState, did: str) -> LabState:
    """The state when a key became a node's: its operator says what is pledged of what it earns."""
    return changed(state, pledged=state.pledged.drop(did)) if did in state.pledged else state
