"""apply(state, statement, at_ms) -> state: the fold that turns a ledger into a lab. Pure.

Every statement that reaches `apply` was admitted by `admission` (or written by the lab itself), so
nothing is judged here; an impossible transition is a defect and raises `Contradiction`. What a kind of
work does to its run stands in `kinds`; nodes, leases and money are moved here, the same for all kinds.
"""

from typing import Any, assert_never

from archipel.lab import failures
from archipel.lab.forgetting import forgotten
from archipel.lab.kinds import RULES, RULES_OF
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.rules import Moment
from archipel.lab.speeds import is_used_up, measured, set_back
from archipel.lab.state import (
    MAX_ENDS_REMEMBERED,
    OPEN_PHASES,
    LabState,
    Lease,
    Node,
    Phase,
    Run,
)
from archipel.market.journal import Move, Posting, held, post, wallet
from archipel.records.changed import changed
from archipel.records.statements import (
    BlobOffered,
    LabOpened,
    LeaseExpired,
    LeaseGranted,
    LeaseRequested,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    NodesForgotten,
    Recorded,
    RunOpened,
    RunRetried,
    RunStopped,
    SnapshotTaken,
    WorkAnswered,
)

MAX_SNAPSHOT_LAG = 10_000
"""A snapshot is announced within so many entries of the state it shows, so that a replay can check it."""


class Contradiction(RuntimeError):
    """The ledger holds a statement that cannot follow what came before it."""


def apply(state: LabState, statement: Recorded, at_ms: int) -> LabState:
    """The state after one more ledger entry, received at `at_ms` (Unix milliseconds).

    Raises:
        Contradiction: it cannot follow; nothing changed.
    """
    try:
        state = _folded(state, statement, at_ms)
    except (KeyError, TypeError, ValueError) as error:
        raise Contradiction(f"{statement.kind} cannot follow entry {state.size}: {error}") from None
    seen = max(state.sequences.get(statement.author, 0), statement.seq)
    sequences = state.sequences.put(statement.author, seen)
    return changed(state, sequences=sequences, size=state.size + 1)


def ended_leases(state: LabState, statement: Recorded) -> tuple[Lease, ...]:
    """The open leases that this statement ends when it is applied to `state`; a twin's among them."""
    match statement:
        case WorkAnswered():
            works: tuple[str, ...] = (statement.work, *_twin(state, statement.work))
        case LeaseExpired() | LeaseReturned():
            works = (statement.work,)
        case NodeJoined() | NodeLeft():
            node = state.nodes.get(statement.author)
            works = node.leases if node else ()
        case _:
            works = ()
    return tuple(state.leases[work] for work in works if work in state.leases)


def _folded(  # noqa: C901, PLR0912  one case per statement: the match is the table
    state: LabState, statement: Recorded, at_ms: int
) -> LabState:
    match statement:
        case LabOpened():
            return _lab_opened(state, statement)
        case RunOpened():
            return _run_opened(state, statement, at_ms)
        case RunStopped():
            return _with_run(state, changed(state.runs[statement.run], phase=Phase.STOPPED))
        case RunRetried():
            run = failures.retried(state.runs[statement.run], at_ms)
            return changed(state, runs=state.runs.put(run.name, run))
        case NodeJoined():
            return _node_joined(state, statement, at_ms)
        case NodeLeft():
            return _node_left(state, statement, at_ms)
        case NodesForgotten():
            return forgotten(state, statement)
        case LeaseGranted():
            return _lease_granted(state, statement, at_ms)
        case LeaseReturned():
            return _lease_returned(state, statement, at_ms)
        case LeaseExpired():
            was_late = statement.cause == "deadline"
            return _lease_given_up(state, statement.work, "expired", at_ms, was_late)
        case WorkAnswered():
            return _work_accepted(state, statement, at_ms)
        case SnapshotTaken():
            return _snapshot_taken(state, statement)
        case LeaseRequested() | BlobOffered():
            raise Contradiction(f"{statement.kind} only asks; it has no place in a ledger")
        case _:
            assert_never(statement)


