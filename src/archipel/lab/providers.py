"""Whose a node is: the account that is paid, risks its stake, and is known for what its nodes did. Pure.

Law: whose balance, stake and reputation a key's are is decided here and nowhere else. They are an operator's for every node that
works under a key which it delegated to, also for what a key did that is revoked by now, and a node's own otherwise.
"""

from collections.abc import Callable

from archipel.lab.membership import Provider
from archipel.lab.reputation import Standing
from archipel.lab.state import LabState, Node
from archipel.records.changed import changed


def account_of(state: LabState, did: str) -> str:
    """The key whose wallet and stake a node's are: its operator's, or its own."""
    known = state.delegations.get(did)
    return did if known is None else str(known.operator)


def keys_of(state: LabState, did: str) -> tuple[str, ...]:
    """Every key of whoever this one belongs to, and so this one: they are one party."""
    account = account_of(state, did)
    provider = state.providers.get(account)
    if provider is None:
        return (did,)
    return tuple(key for key in provider.keys if account_of(state, key) == account)


def here_of(state: LabState, did: str) -> frozenset[str]:
    """The key itself, and the others of the same party that are here."""
    keys = keys_of(state, did)
    if len(keys) == 1:
        return frozenset((did,))
    return frozenset({did}.union(key for key in keys if is_here(state, key)))


def num_keys_of(state: LabState, did: str) -> int:
    """So many nodes `here_of` finds at the most, without looking at each."""
    provider = state.providers.get(account_of(state, did))
    return 1 if provider is None else 1 + len(provider.keys)


def is_here(state: LabState, did: str) -> bool:
    """Whether a node has joined, and has not left since."""
    node = state.nodes.get(did)
    return node is not None and node.present


def standing_of(state: LabState, did: str) -> Standing:
    """What audits showed of whoever this node is; of one that nobody knows, nothing."""
    provider: Provider | None = state.providers.get(account_of(state, did))
    if provider is not None:
        return provider.standing
    node = state.nodes.get(did)
    return Standing() if node is None else node.standing


def seen(state: LabState, did: str) -> Node | None:
    """The node, known for what its operator is known for."""
    node: Node | None = state.nodes.get(did)
    if node is None or did not in state.delegations:
        return node
    return changed(node, standing=standing_of(state, did))


def with_standing(state: LabState, did: str, change: Callable[[Standing], Standing]) -> LabState:
    """With the standing of whoever this node is changed, if the lab still knows it."""
    account = account_of(state, did)
    provider = state.providers.get(account)
    if provider is not None:
        provider = changed(provider, standing=change(provider.standing))
        return changed(state, providers=state.providers.put(account, provider))
    node = state.nodes.get(did)
    if node is None:
        return state
    node = changed(node, standing=change(node.standing))
    return changed(state, nodes=state.nodes.put(did, node))
