"""Which files lead to a policy version: pure, the same for a lab that sends them and a node that asks."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


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


def chain_to(versions: Sequence[L], held: int, target: int) -> list[tuple[L, str]]:
    """Which files to fetch and apply, in order, to stand at `target`, holding `held` (-1: none).

    Each step is (version, "anchor" | "delta"). Deltas from what is held where they lead there;
    otherwise the newest anchor and the deltas after it.

    Args:
        versions: the lab's list.
        held: version whose weights are at hand.
        target: version the work names.

    Raises:
        ValueError: the list does not lead to `target`; it is incomplete.
    """
    by_number = {entry.version: entry for entry in versions}
    if 0 <= held <= target:
        deltas = [by_number.get(number) for number in range(held + 1, target + 1)]
        steps = [(entry, "delta") for entry in deltas if entry is not None and entry.delta]
        if len(steps) == target - held:
            return steps
    chain: list[tuple[L, str]] = []
    for number in range(target, -1, -1):
        entry = by_number.get(number)
        if entry is None:
            break
        if entry.anchor is not None:
            return [(entry, "anchor"), *reversed(chain)]
        if entry.delta is None:
            break
        chain.append((entry, "delta"))
    raise ValueError(f"no chain of weights leads from version {held} to {target}")
