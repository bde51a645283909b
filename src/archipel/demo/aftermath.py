"""What the ledger says of a run: who did what, and what became of a killed node's work. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    Recorded,
    WorkAnswered,
)

History = Sequence[tuple[int, Recorded]]
"""(received at, Unix milliseconds; statement) in ledger order."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """Work that its node did not finish."""

    work: str
    groups: tuple[int, ...]
    silent_s: float
    """From the lease until the lab took it back."""
    redone_by: tuple[str, ...]
    """Nodes whose accepted results hold the same groups."""
    redone_s: float | None
    """From taking it back until the last of its groups was accepted."""


def orphans_of(node: str, history: History) -> list[Orphan]:
    """Every lease that `node` let go, and who did the work instead."""
    grants = {
        statement.work: (at_ms, statement)
        for at_ms, statement in history
        if isinstance(statement, LeaseGranted) and isinstance(statement.spec, RolloutSpec)
    }
    accepted = accepted_groups(history)
    orphans = []
    for at_ms, statement in history:
        if not isinstance(statement, LeaseExpired | LeaseReturned) or statement.work not in grants:
            continue
        granted_ms, grant = grants[statement.work]
        if grant.node != node or not isinstance(grant.spec, RolloutSpec):
            continue
        done = [accepted[group] for group in grant.spec.groups if group in accepted]
        redone = dict.fromkeys(who for _, who in done)
        whole = len(done) == len(grant.spec.groups)
        orphans.append(
            Orphan(
                work=statement.work,
                groups=grant.spec.groups,
                silent_s=(at_ms - granted_ms) / 1000,
                redone_by=tuple(redone),
                redone_s=(max(when for when, _ in done) - at_ms) / 1000 if whole else None,
            )
        )
    return orphans


def was_answered(work: str, history: History) -> bool:
    """Whether an answer to this work was accepted."""
    return any(isinstance(said, WorkAnswered) and said.work == work for _, said in history)


def overtaken_by(work: str, history: History) -> str | None:
    """Who answered a second copy of this work, after which no statement ends its lease; None: nobody did."""
    grants = [said for _, said in history if isinstance(said, LeaseGranted) and said.work == work]
    if not grants or not isinstance(grants[0].spec, RolloutSpec) or was_answered(work, history):
        return None
    accepted = accepted_groups(history)
    who = {accepted[group][1] if group in accepted else None for group in grants[0].spec.groups}
    return who.pop() if len(who) == 1 else None


def accepted_groups(history: History) -> dict[int, tuple[int, str]]:
    """Group -> (accepted at, node)."""
    specs = {
        statement.work: statement.spec
        for _, statement in history
        if isinstance(statement, LeaseGranted) and isinstance(statement.spec, RolloutSpec)
    }
    return {
        group: (at_ms, statement.author)
        for at_ms, statement in history
        if isinstance(statement, WorkAnswered) and statement.work in specs
        for group in specs[statement.work].groups
    }


@dataclass(frozen=True, slots=True)
class Traffic:
    """Weights on the wire, per version."""

    versions: int
    full_bytes: int
    """One version in bf16."""
    mean_delta_bytes: float
    anchors: int
    mean_anchor_bytes: float


def weight_traffic(history: History) -> Traffic:
    """What the published versions weigh."""
    answers = [said.answer for _, said in history if isinstance(said, WorkAnswered)]
    published = [
        answer for answer in answers if isinstance(answer, UpdateAnswer) and not answer.more
    ]
    deltas = [made.delta.size for made in published if made.delta is not None]
    anchors = [made.anchor.size for made in published if made.anchor is not None]
    full = max((made.metrics.get("full_bytes", 0) for made in published), default=0)
    return Traffic(
        versions=len(published) - 1,
        full_bytes=full,
        mean_delta_bytes=sum(deltas) / max(len(deltas), 1),
        anchors=len(anchors),
        mean_anchor_bytes=sum(anchors) / max(len(anchors), 1),
    )
