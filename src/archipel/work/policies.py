"""The weights a worker holds, moved from version to version along a verified chain.

Parts: `follow` (one step of a chain), `Policies` (what a process holds of each run). Law: weights are
held only once every tensor has the digest that its manifest gives it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from archipel.model.manifest import BadWeights, Manifest
from archipel.model.versions import apply_delta, decode_anchor
from archipel.work.kind import Context, WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.recent import Recent


@dataclass(frozen=True, slots=True)
class Policy:
    """A version's weights (bf16, Hugging Face names) and their manifest."""

    state: Mapping[str, Tensor]
    manifest: Manifest


def follow(chain: Sequence[LinkMessage], held: Policy | None, policy: str) -> Policy:
    """The weights with state digest `policy`, at the end of `chain`, from those `held`.

    Raises:
        BadWeights: a manifest, anchor or delta is damaged or leads elsewhere.
        WorkFailed: the chain is broken, or its end is not `policy`.
    """
    for link in _ahead(chain, held):
        held = _step(held, link)
    if held is None or held.manifest.state != policy:
        got = held.manifest.state if held else "none"
        raise WorkFailed(f"the weights on hand are {got}, expected {policy}")
    return held


def _step(held: Policy | None, link: LinkMessage) -> Policy:
    manifest = Manifest.from_bytes(link.manifest.read_bytes())
    if manifest.state != link.policy:
        raise WorkFailed(f"manifest of version {link.version} is not for {link.policy}")
    follows = held is not None and manifest.parent == held.manifest.state
    if held is not None and follows and link.delta is not None:
        state = apply_delta(held.state, held.manifest, link.delta.read_bytes(), manifest)
    elif link.anchor is not None:
        state = decode_anchor(link.anchor.read_bytes(), manifest)
    else:
        raise WorkFailed(f"version {link.version} has no anchor and its parent is missing")
    return Policy(state, manifest)


def _ahead(chain: Sequence[LinkMessage], held: Policy | None) -> Sequence[LinkMessage]:
    """What is left of `chain` if it passes through the weights held; else all of it."""
    for position, link in enumerate(chain):
        if held and (link.version, link.policy) == (held.manifest.version, held.manifest.state):
            return chain[position + 1 :]
    return chain


class Policies:
    """The newest policy of each run worked in lately; `advance` is the only way to change one."""

    def __init__(self) -> None:
        self._held: Recent[str, Policy] = Recent()

    def advance(self, context: Context, policy: str) -> Policy:
        """Apply the context's chain and return the policy with this state digest.

        Raises:
            WorkFailed: the chain is broken, corrupt, or leads to other weights.
        """
        self._held.make_room(context.run)
        try:
            held = follow(context.chain, self._held.get(context.run), policy)
        except BadWeights as error:
            raise WorkFailed(f"weights of {context.run}: {error}") from None
        self._held.put(context.run, held)
        return held
