"""apply(state, statement, at_ms) -> state: the fold that turns a ledger into a lab. Pure.

Every statement that reaches `apply` was admitted by `admission` (or written by the lab itself), so
nothing is judged here; an impossible transition is a defect and raises `Contradiction`. What a kind of
work does to its run stands in `kinds`; nodes, leases and money are moved here, the same for all kinds.
"""

from typing import assert_never

from archipel.lab import (
    awards,
    collecting,
    compute,
    doors,
    earning,
    endings,
    escrow,
    failures,
    joining,
    judging,
    keys,
    money,
    node_pauses,
    owning,
    pauses,
    seeding,
    succession,
    trading,
    voting,
    workforce,
)
from archipel.lab.amends import with_run
from archipel.lab.forgetting import forgotten
from archipel.lab.kinds import RULES_OF
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.state import (
    LabState,
    Node,
    Run,
)
from archipel.market.journal import Move, Posting, held, post
from archipel.records.changed import changed
from archipel.records.compute import Pledging
from archipel.records.door import AtDoor
from archipel.records.judging import Judging
from archipel.records.membership import JoiningRuled, KeyRevoked, NodePaused, NodeResumed
from archipel.records.money import Paying
from archipel.records.ownership import Owning
from archipel.records.pauses import RunPaused, RunResumed, RunRetried
from archipel.records.rounds import Trading
from archipel.records.seeded import RunSeeded
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
    RunStopped,
    SnapshotTaken,
    WorkAnswered,
)
from archipel.records.succession import LabSucceeded, SuccessorsNamed

MAX_SNAPSHOT_LAG = 10_000
"""A snapshot is announced within so many entries of the state it shows, so that a replay can check it."""


class Contradiction(RuntimeError):
    """The ledger holds a statement that cannot follow what came before it."""


def begun(state: LabState, statement: Recorded) -> LabState:
    """What a ledger is folded into: before its first entry, the state of the lab that opened it, which is not the lab whose
    it is now where it was succeeded. Whoever expects a certain lab compares at the end.
    """
    is_first = state.size == 0 and isinstance(statement, LabOpened)
    return LabState(lab=statement.author) if is_first else state


def apply(state: LabState, statement: Recorded, at_ms: int) -> LabState:
    """The state after one more ledger entry, received at `at_ms` (Unix milliseconds).

    Raises:
        Contradiction: it cannot follow; nothing changed.
    """
    try:
        state = collecting.passed(voting.counted(state, at_ms), at_ms)
        state = workforce.followed(state, _folded(state, statement, at_ms), statement, at_ms)
    except (KeyError, TypeError, ValueError) as error:
        raise Contradiction(f"{statement.kind} cannot follow entry {state.size}: {error}") from None
    seen = max(state.sequences.get(statement.author, 0), statement.seq)
    sequences = state.sequences.put(statement.author, seen)
    return changed(state, sequences=sequences, size=state.size + 1)


def _folded(  # noqa: C901, PLR0912  one case per statement: the match is the table
    state: LabState, statement: Recorded, at_ms: int
) -> LabState:
    if isinstance(statement, Judging):
        return judging.followed(state, statement, at_ms)
    if isinstance(statement, Paying):
        return money.followed(state, statement, at_ms)
    if isinstance(statement, Owning):
        return owning.followed(state, statement, at_ms)
    if isinstance(statement, AtDoor):
        return doors.followed(state, statement, at_ms)
    if isinstance(statement, Trading):
        return trading.followed(state, statement, at_ms)
    if isinstance(statement, Pledging):
        return compute.followed(state, statement, at_ms)
    match statement:
        case LabOpened():
            return _lab_opened(state, statement)
        case RunOpened():
            return _run_opened(state, statement, at_ms)
        case RunStopped():
            return succession.stopped(state, statement.run, at_ms)
        case RunRetried() | RunPaused() | RunResumed():
            return with_run(state, _cared_for(state.runs[statement.run], statement, at_ms))
        case RunSeeded():
            return seeding.seeded(state, statement)
        case NodeJoined() | NodeLeft() | JoiningRuled() | KeyRevoked():
            return _taking_part(state, statement, at_ms)
        case NodePaused() | NodeResumed():
            return node_pauses.followed(state, statement, at_ms)
        case NodesForgotten():
            return forgotten(state, statement)
        case SuccessorsNamed() | LabSucceeded():
            return _succeeding(state, statement, at_ms)
        case LeaseGranted():
            return _lease_granted(state, statement, at_ms)
        case LeaseReturned() | LeaseExpired() | WorkAnswered():
            return _lease_ended(state, statement, at_ms)
        case SnapshotTaken():
            return _snapshot_taken(state, statement)
        case LeaseRequested() | BlobOffered():
            raise Contradiction(f"{statement.kind} only asks; it has no place in a ledger")
    assert_never(statement)