def _lab_opened(state: LabState, opened: LabOpened) -> LabState:
    if state.size or opened.author != state.lab:
        raise Contradiction("lab.opened stands once, first, signed by the lab itself")
    return changed(state, operators=frozenset(opened.operators))


def _run_opened(state: LabState, opened: RunOpened, at_ms: int) -> LabState:
    if opened.run in state.runs:
        raise Contradiction(f"run {opened.run} was opened before")
    programme = PROGRAMME_OF[opened.pace.programme]
    run = Run(
        opened=opened,
        opened_at_ms=at_ms,
        entry=state.size,
        course=programme.begin(opened.pace),
    )
    return changed(_with_run(state, run), live=(*state.live, run.name))


def _node_joined(state: LabState, joined: NodeJoined, at_ms: int) -> LabState:
    """A node that joins anew lost what it was doing: its leases go back at once."""
    state = _all_given_up(state, joined.author, at_ms)
    known = state.nodes.get(joined.author)
    node = (
        changed(
            known,
            capabilities=joined.capabilities,
            last_seen_ms=at_ms,
            present=True,
            failing=(),
        )
        if known
        else Node(joined.author, joined.capabilities, joined_at_ms=at_ms, last_seen_ms=at_ms)
    )
    return _with_node(state, node)


def _node_left(state: LabState, left: NodeLeft, at_ms: int) -> LabState:
    state = _all_given_up(state, left.author, at_ms)
    node = changed(state.nodes[left.author], last_seen_ms=at_ms, present=False)
    return _with_node(state, node)


def _all_given_up(state: LabState, did: str, at_ms: int) -> LabState:
    node = state.nodes.get(did)
    for work in node.leases if node else ():
        state = _lease_given_up(state, work, "returned", at_ms)
    return state


def _lease_granted(state: LabState, grant: LeaseGranted, at_ms: int) -> LabState:
    spec, node = grant.spec, state.nodes[grant.node]
    run = state.runs[spec.run]
    if grant.work != f"{run.name}.{run.next_work}":
        raise Contradiction(f"{grant.work} is not the next work of {run.name}")
    run = RULES_OF[spec.kind].granted(run, spec, grant.work)
    run = changed(run, next_work=run.next_work + 1, leases=run.leases.put(grant.work, state.size))
    lease = Lease(
        work=grant.work,
        node=grant.node,
        spec=spec,
        granted_at_ms=at_ms,
        deadline_ms=grant.deadline_ms,
        price_micro=grant.price_micro,
        entry=state.size,
    )
    hold = Posting(Move.HOLD, wallet(run.opened.author), held(run.name), grant.price_micro)
    asked = max(state.asked.get(grant.node, 0), grant.request_seq)
    node = changed(node, leases=(*node.leases, grant.work), last_seen_ms=at_ms)
    return changed(
        state,
        runs=state.runs.put(run.name, run),
        nodes=state.nodes.put(node.did, node),
        leases=state.leases.put(grant.work, lease),
        asked=state.asked.put(grant.node, asked),
        book=post(state.book, (hold,)),
    )


def _lease_given_up(
    state: LabState, work: str, outcome: str, at_ms: int, was_late: bool = False
) -> LabState:
    lease, node = _ending(state, work, outcome)
    run = state.runs[lease.spec.run]
    run = RULES_OF[lease.spec.kind].given_up(run, lease)
    refund = Posting(Move.REFUND, held(run.name), wallet(run.opened.author), lease.price_micro)
    more = {
        "expired": {"expired": node.expired + 1},
        "returned": {"returned": node.returned + 1, "last_seen_ms": at_ms},
        "overtaken": {},
    }[outcome]
    if was_late:
        node = set_back(node, lease)
    return _settled(state, run, _without(node, work, outcome, **more), work, refund)


