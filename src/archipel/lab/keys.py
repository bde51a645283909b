"""What becomes of the keys of an operator's nodes: delegated to, replaced, revoked. Pure; parts of `admission` and `apply`.

Law: a delegation counts here only with the word of both, the operator's and the node's, so nobody takes what another
key earned; and a revoked key comes back for nobody. Who revokes a key that has not come takes back the own word alone:
it may be another's.
"""

from archipel.lab import accusations, earning, endings, node_pauses
from archipel.lab.membership import Delegated, Provider
from archipel.lab.providers import account_of
from archipel.lab.reputation import Standing, merged
from archipel.lab.state import LabState
from archipel.market.journal import Move, Posting, post, stake, wallet
from archipel.records.changed import changed
from archipel.records.membership import (
    MAX_KEYS_PER_OPERATOR,
    Delegation,
    KeyRevoked,
    read_signed,
)
from archipel.records.statements import NodeJoined


def delegation_in(joined: NodeJoined) -> Delegation | None:
    """The delegation that a node came with. Raises NotSigned: it is none."""
    return None if joined.delegation is None else read_signed(Delegation, joined.delegation)


def why_barred(state: LabState, did: str, now_ms: int) -> str | None:
    """Why this key may say nothing here any more; None: it may."""
    known = state.delegations.get(did)
    if known is None:
        return None
    if known.revoked is not None:
        return (
            f"its operator revoked this key ({known.revoked}); give the node a new key and have the operator "
            "delegate to that"
        )
    if known.until_ms is not None and now_ms >= known.until_ms:
        return (
            f"its operator's delegation to this key ended at {known.until_ms} (Unix milliseconds); ask the operator "
            "for a new one"
        )
    return None


def why_not_delegated(state: LabState, joined: NodeJoined, now_ms: int) -> str | None:
    """Why a node may not come with this delegation; None: it may, or has none.

    1 it is about this key, here and now  2 both keys are free for it  3 it is not older than what is known
    4 what it replaces is the operator's  5 there is room
    """
    said, did = delegation_in(joined), joined.author
    if said is None:
        return _why_not_alone(state, did, now_ms)
    return (
        _why_not_meant(state, said, did, now_ms)
        or _why_not_free(state, said, did)
        or _why_not_newer(state, said, did, now_ms)
        or _why_not_replaced(state, said)
        or _why_no_room(state, said, did)
    )


def _why_not_meant(state: LabState, said: Delegation, did: str, now_ms: int) -> str | None:
    if said.node != did:
        return f"the delegation is to {said.node}, and this key is {did}"
    if said.lab not in (None, state.lab, *(each.predecessor for each in state.succeeded)):
        return f"the delegation is for lab {said.lab}, this is {state.lab}"
    if said.until_ms is not None and now_ms >= said.until_ms:
        return f"the delegation ended at {said.until_ms} (Unix milliseconds); ask the operator for a new one"
    return None


def _why_not_free(state: LabState, said: Delegation, did: str) -> str | None:
    if said.operator == did or said.operator in state.nodes or said.operator in state.delegations:
        return (
            f"{said.operator} is a node's key; an operator's key works for nobody and stays at home"
        )
    if did in state.operators or did in state.providers:
        return f"{did} is an operator's key and cannot be a node of {said.operator}"
    return None


def _why_not_newer(state: LabState, said: Delegation, did: str, now_ms: int) -> str | None:
    known = state.delegations.get(did)
    if known is None:
        return _why_foretold(state, said.operator, did)
    if known.operator != said.operator:
        return f"this key is a node of {known.operator}; with another operator it needs a new key"
    if known.revoked is not None:
        return why_barred(state, did, now_ms)
    if said.issued_ms < known.issued_ms:
        return "a later delegation to this key is known here; come with that one"
    return None


def _why_foretold(state: LabState, operator: str, did: str) -> str | None:
    """Such a key is among the operator's, and nothing is delegated to it."""
    if did not in _keys(state, operator):
        return None
    return f"{operator} revoked this key before it came; give the node a new key and have it delegate to that"


def _why_not_replaced(state: LabState, said: Delegation) -> str | None:
    old = said.replaces
    if old is None or (old != said.node and _is_under(state, old, said.operator)):
        return None
    return f"{old}, which this key replaces, is no key of {said.operator} here"


def _is_under(state: LabState, did: str, operator: str) -> bool:
    return did in state.delegations and account_of(state, did) == operator


