"""apply(state, statement, at_ms) -> state: the fold that turns a ledger into a lab. Pure and total.

Every statement that reaches `apply` was admitted by `admission` (or written by the lab itself), so
nothing is judged here; an impossible transition is a defect and raises `Contradiction`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from archipel.lab.state import (
    MAX_CLOSED_REMEMBERED,
    LabState,
    Lease,
    Node,
    Phase,
    Run,
    batch_results,
)
from archipel.market.credits import transfer
from archipel.records.fields import BlobRef
from archipel.records.statements import (
    AnyStatement,
    EvaluationSubmitted,
    LabOpened,
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    ResultInput,
    RolloutSpec,
    RolloutSubmitted,
    RunOpened,
    RunStopped,
    UpdateSpec,
    VersionPublished,
)

RATE_SMOOTHING = 4
"""A node's rate moves a quarter of the way to each new measurement."""

K = TypeVar("K")
V = TypeVar("V")


class Contradiction(RuntimeError):
    """The ledger holds a statement that cannot follow what came before it."""


def apply(  # noqa: C901  one case per statement: the match is the table
    state: LabState, statement: AnyStatement, at_ms: int
) -> LabState:
    """The state after one more ledger entry, received at `at_ms` (Unix milliseconds)."""
    match statement:
        case LabOpened():
            state = _lab_opened(state, statement)
        case RunOpened():
            state = _run_opened(state, statement, at_ms)
        case RunStopped():
            run = state.runs[statement.run]
            state = _with_run(state, replace(run, phase=Phase.STOPPED))
        case NodeJoined():
            state = _node_joined(state, statement, at_ms)
        case NodeLeft():
            state = _node_left(state, statement, at_ms)
        case LeaseGranted():
            state = _lease_granted(state, statement, at_ms)
        case LeaseReturned():
            state = _lease_given_up(state, statement.work, "returned", at_ms)
        case LeaseExpired():
            state = _lease_given_up(state, statement.work, "expired", at_ms)
        case RolloutSubmitted():
            state = _rollout_accepted(state, statement, at_ms)
        case VersionPublished():
            state = _version_published(state, statement, at_ms)
        case EvaluationSubmitted():
            state = _evaluation_accepted(state, statement, at_ms)
        case _:
            raise Contradiction(f"{statement.kind} only asks; it has no place in a ledger")
    seen = max(state.sequences.get(statement.author, 0), statement.seq)
    return replace(state, sequences=_with(state.sequences, statement.author, seen))


def _lab_opened(state: LabState, opened: LabOpened) -> LabState:
    if state.operators or opened.author != state.lab:
        raise Contradiction("lab.opened stands once, first, signed by the lab itself")
    return replace(state, operators=frozenset(opened.operators))


def _run_opened(state: LabState, opened: RunOpened, at_ms: int) -> LabState:
    if opened.run in state.runs:
        raise Contradiction(f"run {opened.run} was opened before")
    return _with_run(state, Run(opened=opened, opened_at_ms=at_ms))


def _node_joined(state: LabState, joined: NodeJoined, at_ms: int) -> LabState:
    """A node that joins anew lost what it was doing: its leases go back at once."""
    state = _all_given_up(state, joined.author, at_ms)
    known = state.nodes.get(joined.author)
    node = (
        replace(known, capabilities=joined.capabilities, last_seen_ms=at_ms, present=True)
        if known
        else Node(joined.author, joined.capabilities, joined_at_ms=at_ms, last_seen_ms=at_ms)
    )
    return replace(state, nodes=_with(state.nodes, node.did, node))


def _node_left(state: LabState, left: NodeLeft, at_ms: int) -> LabState:
    state = _all_given_up(state, left.author, at_ms)
    node = replace(state.nodes[left.author], last_seen_ms=at_ms, present=False)
    return replace(state, nodes=_with(state.nodes, node.did, node))


def _all_given_up(state: LabState, did: str, at_ms: int) -> LabState:
    for work in [lease.work for lease in state.leases.values() if lease.node == did]:
        state = _lease_given_up(state, work, "returned", at_ms)
    return state


def _lease_granted(state: LabState, grant: LeaseGranted, at_ms: int) -> LabState:
    spec = grant.spec
    run = state.runs[spec.run]
    run = replace(run, next_work=run.next_work + 1)
    if isinstance(spec, RolloutSpec):
        taken = set(spec.groups)
        run = replace(
            run,
            pool=tuple(group for group in run.pool if group not in taken),
            next_group=max(run.next_group, max(taken) + 1),
        )
    lease = Lease(grant.work, grant.node, spec, at_ms, grant.deadline_ms, grant.price_micro)
    state = _with_run(replace(state, leases=_with(state.leases, grant.work, lease)), run)
    asked = max(state.asked.get(grant.node, 0), grant.request_seq)
    state = replace(state, asked=_with(state.asked, grant.node, asked))
    return _seen(state, grant.node, at_ms)