def _lease_returned(state: LabState, returned: LeaseReturned, at_ms: int) -> LabState:
    lease, _ = _ending(state, returned.work, "returned")
    was_late = returned.fault == "time" and is_used_up(lease, at_ms)
    state = _lease_given_up(state, returned.work, "returned", at_ms, was_late)
    run, node = state.runs[lease.spec.run], state.nodes[lease.node]
    run, node = failures.failed(run, node, lease.spec.kind, returned, at_ms)
    return changed(state, runs=state.runs.put(run.name, run), nodes=state.nodes.put(node.did, node))


def _work_accepted(state: LabState, answered: WorkAnswered, at_ms: int) -> LabState:
    work, answer = answered.work, answered.answer
    for twin in _twin(state, work):
        state = _lease_given_up(state, twin, "overtaken", at_ms)
    lease, node = _ending(state, work, "accepted")
    run = state.runs[lease.spec.run]
    if answer.kind != lease.spec.kind:
        raise Contradiction(f"{work} is {lease.spec.kind} work, answered as {answer.kind}")
    rules = RULES_OF[answer.kind]
    run = rules.accepted(run, lease, answer, Moment(at_ms, state.size))
    run = changed(run, paid_micro=run.paid_micro + lease.price_micro)
    pay = Posting(Move.PAY, held(run.name), wallet(node.did), lease.price_micro)
    node = _without(measured(node, lease, rules.effort(lease, answer), at_ms), work, "accepted")
    node = changed(node, last_seen_ms=at_ms)
    run, node = failures.went_well(run, node, answer.kind)
    return _settled(state, run, node, work, pay)


def _twin(state: LabState, work: str) -> tuple[str, ...]:
    """The other lease on the same work, if there is one."""
    lease = state.leases.get(work)
    copies = RULES_OF[lease.spec.kind].copies if lease is not None else None
    twin = copies.twin(state.runs[lease.spec.run], work) if copies and lease else None
    return (twin,) if twin else ()


def _snapshot_taken(state: LabState, taken: SnapshotTaken) -> LabState:
    if taken.author != state.lab or not 0 <= state.size - taken.size <= MAX_SNAPSHOT_LAG:
        raise Contradiction(
            f"a snapshot of {taken.size} entries is announced after {state.size}; "
            f"expected one of at most {MAX_SNAPSHOT_LAG} entries ago, by the lab"
        )
    return changed(state, snapshot=(taken.size, taken.state))


def _ending(state: LabState, work: str, outcome: str) -> tuple[Lease, Node]:
    """The lease that is over now, and who held it."""
    lease = state.leases.get(work)
    if lease is None:
        raise Contradiction(f"{work} is not leased, so it cannot be {outcome}")
    return lease, state.nodes[lease.node]


def _without(node: Node, work: str, outcome: str, **more: Any) -> Node:
    """The node whose lease is over; `more` of it is other as well."""
    return changed(
        node,
        leases=tuple(held_work for held_work in node.leases if held_work != work),
        ends=(*node.ends, (work, outcome))[-MAX_ENDS_REMEMBERED:],
        **more,
    )


def _settled(state: LabState, run: Run, node: Node, work: str, posting: Posting) -> LabState:
    state = changed(
        state,
        nodes=state.nodes.put(node.did, node),
        leases=state.leases.drop(work),
        book=post(state.book, (posting,)),
    )
    return _with_run(state, changed(run, leases=run.leases.drop(work)))


def _with_run(state: LabState, run: Run) -> LabState:
    """With the run as it is now; what only its work needed goes when that is over."""
    if run.phase in OPEN_PHASES or run.leases:
        return changed(state, runs=state.runs.put(run.name, run))
    programme = PROGRAMME_OF[run.opened.pace.programme]
    run = programme.closed(run)
    live = state.live
    if not any(rules.due(run) for rules in RULES if rules.programme in (None, programme.name)):
        live = tuple(name for name in live if name != run.name)
    return changed(state, runs=state.runs.put(run.name, run), live=live)


def _with_node(state: LabState, node: Node) -> LabState:
    return changed(state, nodes=state.nodes.put(node.did, node))
