"""Why does nothing move? What a run waits for, who owns the wait, until when. Pure.

A programme says what its runs wait for; the sentences that all programmes share are here.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from archipel.lab.state import LabState, Lease, Run
from archipel.records.documents import Wait

ACTIVE_MS = 60_000
"""A node that was silent this long does not count when work is shared out."""


@dataclass(frozen=True)
class Sight:
    """A state as it is looked at now; what takes a look at every node is computed once for all runs."""

    state: LabState
    now_ms: int

    @cached_property
    def able(self) -> Counter[str]:
        """Kind of work -> nodes that are here, do it, and were heard of lately or hold work."""
        return Counter(
            kind
            for node in self.state.nodes.values()
            if node.present and (node.leases or self.now_ms - node.last_seen_ms < ACTIVE_MS)
            for kind in set(node.capabilities.kinds)
        )


def leased(run: Run, lease: Lease, what: str, now_ms: int) -> Wait:
    """Somebody holds the work."""
    return Wait(
        run=run.name,
        waiting_for=f"{what} ({lease.work})",
        owner=lease.node,
        left_s=(lease.deadline_ms - now_ms) / 1000,
        advice="at the deadline the work goes to somebody else",
    )


def nobody(sight: Sight, run: Run, what: str, kind: str) -> Wait:
    """Work of a stranger's kind lies there, and nobody holds it."""
    able = sight.able[kind]
    advice = (
        f"{able} nodes were heard of in the last minute; they are asked next"
        if able
        else "no node is at work: run `archipel node join LAB_URL` on any machine"
    )
    owner = "the lab" if able else "nobody"
    return Wait(run=run.name, waiting_for=what, owner=owner, left_s=None, advice=advice)


def absent_trainer(sight: Sight, run: Run, what: str) -> Wait:
    """Work of a trusted key lies there, and nobody holds it."""
    present = [
        did
        for did in run.opened.trusted
        if (node := sight.state.nodes.get(did))
        and node.present
        and sight.now_ms - node.last_seen_ms < ACTIVE_MS
    ]
    advice = (
        "the update process is connected and should take it within seconds"
        if present
        else "start it with `archipel update join LAB_URL` on the machine that holds this key"
    )
    owner = present[0] if present else run.opened.trusted[0]
    return Wait(run=run.name, waiting_for=what, owner=owner, left_s=None, advice=advice)
