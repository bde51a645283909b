"""A node that is given no work because its operator said so, and is again when they say so. Pure; parts of `admission` and `apply`.

Law: a paused node is given work of no kind, is called to no audit, and is bought of by no market; what it holds may be
answered, and is paid. Leaving and coming back end no pause, so a machine that starts by itself works for nobody before
its operator says so; whoever is forgotten, or whose key is revoked, is paused no more.
"""

from collections.abc import Iterable

from archipel.lab import awards, refusals
from archipel.lab.providers import account_of, is_here
from archipel.lab.state import LabState
from archipel.lab.tallies import Pause
from archipel.records.changed import changed
from archipel.records.membership import NodePaused, NodeResumed

NodePausing = NodePaused | NodeResumed


def may_work(state: LabState, did: str) -> bool:
    """Whether a node is here and not paused."""
    return is_here(state, did) and did not in state.paused


def why_not(state: LabState, statement: NodePausing) -> str | None:
    """Why this may not be said; None: it may."""
    did = statement.node
    if did not in state.nodes:
        return f"no node {did} is known here; `archipel operator list` names those of an operator"
    known = state.delegations.get(did)
    if account_of(state, did) != statement.author:
        whose = "its operator" if known is not None else "the node itself, which has no operator,"
        return f"{statement.author} may not say {statement.kind} of {did}; only {whose} may"
    if known is not None and known.revoked is not None:
        return f"the key {did} was revoked ({known.revoked}) and is given no work anyway"
    is_paused = did in state.paused
    if isinstance(statement, NodeResumed) and not is_paused:
        return f"{did} is not paused, so there is nothing to resume"
    if isinstance(statement, NodePaused) and is_paused:
        return f"{did} is paused already; `archipel operator resume {did}` ends that"
    return None


def followed(state: LabState, statement: NodePausing, at_ms: int) -> LabState:
    """The state after either statement. Raises ValueError: it may not be said."""
    why = why_not(state, statement)
    if why is not None:
        raise ValueError(why)
    did = statement.node
    if isinstance(statement, NodeResumed):
        return ended(state, (did,))
    pause = Pause(by=statement.author, reason=statement.reason, at_ms=at_ms)
    return changed(awards.ended(state, (did,)), paused=state.paused.put(did, pause))


def ended(state: LabState, dids: Iterable[str]) -> LabState:
    """With none of these paused."""
    gone = [did for did in dids if did in state.paused]
    return changed(state, paused=state.paused.drop(*gone)) if gone else state


def tell(state: LabState, did: str | None) -> None:
    """Say to a node that waited for work in vain that it is paused, if it is. Raises NodeIsPaused."""
    pause = None if did is None else state.paused.get(did)
    if pause is not None:
        raise refusals.NodeIsPaused(
            f"{pause.by} paused this node ({pause.reason or 'no reason given'}); it is given no work until they say "
            f"`archipel operator resume {did}`"
        )
