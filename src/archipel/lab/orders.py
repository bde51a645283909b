"""In which order runs were opened, nodes joined and leases were granted: what a page is cut from.

It follows the ledger beside the state, so that no view has to sort all nodes or all leases.
Law: it names exactly what the durable state holds, in the ledger's order; a lab that starts knows of its
nodes no more than the millisecond in which they joined, and orders those of one by their keys. Where memory
was short while it followed, it sorts everything anew with what comes next.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from archipel.lab.endings import ended_nodes
from archipel.lab.state import LabState
from archipel.records.membership import KeyRevoked
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    NodesForgotten,
    Recorded,
    RunOpened,
    WorkAnswered,
)


class Orders:
    """Of one lab, from a state on; told of every durable statement."""

    def __init__(self, state: LabState) -> None:
        self._ending_with: dict[str, Sequence[str]] = {}
        """Work -> it and its twin, while its answer is on the way to the disk; or what its grant ends, while that is."""
        self._is_behind = False
        self._sort(state)

    def _sort(self, state: LabState) -> None:
        runs = sorted(state.runs.values(), key=lambda run: run.entry)
        nodes = sorted(state.nodes.values(), key=lambda node: (node.joined_at_ms, node.did))
        self.runs: dict[str, None] = dict.fromkeys(run.name for run in runs)
        self.nodes: dict[str, None] = dict.fromkeys(node.did for node in nodes)
        self.leases: dict[str, str] = {}
        """Work -> its node."""
        self._held: dict[str, set[str]] = {}
        """Node -> its works."""
        for lease in sorted(state.leases.values(), key=lambda lease: lease.entry):
            self._granted(lease.work, lease.node)

    def expect(self, statement: Recorded, works: Sequence[str]) -> None:
        """Once this statement is durable these works have ended: also one whose twin was answered first, or whose merge
        has begun.
        """
        if isinstance(statement, WorkAnswered | LeaseGranted) and set(works) - {statement.work}:
            self._ending_with[statement.work] = works

    def follow(self, statements: Iterable[Recorded], state: LabState) -> None:
        """These are durable; `state` holds them."""
        was_behind, self._is_behind = self._is_behind, True
        if was_behind:
            self._sort(state)
        else:
            for statement in statements:
                self._follow(statement)
        self._is_behind = False

    def _follow(self, statement: Recorded) -> None:
        match statement:
            case RunOpened():
                self.runs[statement.run] = None
            case NodeJoined() | NodeLeft() | KeyRevoked():
                for did in ended_nodes(statement):
                    self._all_ended(did)
                if isinstance(statement, NodeJoined):
                    self.nodes.setdefault(statement.author)
            case NodesForgotten():
                for did in statement.nodes:
                    self.nodes.pop(did, None)
            case LeaseGranted():
                self._granted(statement.work, statement.node)
                self._ended(self._ending_with.pop(statement.work, ()))
            case WorkAnswered() | LeaseExpired() | LeaseReturned():
                self._ended(self._ending_with.pop(statement.work, (statement.work,)))
            case _:
                pass

    def _granted(self, work: str, did: str) -> None:
        self.leases[work] = did
        self._held.setdefault(did, set()).add(work)

    def _ended(self, works: Sequence[str]) -> None:
        for work in works:
            did = self.leases.pop(work, None)
            if did is not None:
                self._held[did].discard(work)
                if not self._held[did]:
                    del self._held[did]

    def _all_ended(self, did: str) -> None:
        for work in self._held.pop(did, ()):
            del self.leases[work]


def page(ordered: Mapping[str, object], start: int, limit: int) -> list[str]:
    """Names `start` to `start + limit`; the ones before are passed over without a look at them."""
    return list(islice(ordered, start, start + limit))