def _why_no_room(state: LabState, said: Delegation, did: str) -> str | None:
    keys = _keys(state, said.operator)
    if did not in keys and len(keys) >= MAX_KEYS_PER_OPERATOR:
        return f"{said.operator} has {MAX_KEYS_PER_OPERATOR} keys here already, revoked ones among them"
    return None


def _why_not_alone(state: LabState, did: str, now_ms: int) -> str | None:
    """A node that brings no delegation: it has none, or the lab knows it."""
    if did in state.providers:
        return (
            f"{did} is an operator's key here; make the node a key of its own and delegate to that"
        )
    return why_barred(state, did, now_ms)


def _keys(state: LabState, operator: str) -> tuple[str, ...]:
    provider = state.providers.get(operator)
    return () if provider is None else provider.keys


def delegated(state: LabState, joined: NodeJoined, at_ms: int) -> LabState:
    """The state when a node came with its operator's word.

    What it earned, vouched with and was known for on its own is the operator's from now on.

    Raises:
        ValueError: it may not come with it.
    """
    why = why_not_delegated(state, joined, at_ms)
    if why is not None:
        raise ValueError(why)
    said, did = delegation_in(joined), joined.author
    if said is None:
        return state
    if said.replaces is not None:
        state = _without_key(state, said.replaces, f"replaced by {did}", at_ms)
    provider = state.providers.get(said.operator, Provider(said.operator))
    if did not in provider.keys:
        provider = changed(provider, keys=(*provider.keys, did))
    if did not in state.delegations:
        state, provider = _handed_over(state, did, provider)
    return changed(
        state,
        providers=state.providers.put(said.operator, provider),
        delegations=state.delegations.put(
            did, Delegated(said.operator, said.issued_ms, said.until_ms)
        ),
    )


def _handed_over(state: LabState, did: str, provider: Provider) -> tuple[LabState, Provider]:
    book, operator = state.book, provider.did
    for account in (wallet, stake):
        micro = book.get(account(did), 0)
        here, there = (did, operator) if micro >= 0 else (operator, did)
        move = Posting(Move.HANDOVER, account(here), account(there), abs(micro))
        book = post(book, (move,))
    node, nodes = state.nodes.get(did), state.nodes
    if node is not None:
        provider = changed(provider, standing=merged(provider.standing, node.standing))
        nodes = nodes.put(did, changed(node, standing=Standing()))
    runs = {name: accusations.handed_over(run, did, operator) for name, run in state.runs.items()}
    runs = {name: run for name, run in runs.items() if run is not state.runs[name]}
    state = changed(state, book=book, nodes=nodes, runs=state.runs.put_all(runs.items()))
    return earning.handed_over(state, did, operator), provider


def why_not_revoked(state: LabState, revoked: KeyRevoked) -> str | None:
    """Why this revocation comes to nothing; None: it does not."""
    keys, did = _keys(state, revoked.author), revoked.node
    known = state.delegations.get(did)
    if not keys:
        return f"{revoked.author} has no nodes here, so there is nothing to revoke"
    if known is None and (did in state.providers or did in state.operators):
        return f"{did} is no key of {revoked.author}"
    if known is None and did in keys:
        return f"{did} was revoked before"
    if known is None and len(keys) >= MAX_KEYS_PER_OPERATOR:
        return f"{revoked.author} has {MAX_KEYS_PER_OPERATOR} keys here already"
    if known is not None and known.operator != revoked.author:
        return f"{did} is no key of {revoked.author}"
    if known is not None and known.revoked is not None:
        return f"{did} was revoked before ({known.revoked})"
    return None


def revoked(state: LabState, statement: KeyRevoked, at_ms: int) -> LabState:
    """The state when an operator took its word back. Also a key that never came here, or that works here alone, can be
    revoked: then this operator's delegation to it counts no more, and nothing else.

    Raises:
        ValueError: it is not this operator's to revoke.
    """
    why = why_not_revoked(state, statement)
    if why is not None:
        raise ValueError(why)
    operator = state.providers[statement.author]
    if statement.node not in state.delegations:
        operator = changed(operator, keys=(*operator.keys, statement.node))
        return changed(state, providers=state.providers.put(operator.did, operator))
    return _without_key(state, statement.node, statement.reason, at_ms)


def _without_key(state: LabState, did: str, why: str, at_ms: int) -> LabState:
    """What the key held goes back, and its node is gone for good."""
    known = changed(state.delegations[did], revoked=state.delegations[did].revoked or why)
    state = changed(state, delegations=state.delegations.put(did, known))
    state = node_pauses.ended(state, (did,))
    if did not in state.nodes:
        return state
    state = endings.left_behind(state, did, at_ms)
    return endings.with_node(state, changed(state.nodes[did], present=False))
