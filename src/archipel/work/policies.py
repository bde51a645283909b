"""The weights a worker holds, moved from version to version along a verified chain.

Parts: `follow` (one step of a chain), `Policies` (what a process holds of each run). Law: weights are
held only once every tensor has the digest that its manifest gives it; of an adapter what moves is its own
tensors, and what they lie over is held beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from archipel.model.adapter import Adapter
from archipel.model.manifest import BadWeights, Manifest
from archipel.model.versions import apply_delta, decode_anchor
from archipel.work.bases import Bases, Ground, require_whole
from archipel.work.kind import Context, WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.part_assembly import assembled, files_of, index_of
from archipel.work.recent import Recent

Check = Callable[[Manifest], None]
"""Raises BadWeights of a manifest that is not of the kind that is followed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A version's weights (bf16, Hugging Face names; of an adapter PEFT's) and their manifest."""

    state: Mapping[str, Tensor]
    manifest: Manifest
    ground: Ground | None = None
    """Of an adapter: what it lies over, where that is at hand."""

    @property
    def adapter(self) -> Adapter | None:
        """The policy as an adapter, if it is one."""
        over = self.manifest.over
        return None if over is None else Adapter(over.form, self.state)

    def whole(self) -> Mapping[str, Tensor]:
        """Weights of the whole model: of an adapter merged with what it lies over, which takes a while.

        Raises:
            WorkFailed: it is an adapter, and what it lies over is not at hand.
        """
        if self.manifest.over is None:
            return self.state
        if self.ground is None:
            raise WorkFailed(
                f"version {self.manifest.version} is an adapter over {self.manifest.over.base}, which is not at hand"
            )
        return self.ground.merged(self.state)


def follow(
    chain: Sequence[LinkMessage], held: Policy | None, policy: str, check: Check = require_whole
) -> Policy:
    """The weights with state digest `policy`, at the end of `chain`, from those `held`.

    check: is shown every manifest before its weights are decoded.

    Raises:
        BadWeights: a manifest, anchor or delta is damaged or leads elsewhere.
        WorkFailed: the chain is broken, or its end is not `policy`.
    """
    for link in _ahead(chain, held):
        held = _step(held, link, check)
    if held is None or held.manifest.state != policy:
        got = held.manifest.state if held else "none"
        raise WorkFailed(f"the weights on hand are {got}, expected {policy}")
    return held


def _step(held: Policy | None, link: LinkMessage, check: Check) -> Policy:
    if link.parts is not None:
        return _step_in_parts(held, link, check)
    manifest = Manifest.from_bytes(link.manifest.read_bytes())
    if manifest.state != link.policy:
        raise WorkFailed(f"manifest of version {link.version} is not for {link.policy}")
    check(manifest)
    follows = held is not None and manifest.parent == held.manifest.state
    if held is not None and follows and link.delta is not None:
        state = apply_delta(held.state, held.manifest, link.delta.read_bytes(), manifest)
    elif link.anchor is not None:
        state = decode_anchor(link.anchor.read_bytes(), manifest)
    else:
        raise WorkFailed(f"version {link.version} has no anchor and its parent is missing")
    return Policy(state, manifest)


def _step_in_parts(held: Policy | None, link: LinkMessage, check: Check) -> Policy:
    index = index_of(link)
    if link.delta is not None and held is not None and index.parent == held.manifest.state:
        made = assembled(index, files_of(link), held.state, held.manifest)
    elif link.anchor is not None:
        made = assembled(index, files_of(link))
    else:
        raise WorkFailed(f"version {link.version} has no anchor and its parent is missing")
    check(made.manifest)
    return Policy(made.state, made.manifest)


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
        self._bases = Bases()

    def advance(self, context: Context, policy: str) -> Policy:
        """Apply the context's chain and return the policy with this state digest.

        Raises:
            WorkFailed: the chain is broken, corrupt, or leads to other weights.
        """
        self._held.make_room(context.run)
        try:
            ground = self._bases.ground_of(context)
            check = require_whole if ground is None else ground.check
            held = follow(context.chain, self._held.get(context.run), policy, check)
            held = replace(held, ground=ground)
        except BadWeights as error:
            raise WorkFailed(f"weights of {context.run}: {error}") from None
        self._held.put(context.run, held)
        return held
