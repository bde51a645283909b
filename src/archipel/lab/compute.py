"""What providers pledged of their machines' time, and what they gave of it so far. Pure; parts of `admission` and `apply`.

Law: only the account whose nodes do the work pledges it; what was given follows from leases and accepted answers of the
ledger alone: the time from a grant to its accepted answer, and the tokens in it. Nobody is held to a pledge here.
"""

from archipel.lab import refusals
from archipel.lab.given import Given
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Run
from archipel.records.changed import changed
from archipel.records.compute import MAX_PLEDGED_MS, ComputePledged, ComputeWithdrawn, Pledging
from archipel.records.table import Table

MAX_PLEDGES_OF_ONE = 16
MAX_PLEDGERS = 10_000


def why_not(state: LabState, said: Pledging, at_ms: int) -> str | None:
    """Why this may not be said; None: it may."""
    author = said.author
    known: tuple[Given, ...] = state.compute.get(author, ())
    if isinstance(said, ComputeWithdrawn):
        if any(each.name == said.name and each.holds(at_ms) for each in known):
            return None
        return f"{author} has no pledge {said.name} here that holds"
    if account_of(state, author) != author:
        return f"{author} is a node of {account_of(state, author)}, who alone may pledge its time"
    if author not in state.nodes and author not in state.providers:
        return f"no machine of {author} ever joined this lab; join it first (archipel node start)"
    if not at_ms < said.until_ms <= at_ms + MAX_PLEDGED_MS:
        return f"it holds until {said.until_ms}; expected a time to come, at most {MAX_PLEDGED_MS // 86_400_000} days away"
    others = [each for each in known if each.name != said.name and each.holds(at_ms)]
    if len(others) >= MAX_PLEDGES_OF_ONE:
        return f"{author} has {MAX_PLEDGES_OF_ONE} pledges that hold; withdraw one first"
    if not known and len(state.compute) >= MAX_PLEDGERS:
        return f"{MAX_PLEDGERS} providers pledge already, and no more are remembered"
    return None


def admit_pledge(state: LabState, said: Pledging, now_ms: int) -> None:
    """Refuse, or return."""
    why = why_not(state, said, now_ms)
    if why is not None:
        raise refusals.Conflict(why)


def followed(state: LabState, said: Pledging, at_ms: int) -> LabState:
    """The state after either statement. Raises ValueError: it may not be said."""
    why = why_not(state, said, at_ms)
    if why is not None:
        raise ValueError(why)
    table: Table[str, tuple[Given, ...]] = state.compute
    known = table.get(said.author, ())
    if isinstance(said, ComputePledged):
        fresh = Given(
            name=said.name,
            entry=state.size,
            at_ms=at_ms,
            until_ms=said.until_ms,
            purpose=said.purpose,
            share=said.share,
            hours=said.hours,
        )
        after = (*(each for each in known if each.name != said.name), fresh)
        # What is over goes first, the oldest of it before: what holds is bounded, and so is what is kept.
        over = [each for each in after if not each.holds(at_ms)]
        gone = {each.name for each in over[: max(len(after) - 2 * MAX_PLEDGES_OF_ONE, 0)]}
        after = tuple(each for each in after if each.name not in gone)
    else:
        after = tuple(
            changed(each, withdrawn_ms=at_ms) if each.name == said.name else each for each in known
        )
    return changed(state, compute=table.put(said.author, after))


def done(state: LabState, run: Run, did: str, took_ms: int, tokens: int, at_ms: int) -> LabState:
    """The state when an answer of this node was accepted, `took_ms` after its grant."""
    if not state.compute:
        return state
    account = account_of(state, did)
    known: tuple[Given, ...] | None = state.compute.get(account)
    if known is None:
        return state
    purposes = run.opened.pace.purposes or ()
    after = tuple(
        changed(
            each,
            given_ms=each.given_ms + max(took_ms, 0),
            works=each.works + 1,
            tokens=each.tokens + tokens,
        )
        if each.holds(at_ms) and (each.purpose is None or each.purpose in purposes)
        else each
        for each in known
    )
    return changed(state, compute=state.compute.put(account, after))