def _succeeding(state: LabState, statement: SuccessorsNamed | LabSucceeded, at_ms: int) -> LabState:
    if isinstance(statement, SuccessorsNamed):
        return joining.named(state, statement)
    return succession.succeeded(state, statement, at_ms)


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
        phase=programme.begins_in,
    )
    state = earning.opened(endings.with_run(state, run), run)
    return changed(state, live=(*state.live, run.name))


def _cared_for(run: Run, said: RunRetried | RunPaused | RunResumed, at_ms: int) -> Run:
    if isinstance(said, RunRetried):
        return failures.retried(run, at_ms)
    return pauses.followed(run, said, at_ms)


def _taking_part(
    state: LabState, statement: NodeJoined | NodeLeft | JoiningRuled | KeyRevoked, at_ms: int
) -> LabState:
    if not isinstance(statement, JoiningRuled):
        gone = [did for did in endings.ended_nodes(statement) if did != _joins(statement)]
        state = awards.ended(state, gone)
    match statement:
        case NodeJoined():
            return _node_joined(state, statement, at_ms)
        case NodeLeft():
            return _node_left(state, statement, at_ms)
        case JoiningRuled():
            return joining.ruled(state, statement)
        case KeyRevoked():
            return keys.revoked(state, statement, at_ms)


def _joins(statement: NodeJoined | NodeLeft | KeyRevoked) -> str | None:
    """Whoever comes back keeps what was bought of it."""
    return statement.author if isinstance(statement, NodeJoined) else None


def _node_joined(state: LabState, joined: NodeJoined, at_ms: int) -> LabState:
    """A node that joins anew lost what it was doing: its leases go back at once."""
    state = joining.admitted(state, joined, at_ms)
    state = keys.delegated(state, joined, at_ms)
    before = state.nodes.get(joined.author)
    if before is not None and before.present:
        state = endings.left_behind(state, joined.author, at_ms)
    known = state.nodes.get(joined.author)
    node = (
        changed(known, capabilities=joined.capabilities, last_seen_ms=at_ms, present=True)
        if known
        else Node(joined.author, joined.capabilities, joined_at_ms=at_ms, last_seen_ms=at_ms)
    )
    return endings.with_node(state, node)


def _node_left(state: LabState, left: NodeLeft, at_ms: int) -> LabState:
    state = endings.left_behind(state, left.author, at_ms)
    node = changed(state.nodes[left.author], last_seen_ms=at_ms, present=False)
    return endings.with_node(state, node)


def _lease_granted(state: LabState, grant: LeaseGranted, at_ms: int) -> LabState:
    spec = grant.spec
    run = state.runs[spec.run]
    if grant.work != f"{run.name}.{run.next_work}":
        raise Contradiction(f"{grant.work} is not the next work of {run.name}")
    if grant.node in state.paused:
        raise Contradiction(f"{grant.work} is for {grant.node}, which is paused")
    bought = awards.checked(state, grant, RULES_OF[spec.kind], at_ms)
    lease = endings.lease_of(state, grant, at_ms)
    state = endings.granted(state, lease)
    run, node = state.runs[run.name], state.nodes[grant.node]
    run = changed(run, next_work=run.next_work + 1, leases=run.leases.put(grant.work, state.size))
    left = escrow.left_micro(state, run)
    if left is not None and grant.price_micro > left:
        raise Contradiction(f"{grant.work} costs {grant.price_micro}, its run holds {left}")
    hold = Posting(Move.HOLD, escrow.purse(run), held(run.name), grant.price_micro)
    asked = max(state.asked.get(grant.node, 0), grant.request_seq)
    node = changed(node, leases=(*node.leases, grant.work), last_seen_ms=at_ms)
    state = awards.begun(state, run.name, grant.work, RULES_OF[spec.kind].size(spec), bought)
    return changed(
        state,
        runs=state.runs.put(run.name, run),
        nodes=state.nodes.put(node.did, node),
        leases=state.leases.put(grant.work, lease),
        asked=state.asked.put(grant.node, asked),
        book=post(state.book, (hold,)),
    )


def _lease_ended(
    state: LabState, ended: LeaseReturned | LeaseExpired | WorkAnswered, at_ms: int
) -> LabState:
    match ended:
        case LeaseReturned():
            return endings.given_back(state, ended, at_ms)
        case LeaseExpired():
            return endings.given_up(state, ended.work, "expired", at_ms, ended.cause == "deadline")
        case WorkAnswered():
            return endings.accepted(state, ended, at_ms)


def _snapshot_taken(state: LabState, taken: SnapshotTaken) -> LabState:
    if taken.author != state.lab or not 0 <= state.size - taken.size <= MAX_SNAPSHOT_LAG:
        raise Contradiction(
            f"a snapshot of {taken.size} entries is announced after {state.size}; "
            f"expected one of at most {MAX_SNAPSHOT_LAG} entries ago, by the lab"
        )
    return changed(state, snapshot=(taken.size, taken.state))