def _lease_given_up(state: LabState, work: str, outcome: str, at_ms: int) -> LabState:
    state, lease = _close(state, work, outcome)
    run = state.runs[lease.spec.run]
    if isinstance(lease.spec, RolloutSpec):
        run = replace(run, pool=tuple(sorted({*run.pool, *lease.spec.groups})))
    state = _with_run(state, run)
    node = state.nodes[lease.node]
    node = (
        replace(node, expired=node.expired + 1)
        if outcome == "expired"
        else replace(node, returned=node.returned + 1, last_seen_ms=at_ms)
    )
    return replace(state, nodes=_with(state.nodes, node.did, node))


def _rollout_accepted(state: LabState, result: RolloutSubmitted, at_ms: int) -> LabState:
    state, lease = _close(state, result.work, "accepted")
    spec = lease.spec
    if not isinstance(spec, RolloutSpec):
        raise Contradiction(f"{result.work} is {spec.kind} work, answered by rollouts")
    run = state.runs[spec.run]
    held = ResultInput(
        work=result.work,
        result=result.result,
        version=spec.version,
        policy=spec.policy,
        groups=spec.groups,
    )
    run = replace(
        run,
        accepted={**run.accepted, **dict.fromkeys(spec.groups, result.work)},
        results=_with(run.results, result.work, held),
        num_groups=run.num_groups + len(spec.groups),
        num_tokens=run.num_tokens + result.num_tokens,
        rollout_bytes=run.rollout_bytes + result.result.size,
    )
    node = state.nodes[lease.node]
    elapsed_ms = max(at_ms - lease.granted_at_ms, 1)
    rate = len(spec.groups) * 1_000_000_000 // elapsed_ms
    smoothed = node.rate_micro + (rate - node.rate_micro) // RATE_SMOOTHING
    node = replace(
        node,
        rate_micro=smoothed if node.rate_micro else rate,
        groups=node.groups + len(spec.groups),
        tokens=node.tokens + result.num_tokens,
        bytes_in=node.bytes_in + result.result.size,
        last_seen_ms=at_ms,
    )
    paid = transfer(state.balances, run.opened.author, lease.node, lease.price_micro)
    return _with_run(replace(state, nodes=_with(state.nodes, node.did, node), balances=paid), run)


def _version_published(state: LabState, published: VersionPublished, at_ms: int) -> LabState:
    state, lease = _close(state, published.work, "accepted")
    spec = lease.spec
    run = state.runs[spec.run]
    if not isinstance(spec, UpdateSpec) or published.version != run.version + 1:
        raise Contradiction(f"version {published.version} cannot follow version {run.version}")
    run = replace(
        run,
        versions=(*run.versions, published),
        published_at_ms=(*run.published_at_ms, at_ms),
        updates=(*run.updates, batch_results(run, spec.version)),
        prompts={**run.prompts, **{batch.batch: batch.blob for batch in published.prompts}},
    )
    if spec.version > 0:
        run = replace(run, learner_busy_ms=run.learner_busy_ms + at_ms - lease.granted_at_ms)
        run = _consume(run, spec)
    if run.phase is Phase.PREPARING:
        run = replace(run, phase=Phase.RUNNING)
    if run.phase is Phase.RUNNING and run.version == run.opened.pace.versions:
        run = replace(run, phase=Phase.COMPLETE)
    return _seen(_with_run(state, run), lease.node, at_ms)


def _consume(run: Run, spec: UpdateSpec) -> Run:
    """Forget the batch that an update has learned from, and count how stale it was."""
    size = run.opened.pace.groups_per_update
    batch = range((spec.version - 1) * size, spec.version * size)
    staleness = dict(run.staleness)
    for group in batch:
        age = spec.version - 1 - run.results[run.accepted[group]].version
        staleness[age] = staleness.get(age, 0) + 1
    accepted = {group: work for group, work in run.accepted.items() if group not in batch}
    needed = set(accepted.values())
    results = {work: result for work, result in run.results.items() if work in needed}
    prompts: dict[int, BlobRef] = {b: blob for b, blob in run.prompts.items() if b >= spec.version}
    return replace(run, accepted=accepted, results=results, prompts=prompts, staleness=staleness)


def _evaluation_accepted(state: LabState, done: EvaluationSubmitted, at_ms: int) -> LabState:
    state, lease = _close(state, done.work, "accepted")
    run = state.runs[lease.spec.run]
    run = replace(run, evaluations=_with(run.evaluations, done.version, done))
    return _seen(_with_run(state, run), lease.node, at_ms)


def _close(state: LabState, work: str, outcome: str) -> tuple[LabState, Lease]:
    lease = state.leases.get(work)
    if lease is None:
        raise Contradiction(f"{work} is not leased, so it cannot be {outcome}")
    leases = {key: value for key, value in state.leases.items() if key != work}
    closed = _with(state.closed, work, outcome)
    for oldest in list(closed)[: max(0, len(closed) - MAX_CLOSED_REMEMBERED)]:
        del closed[oldest]
    return replace(state, leases=leases, closed=closed), lease


def _seen(state: LabState, did: str, at_ms: int) -> LabState:
    node = state.nodes.get(did)
    if node is None:
        return state
    return replace(state, nodes=_with(state.nodes, did, replace(node, last_seen_ms=at_ms)))


def _with_run(state: LabState, run: Run) -> LabState:
    return replace(state, runs=_with(state.runs, run.opened.run, run))


def _with(mapping: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    changed = dict(mapping)
    changed[key] = value
    return changed
