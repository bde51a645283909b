"""What to do next, from what is known and the time: pure functions, priority is reading order.

A node that asks is offered, in this order and over all runs: an update that is due, an evaluation
that is due, rollouts that the staleness bound admits. Several runs share the nodes round-robin by
how little each has in flight.
"""

from collections.abc import Iterator
from typing import Literal

from archipel.lab.state import LabState, Lease, Node, Phase, Run
from archipel.market.capacity import admissible_groups, fair_share
from archipel.records.statements import (
    EvaluateSpec,
    LeaseExpired,
    LeaseGranted,
    LeaseRequested,
    RolloutSpec,
    Spec,
    UpdateSpec,
)

MAX_OPEN_LEASES_PER_NODE = 4
ACTIVE_MS = 60_000
"""A node that was silent this long does not count when work is shared out."""


def expired_leases(state: LabState, now_ms: int) -> list[LeaseExpired]:
    """A statement for every lease whose deadline has passed, oldest first."""
    late = [lease for lease in state.leases.values() if lease.deadline_ms < now_ms]
    return _taken_back(state, late, "deadline")


def lost_leases(state: LabState, request: LeaseRequested) -> list[LeaseExpired]:
    """A statement for every lease that its own node does not know of: the grant got lost."""
    lost = [
        lease
        for lease in state.leases.values()
        if lease.node == request.author and lease.work not in request.holding
    ]
    return _taken_back(state, lost, "lost")


def _taken_back(
    state: LabState, leases: list[Lease], cause: Literal["deadline", "lost"]
) -> list[LeaseExpired]:
    leases.sort(key=lambda lease: (lease.deadline_ms, lease.work))
    first = next_seq(state)
    return [
        LeaseExpired(lab=state.lab, author=state.lab, seq=first + n, work=lease.work, cause=cause)
        for n, lease in enumerate(leases)
    ]


def grant(state: LabState, request: LeaseRequested, now_ms: int) -> LeaseGranted | None:
    """The best lease for the node that asks, or None when nothing is to be done now."""
    node = state.nodes[request.author]
    if not node.present:
        return None
    if sum(lease.node == node.did for lease in state.leases.values()) >= MAX_OPEN_LEASES_PER_NODE:
        return None
    spec = next(_work_for(state, node, frozenset(request.kinds), now_ms), None)
    if spec is None:
        return None
    run = state.runs[spec.run]
    return LeaseGranted(
        lab=state.lab,
        author=state.lab,
        seq=next_seq(state),
        work=f"{spec.run}.{run.next_work}",
        node=node.did,
        request_seq=request.seq,
        deadline_ms=now_ms + _patience_ms(state, run, node, spec),
        price_micro=_price_micro(run, spec),
        spec=spec,
    )


def _work_for(state: LabState, node: Node, kinds: frozenset[str], now_ms: int) -> Iterator[Spec]:
    """What there is for this node now, most urgent first: nothing moves until an update is made."""
    open_runs = [run for run in state.runs.values() if run.phase is not Phase.STOPPED]
    open_runs.sort(key=lambda run: (in_flight(state, run), run.opened.run))
    trusted = [run for run in open_runs if node.did in run.opened.trusted]
    due: list[Spec | None] = []
    if "update" in kinds:
        due += [due_update(state, run) for run in trusted]
    if "evaluate" in kinds:
        due += [due_evaluation(state, run) for run in trusted]
    yield from (spec for spec in due if spec is not None)
    if "rollout" in kinds:
        specs = (admitted_rollouts(state, run, node, now_ms) for run in open_runs)
        yield from (spec for spec in specs if spec is not None)


def due_update(state: LabState, run: Run) -> UpdateSpec | None:
    """The next version, once every group of its batch is accepted and nobody is making it."""
    name, version = run.opened.run, run.version + 1
    if run.phase not in (Phase.PREPARING, Phase.RUNNING) or _leased(state, name, "update"):
        return None
    if version == 0:
        return UpdateSpec(run=name, version=0, parent=None)
    if missing_groups(run):
        return None
    return UpdateSpec(run=name, version=version, parent=run.versions[-1].policy)


def missing_groups(run: Run) -> list[int]:
    """Groups of the learner's next batch that are not accepted yet."""
    size = run.opened.pace.groups_per_update
    batch = max(run.version, 0)
    return [group for group in range(batch * size, (batch + 1) * size) if group not in run.accepted]


