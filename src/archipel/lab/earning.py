"""What owners of a run have earned, while it runs; and whose that is when a key becomes a node's. Pure; part of `apply`.

Law: pay is counted where it moves: an accepted answer adds it, what a verdict takes back is taken from it, what a later
verdict gives again is added again.
"""

from archipel.lab import pledges, voting
from archipel.lab.charters import with_owned
from archipel.lab.owners import Owned, Vote
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Run
from archipel.records.changed import changed
from archipel.records.table import Table


def opened(state: LabState, run: Run) -> LabState:
    """The state when a run was opened: with a charter it has owners."""
    if run.opened.pace.charter is None:
        return state
    return changed(state, owned=state.owned.put(run.name, Owned()))


def earned(state: LabState, name: str, did: str, micro: int) -> LabState:
    """The state when whoever this key belongs to was paid so much for work of a run; below zero: it went back."""
    state = pledges.accrued(state, did, micro)
    owned: Owned | None = state.owned.get(name)
    if owned is None or owned.issued or not micro:
        return state
    account = account_of(state, did)
    pay = owned.earned.put(account, owned.earned.get(account, 0) + micro)
    return with_owned(state, name, changed(owned, earned=pay))


def handed_over(state: LabState, did: str, operator: str) -> LabState:
    """The state when a key that was its own became a node's: what it held, and its votes, are its operator's."""
    state = pledges.handed_over(state, did)
    for name, owned in state.owned.items():
        after = _without_key(owned, did, operator)
        if after is not owned:
            state = with_owned(state, name, after)
    return state


def _without_key(owned: Owned, did: str, operator: str) -> Owned:
    tables = (owned.earned, owned.issued, owned.held, owned.delegates)
    is_known = any(did in table for table in tables) or did in owned.delegates.values()
    if not is_known and not any(did in vote.weights for vote in owned.votes):
        return owned
    return changed(
        owned,
        earned=_merged(owned.earned, did, operator),
        issued=_merged(owned.issued, did, operator),
        held=_merged(owned.held, did, operator),
        delegates=voting.handed_over(owned.delegates, did, operator),
        votes=tuple(_voted(vote, did, operator) for vote in owned.votes),
    )


def _voted(vote: Vote, did: str, operator: str) -> Vote:
    """The operator's own ballot counts, where there is one, and the key's otherwise."""
    ballots = vote.ballots
    if did in ballots:
        own = ballots.get(operator, ballots[did])
        ballots = ballots.drop(did).put(operator, own)
    return changed(vote, weights=_merged(vote.weights, did, operator), ballots=ballots)


def _merged(table: Table[str, int], did: str, operator: str) -> Table[str, int]:
    if did not in table:
        return table
    return table.drop(did).put(operator, table.get(operator, 0) + table[did])
