"""What follows from time alone: grants that are over, and pledges that are collected once a day. Pure; part of `apply`.

Law: whoever folds the ledger does it, before the first entry that stands at or after it; no entry says so.
"""

from archipel.lab.grantees import Pledge
from archipel.lab.money import owed
from archipel.lab.pool import over, posted
from archipel.lab.state import LabState
from archipel.market.journal import POOL, Move, Posting, wallet
from archipel.records.changed import changed
from archipel.records.grants import MILLION

DAY_MS = 86_400_000


def passed(state: LabState, at_ms: int) -> LabState:
    """The state in which everything has ended and was collected that was to be by then."""
    return _collected(over(state, at_ms), at_ms)


def _collected(state: LabState, at_ms: int) -> LabState:
    """On a new day: of each pledge what has come together, as far as its wallet has it free; the rest waits."""
    day = at_ms // DAY_MS
    if day <= state.pool.collected_day or not state.pledged:
        return state
    state = changed(state, pool=changed(state.pool, collected_day=day))
    due = {did: each for did, each in state.pledged.items() if each.due >= MILLION}
    free = owed(state, due)
    for did, known in sorted(due.items()):
        micro = min(known.due // MILLION, free.get(did, 0))
        after: Pledge = changed(known, due=known.due - micro * MILLION)
        state = changed(state, pledged=state.pledged.put(did, after))
        state = posted(state, Posting(Move.PLEDGE, wallet(did), POOL, micro))
    return state
