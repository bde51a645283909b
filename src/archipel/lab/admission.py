"""May this statement enter the ledger? Everything that is cheap to know, before anything is recorded.

`admit` raises a `Refused` or returns. What an answer's own words and bytes must be is its kind's to say
(`check`, `inspect` in `kinds`). What is not shown here: that a rollout was really sampled from the policy,
or that a version was honestly trained.
"""

from collections.abc import Callable

from archipel.lab import doors, joining, judging, money, owning, quarantine, refusals, trading
from archipel.lab.compute import admit_pledge
from archipel.lab.kinds import RULES_OF
from archipel.lab.state import OPEN_PHASES, LabState, Lease, Run
from archipel.records.compute import Pledging
from archipel.records.door import AtDoor, DoorAsked
from archipel.records.fields import BlobRef
from archipel.records.judging import Judging
from archipel.records.kinds import Answer
from archipel.records.membership import TakingPart
from archipel.records.money import Paying
from archipel.records.ownership import Owning
from archipel.records.pauses import RunPaused, RunResumed, RunRetried
from archipel.records.rounds import Trading
from archipel.records.seeded import RunSeeded
from archipel.records.statements import (
    AnyStatement,
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

MAX_RUNS = 1000
"""That are not at rest: what is asked for every record looks at all of them."""
MAX_RUNS_KEPT = 10_000
"""At rest or not: their openings and newest versions stay in the state and can be fetched."""
MAX_SEQ_AHEAD = 366 * 86_400 * 1_000_000
"""A number may be this far beyond the lab's clock in microseconds: no author can use all numbers up."""

_OF_ITSELF = LabOpened | LabSucceeded | NodesForgotten | SnapshotTaken
LAB_S_OWN = _OF_ITSELF | LeaseGranted | LeaseExpired | RunSeeded
"""What nobody else may say."""

HasBlob = Callable[[BlobRef], bool]


def admit(  # noqa: C901, PLR0912  one case per statement: the match is the table
    state: LabState, statement: AnyStatement, now_ms: int, has_blob: HasBlob
) -> None:
    """Refuse, or return.

    1 it is meant for this lab  2 it is new  3 its author may say it  4 it fits what is known  5 the bytes it names are here
    """
    # 1
    if statement.lab != state.lab:
        raise refusals.WrongLab(f"addressed to lab {statement.lab}, this is {state.lab}")
    # 2
    check_fresh(state, statement, now_ms)
    # 3, 4, 5
    match statement:
        case _ if isinstance(statement, Judging):
            judging.admit(state, statement, now_ms)
        case _ if isinstance(statement, Paying):
            money.admit(state, statement, now_ms)
        case _ if isinstance(statement, Owning):
            owning.admit(state, statement, now_ms)
        case _ if isinstance(statement, AtDoor):
            doors.admit(state, statement, now_ms, has_blob)
        case _ if isinstance(statement, Trading):
            trading.admit(state, statement, now_ms)
        case _ if isinstance(statement, Pledging):
            admit_pledge(state, statement, now_ms)
        case RunOpened():
            _admit_run(state, statement, has_blob)
        case RunStopped():
            _admit_stop(state, statement)
        case RunRetried() | RunPaused() | RunResumed():
            _admit_care(state, statement)
        case _ if isinstance(statement, TakingPart | NodeJoined | SuccessorsNamed):
            joining.admit(state, statement, now_ms)
        case LeaseRequested():
            joined(state, statement.author)
            joining.admit_speaker(state, statement.author, now_ms)
        case NodeLeft():
            joined(state, statement.author)
        case LeaseReturned():
            held_lease(state, statement.work, statement.author)
        case WorkAnswered():
            _admit_answer(state, statement, has_blob)
        case _ if isinstance(statement, LAB_S_OWN):
            raise refusals.NotAllowed(f"only the lab itself says {statement.kind}")
        case BlobOffered():
            raise refusals.NotAllowed(f"{statement.kind} goes with an upload, not into the ledger")


def check_fresh(state: LabState, statement: AnyStatement, now_ms: int) -> None:
    """Refuse a sequence number that is not greater than all before it, or that leaves none to others."""
    last = last_seq(state, statement.author, is_request=isinstance(statement, LeaseRequested))
    if statement.seq <= last:
        raise refusals.Replayed(
            f"sequence number {statement.seq} was used before; the next must exceed {last}"
        )
    limit = now_ms * 1000 + MAX_SEQ_AHEAD
    if statement.seq > limit:
        raise refusals.Replayed(
            f"sequence number {statement.seq} is beyond {limit}; count microseconds by the lab's clock"
        )


def last_seq(state: LabState, author: str, *, is_request: bool) -> int:
    """The number that the author's next one must exceed."""
    numbered = state.asked if is_request else state.sequences
    return int(numbered.get(author, state.forgotten_seq))


def admit_upload(state: LabState, offer: BlobOffered, taken_bytes: int) -> None:
    """May these bytes be uploaded? Only for a lease one holds, or by an operator, and never too many.

    `taken_bytes` is the size of the other blobs taken in for the same lease.
    """
    if offer.work is None:
        doors.admit_upload(state, offer)
        return
    lease = held_lease(state, offer.work, offer.author)
    check_size(state, lease, taken_bytes + offer.blob.size)


def check_size(state: LabState, lease: Lease, num_bytes: int) -> None:
    """Refuse more bytes than an honest answer to this lease can need."""
    limit = RULES_OF[lease.spec.kind].upload_limit(run_of(state, lease), lease)
    if num_bytes > limit:
        raise refusals.TooLarge(
            f"{num_bytes} bytes offered for {lease.work}; at most {limit} can be needed"
        )


def is_trusted(state: LabState, offer: BlobOffered) -> bool:
    """Whether an admitted upload comes from an operator or a trusted role."""
    if offer.work is None:
        return offer.author in state.operators
    return RULES_OF[state.leases[offer.work].spec.kind].words.trusted


def answer_blobs(answer: Answer) -> tuple[BlobRef, ...]:
    """The bytes that an answer names."""
    return RULES_OF[answer.kind].words.blobs(answer)


def named_blobs(statement: Recorded) -> tuple[BlobRef, ...]:
    """The bytes that a recorded statement names."""
    match statement:
        case WorkAnswered():
            return answer_blobs(statement.answer)
        case RunOpened():
            model = (file.blob for file in statement.model)
            return (statement.recipe, *model, *statement.pace.named_blobs)
        case DoorAsked():
            return doors.named_blobs(statement)
        case SnapshotTaken():
            return (statement.state,)
    return ()


def held_lease(state: LabState, work: str, author: str) -> Lease:
    """The lease on `work`, if `author` holds it; otherwise refuse, saying what became of it."""
    joined(state, author)
    lease: Lease | None = state.leases.get(work)
    if lease is None:
        outcome = dict(state.nodes[author].ends).get(work)
        if outcome == "accepted":
            raise refusals.Duplicate(f"{work} was answered and accepted before")
        if outcome == "overtaken":
            raise refusals.Late(
                f"{work} was late, and a second node answered it first; only the first answer is paid, and "
                "nothing is held against you; ask for new work"
            )
        if outcome == "missed":
            raise refusals.Late(
                f"the version that {work} contributes to was merged without it, because it took longer than others do; it "
                "is not paid; ask for new work"
            )
        if outcome is not None:
            raise refusals.Late(
                f"the lease on {work} has {outcome}, and what comes after its end is not paid; ask for new work"
            )
        raise refusals.Unknown(f"no open lease {work}")
    if lease.node != author:
        raise refusals.NotYours(f"{work} is leased to {lease.node}")
    return lease


def joined(state: LabState, author: str) -> None:
    """Refuse who has not joined, or left."""
    if author not in state.nodes or not state.nodes[author].present:
        raise refusals.NotJoined("this key has not joined the lab; send node.joined first")


def run_of(state: LabState, lease: Lease) -> Run:
    """The run of a lease."""
    return state.runs[lease.spec.run]


def _admit_run(state: LabState, opened: RunOpened, has_blob: HasBlob) -> None:
    _own_lab(state, opened.author)
    if opened.run in state.runs:
        raise refusals.Conflict(f"run {opened.run} exists; choose another run.name")
    if len(state.live) >= MAX_RUNS:
        raise refusals.NotAllowed(
            f"{MAX_RUNS} runs of this lab are not over yet; stop some, or wait until their versions "
            "are made and evaluated"
        )
    if len(state.runs) >= MAX_RUNS_KEPT:
        raise refusals.NotAllowed(f"this lab keeps {MAX_RUNS_KEPT} runs already; start another lab")
    for blob in named_blobs(opened):
        refusals.require_blob(has_blob(blob), blob)


def _own_lab(state: LabState, author: str) -> None:
    if author not in state.operators:
        raise refusals.NotAllowed(f"{author} is no operator of this lab")


def _named_run(state: LabState, name: str) -> Run:
    run: Run | None = state.runs.get(name)
    if run is None:
        raise refusals.Unknown(f"no run {name}; this lab has {sorted(state.runs)[:8]}")
    return run


def _admit_stop(state: LabState, stop: RunStopped) -> None:
    run = _own_run(state, stop.author, stop.run)
    if run.phase not in OPEN_PHASES:
        raise refusals.Conflict(f"run {stop.run} is {run.phase.value} already")


def _admit_care(state: LabState, said: RunRetried | RunPaused | RunResumed) -> None:
    if isinstance(said, RunResumed):
        _admit_resumption(state, said)
        return
    run = _cared_for(state, said.author, said.run)
    if isinstance(said, RunRetried):
        if run.name not in state.live:
            raise refusals.Conflict(f"run {run.name} is {run.phase.value} and has no work any more")
        return
    if run.paused is not None:
        raise refusals.Conflict(
            f"run {run.name} is paused already; `archipel run resume {run.name}` ends that"
        )
    if run.phase not in OPEN_PHASES:
        raise refusals.Conflict(f"run {run.name} is {run.phase.value}: there is nothing to pause")


def _admit_resumption(state: LabState, resumption: RunResumed) -> None:
    run = _own_run(state, resumption.author, resumption.run)
    if run.paused is None:
        raise refusals.Conflict(f"run {run.name} is {run.phase.value} and not paused")


def _cared_for(state: LabState, author: str, name: str) -> Run:
    """The run of that name, for an operator or one that the run trusts."""
    run = _named_run(state, name)
    if author not in state.operators and author not in run.opened.trusted:
        raise refusals.NotAllowed(
            f"{author} is neither an operator of this lab nor trusted in {run.name}"
        )
    return run


def _own_run(state: LabState, author: str, name: str) -> Run:
    """The run of that name; only an operator has a say in it."""
    _own_lab(state, author)
    return _named_run(state, name)


def _admit_answer(state: LabState, answered: WorkAnswered, has_blob: HasBlob) -> None:
    lease = held_lease(state, answered.work, answered.author)
    quarantine.refuse(state, answered.author)
    answer = answered.answer
    if answer.kind != lease.spec.kind:
        raise refusals.Conflict(
            f"{lease.work} is {lease.spec.kind} work; the answer is of {answer.kind} work"
        )
    RULES_OF[answer.kind].check(run_of(state, lease), lease, answer)
    blobs = answer_blobs(answer)
    check_size(state, lease, sum(blob.size for blob in blobs))
    for blob in blobs:
        refusals.require_blob(has_blob(blob), blob)
