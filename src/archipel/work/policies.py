"""The weights a worker holds, moved from version to version along a verified chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from archipel.model.manifest import BadWeights, Manifest
from archipel.model.versions import apply_delta, decode_anchor
from archipel.work.kind import Context, Link, WorkFailed


@dataclass(frozen=True, slots=True)
class Policy:
    """A version's weights (bf16, Hugging Face names) and their manifest."""

    state: Mapping[str, Tensor]
    manifest: Manifest


class Policies:
    """The newest policy of each run; `advance` is the only way to change one."""

    def __init__(self) -> None:
        self._held: dict[str, Policy] = {}

    def version(self, run: str) -> int:
        """Version held, -1 for none."""
        held = self._held.get(run)
        return held.manifest.version if held else -1

    def advance(self, context: Context, policy: str) -> Policy:
        """Apply the context's chain and return the policy with this state digest.

        Raises:
            WorkFailed: the chain is broken, corrupt, or leads to other weights.
        """
        held = self._held.get(context.run)
        for link in _ahead(context.chain, held):
            held = self._follow(held, link)
        if held is None or held.manifest.state != policy:
            got = held.manifest.state if held else "none"
            raise WorkFailed(f"the weights on hand are {got}, the work needs {policy}")
        self._held[context.run] = held
        return held

    def _follow(self, held: Policy | None, link: Link) -> Policy:
        try:
            manifest = Manifest.from_bytes(link.manifest.read_bytes())
            if manifest.state != link.policy:
                raise WorkFailed(f"manifest of version {link.version} is not for {link.policy}")
            if (
                held is not None
                and link.delta is not None
                and manifest.parent == held.manifest.state
            ):
                data = link.delta.read_bytes()
                state = apply_delta(dict(held.state), held.manifest, data, manifest)
            elif link.anchor is not None:
                state = decode_anchor(link.anchor.read_bytes(), manifest)
            else:
                raise WorkFailed(f"version {link.version} has no anchor and its parent is missing")
        except BadWeights as error:
            raise WorkFailed(f"weights of version {link.version}: {error}") from None
        return Policy(state, manifest)


def _ahead(chain: Sequence[Link], held: Policy | None) -> Sequence[Link]:
    """What is left of `chain` if it passes through the weights held; else all of it."""
    for position, link in enumerate(chain):
        if held and (link.version, link.policy) == (held.manifest.version, held.manifest.state):
            return chain[position + 1 :]
    return chain