def due_evaluation(state: LabState, run: Run) -> EvaluateSpec | None:
    """The oldest version that the recipe wants evaluated and nobody has evaluated or is evaluating."""
    name = run.opened.run
    taken = {s.version for s in _leased(state, name, "evaluate")} | set(run.evaluations)
    for version in evaluated_versions(run):
        if version <= run.version and version not in taken:
            policy = run.versions[version].policy
            return EvaluateSpec(run=name, version=version, policy=policy)
    return None


def evaluated_versions(run: Run) -> Iterator[int]:
    """Version 0, every K-th, and the last."""
    last = run.opened.pace.versions
    yield from range(0, last, run.opened.pace.evaluate_every)
    yield last


def admitted_rollouts(state: LabState, run: Run, node: Node, now_ms: int) -> RolloutSpec | None:
    """Returned groups first, then new ones as far as the staleness bound and the prompts reach."""
    if run.phase is not Phase.RUNNING:
        return None
    pace = run.opened.pace
    room = capacity(run)
    fresh = range(
        run.next_group, min(run.next_group + room, pace.versions * pace.groups_per_update)
    )
    ready = [
        group for group in (*run.pool, *fresh) if group // pace.groups_per_update in run.prompts
    ]
    share = fair_share(pace.groups_per_update, *_rates(state, run, node, now_ms))
    groups = tuple(sorted(ready[: min(share, pace.max_groups_per_lease)]))
    if not groups:
        return None
    batches = sorted({group // pace.groups_per_update for group in groups})
    return RolloutSpec(
        run=run.opened.run,
        version=run.version,
        policy=run.versions[-1].policy,
        groups=groups,
        prompts=tuple(run.prompts[batch] for batch in batches),
    )


def capacity(run: Run) -> int:
    """New groups that may be admitted now without any update ever seeing staleness above S."""
    accepted = run.num_accepted
    return admissible_groups(
        max_staleness=run.opened.pace.max_staleness,
        version=max(run.version, 0),
        groups_per_update=run.opened.pace.groups_per_update,
        accepted=accepted,
        in_flight=run.next_group - accepted,
    )


def in_flight(state: LabState, run: Run) -> int:
    """Groups in nodes' hands."""
    return sum(
        len(lease.spec.groups)
        for lease in state.leases.values()
        if isinstance(lease.spec, RolloutSpec) and lease.spec.run == run.opened.run
    )


def active_nodes(state: LabState, now_ms: int) -> list[Node]:
    """Nodes that sample and were heard of lately, or hold a lease."""
    holders = {lease.node for lease in state.leases.values()}
    return [
        node
        for node in state.nodes.values()
        if node.present
        and "rollout" in node.capabilities.kinds
        and (now_ms - node.last_seen_ms < ACTIVE_MS or node.did in holders)
    ]


def groups_per_second_micro(run: Run, node: Node) -> int:
    """Measured rate; before the first result the node's own claim at full-length rollouts.

    0, and so the smallest share, for a node that claimed much and then let a lease run out.
    """
    if node.rate_micro or node.expired:
        return node.rate_micro
    tokens_per_group = run.opened.pace.group_size * run.opened.pace.max_new_tokens
    return node.capabilities.speed_milli * 1000 // tokens_per_group


def next_seq(state: LabState) -> int:
    """The lab's own next sequence number."""
    return state.sequences.get(state.lab, 0) + 1


def _rates(state: LabState, run: Run, node: Node, now_ms: int) -> tuple[int, list[int]]:
    others = [n for n in active_nodes(state, now_ms) if n.did != node.did]
    own = groups_per_second_micro(run, node)
    return own, [own, *(groups_per_second_micro(run, other) for other in others)]


def _patience_ms(state: LabState, run: Run, node: Node, spec: Spec) -> int:
    pace = run.opened.pace
    if not isinstance(spec, RolloutSpec):
        return pace.update_deadline_ms
    rate = groups_per_second_micro(run, node)
    expected_ms = len(spec.groups) * 1_000_000_000 // rate if rate else 0
    return min(
        max(pace.min_deadline_ms, expected_ms * pace.slack_milli // 1000), pace.update_deadline_ms
    )


def _price_micro(run: Run, spec: Spec) -> int:
    return run.opened.pace.price_micro * len(spec.groups) if isinstance(spec, RolloutSpec) else 0


def _leased(state: LabState, run: str, kind: str) -> list[Spec]:
    specs = (lease.spec for lease in state.leases.values())
    return [spec for spec in specs if spec.run == run and spec.kind == kind]
