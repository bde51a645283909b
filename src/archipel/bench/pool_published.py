"""A published planner of layer ranges, written anew from its description, as a contestant.

Described in "Parallax" (arXiv 2509.26182) and by what its scheduler does: pipelines are chosen over integer capacities
by a recursion over (node, open residuals, finished) that wants k^2 / stages most, nodes in the order of their arrival,
the embedding charged to the node that begins a pipeline and the head to the one that closes it; then each pipeline is sorted by capacity, embedding and head
charged to its first and last, and layers are poured by computing power. Round trips play no part.
Its code is not used; whoever wants its figures themselves runs its own tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_STATES = 50_000
"""Of one pool: about half a second. The recursion's states grow exponentially with the nodes."""
_NONE = 1 << 30


class Raises(Exception):
    """It fails on a pool that it found pipelines for: capacities no longer sum to the layers."""


class TooMany(Exception):
    """More than MAX_STATES states."""


@dataclass(frozen=True)
class Node:
    """What it knows of one."""

    middle: int
    """Layers that fit."""
    first: int
    """Beside the embedding."""
    last: int
    """Beside the head."""
    power: float
    """What layers are poured by."""


Chosen = tuple[tuple[int, ...], ...]
"""Nodes of each pipeline."""


def published(nodes: Sequence[Node], num_layers: int) -> list[tuple[list[int], list[int]]]:
    """(nodes, layers on each) of each pipeline; empty: it says that nothing fits.

    Raises:
        Raises, TooMany: as they say.
    """
    most = sum(each.middle for each in nodes) // num_layers
    best: Chosen = ()
    best_value = 0.0
    for k in range(1, min(len(nodes), most) + 1):
        stages, chosen = _Recursion(nodes, num_layers, k).solved()
        if stages < _NONE and k * k / stages > best_value:
            best, best_value = chosen, k * k / stages
    return [_poured(nodes, members, num_layers) for members in best]


State = tuple[int, tuple[int, ...], int]
Action = tuple[int | None, int | None]
"""(residual of the pipeline that a node joins; None: a new one), (its residual then; None: it is closed)."""
SKIP: Action = (-1, -1)


class _Recursion:
    """The fewest stages of k pipelines."""

    def __init__(self, nodes: Sequence[Node], num_layers: int, k: int) -> None:
        self._nodes, self._num_layers, self._k = nodes, num_layers, k
        self._known: dict[State, tuple[int, Action]] = {}
        self._suffix = [0] * (len(nodes) + 1)
        for at in reversed(range(len(nodes))):
            self._suffix[at] = self._suffix[at + 1] + nodes[at].middle

    def solved(self) -> tuple[int, Chosen]:
        """(stages, pipelines)."""
        stages, _ = self._best(0, (), 0)
        if stages >= _NONE:
            return stages, ()
        done: list[tuple[int, ...]] = []
        open_: list[tuple[int, tuple[int, ...]]] = []
        for node in range(len(self._nodes)):
            if len(done) == self._k and not open_:
                break
            residuals = tuple(sorted(left for left, _ in open_))
            _, (from_, to) = self._best(node, residuals, len(done))
            members: tuple[int, ...] = (node,)
            if (from_, to) == SKIP:
                continue
            if from_ is not None:
                place = next(at for at, (left, _) in enumerate(open_) if left == from_)
                members = (*open_.pop(place)[1], node)
            if to is None:
                done.append(members)
            else:
                open_.append((to, members))
        return stages, tuple(done)

    def _best(self, at: int, residuals: tuple[int, ...], finished: int) -> tuple[int, Action]:
        if finished == self._k and not residuals:
            return 0, SKIP
        new = self._k - finished - len(residuals)
        needed = sum(residuals) + max(new, 0) * self._num_layers
        if at == len(self._nodes) or new < 0 or self._suffix[at] < needed:
            return _NONE, SKIP
        key = (at, residuals, finished)
        if key not in self._known:
            if len(self._known) >= MAX_STATES:
                raise TooMany(f"more than {MAX_STATES} states for {len(self._nodes)} nodes")
            found = [
                (self._after(at, residuals, finished, action) + (action != SKIP), action)
                for action in self._actions(at, residuals, new)
            ]
            self._known[key] = min(found, key=lambda each: each[0])
        return self._known[key]

    def _after(self, at: int, residuals: tuple[int, ...], finished: int, action: Action) -> int:
        """The stages still to come."""
        from_, to = action
        if action != SKIP:
            rest = list(residuals)
            if from_ is not None:
                rest.remove(from_)
            rest += [] if to is None else [to]
            residuals, finished = tuple(sorted(rest)), finished + (to is None)
        return self._best(at + 1, residuals, finished)[0]

    def _actions(self, at: int, residuals: tuple[int, ...], new: int) -> list[Action]:
        node, found = self._nodes[at], [SKIP]
        for left in dict.fromkeys(residuals):
            after = left - node.middle
            if after <= 0:  # it would close: with the head
                after = left - node.last
            if after != left:
                found.append((left, after if after > 0 else None))
        if new > 0 and node.first > 0:
            left = self._num_layers - node.first
            found.append((None, left if left > 0 else None))
        return found


def _poured(
    nodes: Sequence[Node], members: Sequence[int], num_layers: int
) -> tuple[list[int], list[int]]:
    order = sorted(members, key=lambda at: -nodes[at].middle)
    rooms = [nodes[at].middle for at in order]
    rooms[0], rooms[-1] = nodes[order[0]].first, nodes[order[-1]].last
    if sum(rooms) < num_layers:
        raise Raises(f"total capacity {sum(rooms)} is less than total layers {num_layers}")
    power = [nodes[at].power for at in order]
    low, high = 0.0, max(room / each for room, each in zip(rooms, power, strict=True))
    for _ in range(40):
        level = (low + high) / 2
        poured = sum(min(room, level * each) for room, each in zip(rooms, power, strict=True))
        low, high = (low, level) if poured >= num_layers else (level, high)
    parts = [min(room, high * each) for room, each in zip(rooms, power, strict=True)]
    counts = [int(each) for each in parts]
    while sum(counts) < num_layers:
        at = max(
            (at for at in range(len(counts)) if counts[at] < rooms[at]),
            key=lambda at: parts[at] - counts[at],
        )
        counts[at] += 1
    return order, counts
