"""Money that a verdict moves: pay that goes back and comes back, stakes that are lost. Pure; part of `consequences`."""

from archipel.lab.earning import earned
from archipel.lab.escrow import is_over, left_micro, purse, returned
from archipel.lab.providers import account_of
from archipel.lab.stakes import account, posted, staked_micro
from archipel.lab.state import LabState, Run
from archipel.market.journal import TREASURY, Move, Posting, wallet
from archipel.records.changed import changed


def slashed(state: LabState, did: str, most_micro: int) -> tuple[LabState, int]:
    """To the treasury, so that nobody gains by a verdict: not who looked, nor who pays, nor the lab.

    At most `most_micro`; returns the state, and what it was.
    """
    micro = min(staked_micro(state, did), most_micro)
    return posted(state, Posting(Move.SLASH, account(state, did), TREASURY, micro)), micro


def clawed_back(state: LabState, name: str, did: str, micro: int) -> LabState:
    """Out of the balance, else out of the stake, which is pay that was kept; what neither has is owed."""
    run = state.runs[name]
    sponsor = purse(run)
    balance = max(int(state.book.get(wallet(account_of(state, did)), 0)), 0)
    vouched = min(max(micro - balance, 0), staked_micro(state, did))
    state = posted(state, Posting(Move.CLAWBACK, account(state, did), sponsor, vouched))
    back = Posting(Move.CLAWBACK, wallet(account_of(state, did)), sponsor, micro - vouched)
    state = earned(posted(state, back), name, did, -micro)
    return state if name in state.live and not is_over(run) else returned(state, run)


def restored(state: LabState, name: str, did: str, micro: int) -> LabState:
    """Pay that was taken back wrongly comes back: from the escrow of the run `name`; what that has spent meanwhile its
    operator owes, who answers for who judges in it.
    """
    run, own = state.runs[name], wallet(account_of(state, did))
    left = left_micro(state, run) or 0
    state = adjusted(state, name, micro)
    state = posted(state, Posting(Move.RESTORE, purse(run), own, min(left, micro)))
    owed = Posting(Move.RESTORE, wallet(run.opened.author), own, max(micro - left, 0))
    return earned(posted(state, owed), name, did, micro)


def adjusted(state: LabState, name: str, micro: int) -> LabState:
    """So much more was paid in a run; less, if it is negative."""
    run = state.runs[name]
    return with_run(state, changed(run, paid_micro=run.paid_micro + micro))


def with_run(state: LabState, run: Run) -> LabState:
    """With the run as it is now."""
    return changed(state, runs=state.runs.put(run.name, run))
