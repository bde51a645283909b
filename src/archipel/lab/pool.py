"""What happens to the pool whoever says so: something is granted, something is over, a month begins. Pure; under `granting`."""

from bisect import insort

from archipel.lab import refusals
from archipel.lab.grantees import MAX_GRANTEES, MAX_GRANTS_OF_ONE, Ending, Granted, Pool
from archipel.lab.state import LabState
from archipel.market import grants
from archipel.market.grants import Grant
from archipel.market.journal import POOL, Move, Posting, grant, post
from archipel.records.changed import changed
from archipel.records.table import Table


def over(state: LabState, at_ms: int) -> LabState:
    """The state when everything that was to end by then has ended; what was left is in the pool again."""
    pool: Pool = state.pool
    while pool.ending and pool.ending[0].until_ms <= at_ms:
        did, pool = pool.ending[0].grantee, changed(pool, ending=pool.ending[1:])
        state = _without_ended(changed(state, pool=pool), did, at_ms)
    return state


def _without_ended(state: LabState, did: str, at_ms: int) -> LabState:
    known: Granted | None = state.granted.get(did)
    if known is None:
        return state
    running, left = grants.running(known.grants, at_ms)
    permits = tuple(each for each in known.permits if each.until_ms > at_ms)
    state = with_granted(state, did, Granted(running, permits))
    return posted(state, Posting(Move.RETURN, grant(did), POOL, left))


def granted(state: LabState, did: str, micro: int, until_ms: int) -> LabState:
    """With one grant more, of this month."""
    known = room_for(state, did)
    if len(known.grants) >= MAX_GRANTS_OF_ONE:
        raise refusals.TooMuch(
            f"{did} has {MAX_GRANTS_OF_ONE} grants running already; spend or end some (archipel grants end)"
        )
    given = Grant(state.size, micro, micro, until_ms)
    state = with_granted(state, did, changed(known, grants=(*known.grants, given)))
    pool = changed(
        state.pool,
        given_micro=state.pool.given_micro + micro,
        ending=ending(state.pool, until_ms, did),
    )
    return posted(changed(state, pool=pool), Posting(Move.GRANT, POOL, grant(did), micro))


def this_month(state: LabState, at_ms: int) -> LabState:
    """The state in whose pool the month is this one: nobody was given anything yet in a new one."""
    month = grants.month_of(at_ms)
    if month <= state.pool.month:  # a clock that goes back begins no month
        return state
    pool = changed(state.pool, month=month, given_micro=0, by_verifier=Table())
    return changed(state, pool=pool, persons=Table())


def room_for(state: LabState, did: str) -> Granted:
    known: Granted | None = state.granted.get(did)
    if known is None and len(state.granted) >= MAX_GRANTEES:
        raise refusals.TooMuch(f"{MAX_GRANTEES} have grants here already; wait until some are over")
    return known or Granted()


def with_granted(state: LabState, did: str, known: Granted) -> LabState:
    if known.grants or known.permits:
        return changed(state, granted=state.granted.put(did, known))
    return changed(state, granted=state.granted.drop(did)) if did in state.granted else state


def ending(pool: Pool, until_ms: int, did: str) -> tuple[Ending, ...]:
    ending = list(pool.ending)
    insort(ending, Ending(until_ms, did), key=lambda each: (each.until_ms, each.grantee))
    return tuple(ending)


def held_micro(state: LabState) -> int:
    return int(state.book.get(POOL, 0))


def posted(state: LabState, posting: Posting) -> LabState:
    return changed(state, book=post(state.book, (posting,)))


def check_operator(state: LabState, author: str) -> None:
    if author not in state.operators:
        raise refusals.NotAllowed(f"{author} is no operator of this lab")
