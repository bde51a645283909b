"""Whom a lab forgets to make room, and what it still knows of them then: their balances, and that nothing old can be
said again. Pure.
"""

from collections.abc import Iterable, Mapping

from archipel.lab import awards, node_pauses
from archipel.lab.decide import next_seq
from archipel.lab.membership import Provider
from archipel.lab.presence import NOBODY_ASKED, is_gone, last_heard_ms
from archipel.lab.providers import account_of, keys_of
from archipel.lab.reputation import Standing
from archipel.lab.state import LabState
from archipel.market.journal import stake, wallet
from archipel.records.changed import changed
from archipel.records.statements import NodesForgotten

MAX_REVOKERS = 4096
"""Operators that are remembered for the keys that they revoked alone; others are forgotten with their revocations."""


def forgotten(state: LabState, statement: NodesForgotten) -> LabState:
    """Balances stay, and so do operators that earned, were audited, or revoked a key; of the numbers the highest does.

    Raises:
        KeyError: one of them is unknown.
        ValueError: one of them holds work.
    """
    dids = statement.nodes
    for did in dids:
        if state.nodes[did].leases:
            raise ValueError(f"{did} holds work, it cannot be forgotten")
    state = node_pauses.ended(awards.ended(state, dids), dids)
    state = changed(state, nodes=state.nodes.drop(*dids))
    blank = _blank(state, dids)
    if statement.revocations is not None:
        blank = _without_revokers(state, blank)
    state, operators = _without(state, blank), blank
    spoken = [did for did in (*dids, *operators) if did in state.sequences]
    asked = [did for did in dids if did in state.asked]
    numbers = [state.sequences[did] for did in spoken] + [state.asked[did] for did in asked]
    return changed(
        state,
        sequences=state.sequences.drop(*spoken),
        asked=state.asked.drop(*asked),
        forgotten_seq=max(state.forgotten_seq, *numbers),
    )


def _blank(state: LabState, dids: Iterable[str]) -> list[str]:
    """Operators of whom nothing but these nodes was known."""
    operators = {account_of(state, did) for did in dids if did in state.delegations}
    return [each for each in sorted(operators) if _is_blank(state, state.providers[each])]


def _without_revokers(state: LabState, blank: list[str]) -> list[str]:
    """Those of them that revoked nothing, and those for whom there is no room: a revoked key comes back for nobody."""
    revokers = [each for each in blank if _has_revoked(state, state.providers[each])]
    if not revokers:
        return blank
    known = sum(
        _is_blank(state, each) and _has_revoked(state, each) for each in state.providers.values()
    )
    left = set(revokers[: max(0, MAX_REVOKERS - (known - len(revokers)))])
    return [each for each in blank if each not in left]


def _has_revoked(state: LabState, operator: Provider) -> bool:
    for key in operator.keys:
        known = state.delegations.get(key)
        if known is None or known.operator != operator.did or known.revoked is not None:
            return True
    return False


def _without(state: LabState, operators: Iterable[str]) -> LabState:
    """Without these, and without their keys."""
    dids = list(operators)
    keys = [key for each in dids for key in keys_of(state, each)]
    return changed(
        state,
        providers=state.providers.drop(*dids),
        delegations=state.delegations.drop(*keys),
    )


def _is_blank(state: LabState, operator: Provider) -> bool:
    has_any = any(account(operator.did) in state.book for account in (wallet, stake))
    is_at_work = any(key in state.nodes for key in keys_of(state, operator.did))
    return not (has_any or is_at_work or operator.standing != Standing())


def forgettable(
    state: LabState, now_ms: int, most: int, asked_ms: Mapping[str, int] = NOBODY_ASKED
) -> NodesForgotten | None:
    """Nodes to forget so that a newcomer finds room, at most `most`; None when nobody may be.

    asked_ms: see `presence.last_heard_ms`.

    First those that left or were silent for long; if there are none, those that joined first of all that
    never had an answer accepted. Looks at every node.
    """
    idle = [node for node in state.nodes.values() if not node.leases]
    gone = [node for node in idle if is_gone(node, last_heard_ms(node, asked_ms), now_ms)]
    chosen = gone or [node for node in idle if not node.works]
    chosen.sort(key=lambda node: (node.works > 0, node.last_seen_ms, node.did))
    if not chosen:
        return None
    dids = tuple(node.did for node in chosen[:most])
    said = NodesForgotten(lab=state.lab, author=state.lab, seq=next_seq(state), nodes=dids)
    operators = {account_of(state, did) for did in dids if did in state.delegations}
    has_any = any(_has_revoked(state, state.providers[each]) for each in operators)
    return said.model_copy(update={"revocations": "kept"}) if has_any else said
