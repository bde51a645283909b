"""A published policy version, and which files lead to one: pure, the same for a lab and a node."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from archipel.records.fields import BlobRef, Digest
from archipel.records.weight_parts import InParts


@dataclass(frozen=True, slots=True)
class Publication:
    """One policy version, as whoever the run trusts published it."""

    version: int
    policy: Digest
    """State digest."""
    manifest: InParts | BlobRef
    """What it is; an index, where it is in parts: then anchor and delta are lists of blobs."""
    anchor: BlobRef | None
    delta: BlobRef | None


class Link(Protocol):
    """What a chain of weights is made of: a version and what was published for it."""

    @property
    def version(self) -> int:
        """Its number."""

    @property
    def anchor(self) -> object | None:
        """Full weights."""

    @property
    def delta(self) -> object | None:
        """The change from the version before."""


L = TypeVar("L", bound=Link)


def chain_to(find: Callable[[int], L | None], held: int, target: int) -> list[tuple[L, str]]:
    """Which files to fetch and apply, in order, to stand at `target`, holding `held` (-1: none).

    Each step is (version, "anchor" | "delta"). Deltas from what is held where they lead there;
    otherwise the newest anchor and the deltas after it.

    Args:
        find: the lab's version of a number, None for one that is not known; asked no further than the
            way reaches.
        held: version whose weights are at hand.
        target: version the work names.

    Raises:
        ValueError: what is known does not lead to `target`; it is incomplete.
    """
    deltas = _deltas(find, held, target) if 0 <= held <= target else None
    if deltas is not None:
        return deltas
    chain: list[tuple[L, str]] = []
    for number in range(target, -1, -1):
        entry = find(number)
        if entry is None:
            break
        if entry.anchor is not None:
            return [(entry, "anchor"), *reversed(chain)]
        if entry.delta is None:
            break
        chain.append((entry, "delta"))
    raise ValueError(f"no chain of weights leads from version {held} to {target}")


def _deltas(find: Callable[[int], L | None], held: int, target: int) -> list[tuple[L, str]] | None:
    steps: list[tuple[L, str]] = []
    for number in range(target, held, -1):
        entry = find(number)
        if entry is None or entry.delta is None:
            return None
        steps.append((entry, "delta"))
    return steps[::-1]
