"""May this statement enter the ledger? Everything that is cheap to know, before anything is recorded.

`admit` raises a `Refused` or returns; the caller then appends and applies. What is not shown here:
that a rollout was really sampled from the policy, or that a version was honestly trained.
"""

from collections.abc import Callable

from archipel.lab import refusals
from archipel.lab.state import LabState, Lease, Phase
from archipel.records import rollouts
from archipel.records.fields import BlobRef
from archipel.records.payload import BadPayload
from archipel.records.statements import (
    AnyStatement,
    BlobOffered,
    EvaluateSpec,
    EvaluationSubmitted,
    LeaseRequested,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    Pace,
    RolloutSpec,
    RolloutSubmitted,
    RunOpened,
    RunStopped,
    UpdateSpec,
    VersionPublished,
)

MAX_NODES = 100_000
MAX_RUNS = 1000
MAX_REPORT_BYTES = 16 * 1024 * 1024
MAX_PROMPTS_BYTES = 256 * 1024 * 1024

ReadBlob = Callable[[BlobRef], bytes]
"""The bytes of a small blob; raises MissingBlob when they are not here."""
HasBlob = Callable[[BlobRef], bool]


def admit(state: LabState, statement: AnyStatement, has_blob: HasBlob, read_blob: ReadBlob) -> None:
    """Refuse, or return.

    1 it is meant for this lab  2 it is new  3 its author may say it  4 it fits what is known
    5 the bytes it names are here and are what was asked
    """
    # 1
    if statement.lab != state.lab:
        raise refusals.WrongLab(f"addressed to lab {statement.lab}, this is {state.lab}")
    # 2
    check_fresh(state, statement)
    # 3, 4, 5
    match statement:
        case RunOpened():
            _admit_run(state, statement, has_blob)
        case RunStopped():
            _admit_stop(state, statement)
        case NodeJoined():
            _admit_node(state, statement)
        case LeaseRequested() | NodeLeft():
            _joined(state, statement.author)
        case LeaseReturned():
            _held_lease(state, statement.work, statement.author)
        case RolloutSubmitted():
            _admit_rollout(state, statement, has_blob, read_blob)
        case VersionPublished():
            _admit_version(state, statement, has_blob, read_blob)
        case EvaluationSubmitted():
            _admit_evaluation(state, statement, has_blob)
        case _:
            raise refusals.NotAllowed(f"only the lab itself says {statement.kind}")


def check_fresh(state: LabState, statement: AnyStatement) -> None:
    """Refuse a sequence number that is not greater than all before it."""
    numbered = state.asked if isinstance(statement, LeaseRequested) else state.sequences
    last = numbered.get(statement.author, 0)
    if statement.seq <= last:
        raise refusals.Replayed(
            f"sequence number {statement.seq} was used before; the next must exceed {last}"
        )


def admit_upload(state: LabState, offer: BlobOffered, taken_bytes: int) -> None:
    """May these bytes be uploaded? Only for a lease one holds, or by an operator, and never too many.

    `taken_bytes` is the size of the other blobs taken in for the same lease.
    """
    if offer.work is None:
        if offer.author not in state.operators:
            raise refusals.NotAllowed("only an operator uploads without a lease")
        return
    lease = _held_lease(state, offer.work, offer.author)
    limit = upload_limit(state, lease)
    if limit is not None and taken_bytes + offer.blob.size > limit:
        raise refusals.TooLarge(
            f"{offer.blob.size} bytes offered for {offer.work} after {taken_bytes} others; "
            f"at most {limit} can be needed"
        )


def upload_limit(state: LabState, lease: Lease) -> int | None:
    """Bytes that an honest answer to this lease can need; None for the trusted role's weights."""
    if isinstance(lease.spec, RolloutSpec):
        return rollouts.max_rollout_bytes(rollout_bounds(state, lease))
    return MAX_REPORT_BYTES if isinstance(lease.spec, EvaluateSpec) else None


def rollout_bounds(state: LabState, lease: Lease) -> rollouts.RolloutBounds:
    """What a rollout lease asked for."""
    spec = lease.spec
    if not isinstance(spec, RolloutSpec):
        raise refusals.Conflict(f"{lease.work} is {spec.kind} work, not rollouts")
    pace = state.runs[spec.run].opened.pace
    groups = len(spec.groups)
    return rollouts.bounds_of(pace, work=lease.work, policy=spec.policy, num_groups=groups)


def _admit_node(state: LabState, joined: NodeJoined) -> None:
    if joined.author not in state.nodes and len(state.nodes) >= MAX_NODES:
        raise refusals.NotAllowed(f"this lab has {MAX_NODES} nodes already; join another")


def _admit_run(state: LabState, opened: RunOpened, has_blob: HasBlob) -> None:
    if opened.author not in state.operators:
        raise refusals.NotAllowed(f"{opened.author} is no operator of this lab")
    if opened.run in state.runs:
        raise refusals.Conflict(f"run {opened.run} exists; choose another run.name")
    if len(state.runs) >= MAX_RUNS:
        raise refusals.NotAllowed(f"this lab has {MAX_RUNS} runs already")
    for blob in (opened.recipe, *(file.blob for file in opened.model)):
        _require(has_blob, blob)


def _admit_stop(state: LabState, stop: RunStopped) -> None:
    if stop.author not in state.operators:
        raise refusals.NotAllowed(f"{stop.author} is no operator of this lab")
    run = state.runs.get(stop.run)
    if run is None:
        raise refusals.Unknown(f"no run {stop.run}; this lab has {sorted(state.runs)[:8]}")
    if run.phase in (Phase.COMPLETE, Phase.STOPPED):
        raise refusals.Conflict(f"run {stop.run} is {run.phase.value} already")


def _admit_rollout(
    state: LabState, result: RolloutSubmitted, has_blob: HasBlob, read_blob: ReadBlob
) -> None:
    lease = _held_lease(state, result.work, result.author)
    bounds = rollout_bounds(state, lease)
    if result.policy != bounds.policy:
        raise refusals.WrongPolicy(f"sampled from {result.policy}, the lease says {bounds.policy}")
    if result.result.size > rollouts.max_rollout_bytes(bounds):
        raise refusals.TooLarge(
            f"result of {result.result.size} bytes is larger than any honest one"
        )
    _require(has_blob, result.result)
    groups = _unpack(read_blob(result.result), bounds)
    counted = sum(len(rollout.tokens) for group in groups for rollout in group)
    if result.num_tokens != counted:
        raise refusals.WrongShape(f"num_tokens says {result.num_tokens}, the payload has {counted}")


def _unpack(data: bytes, bounds: rollouts.RolloutBounds) -> list[list[rollouts.Rollout]]:
    try:
        return rollouts.unpack_rollouts(data, bounds)
    except rollouts.WrongLabel as error:
        raise refusals.WrongLabel(str(error)) from None
    except rollouts.WrongShape as error:
        raise refusals.WrongShape(str(error)) from None
    except rollouts.NotFinite as error:
        raise refusals.NotFinite(str(error)) from None
    except rollouts.OutOfRange as error:
        raise refusals.OutOfRange(str(error)) from None
    except BadPayload as error:
        raise refusals.BadResult(str(error)) from None


def _admit_version(
    state: LabState, published: VersionPublished, has_blob: HasBlob, read_blob: ReadBlob
) -> None:
    lease = _held_lease(state, published.work, published.author)
    spec = lease.spec
    if not isinstance(spec, UpdateSpec):
        raise refusals.Conflict(f"{published.work} is {spec.kind} work, not an update")
    if (published.version, published.parent) != (spec.version, spec.parent):
        raise refusals.Conflict(f"version {published.version} was not asked; {spec.version} was")
    if published.anchor is None and (published.delta is None or spec.version == 0):
        raise refusals.MissingBlob("a version needs an anchor, or a delta to its parent")
    blobs = (published.manifest, published.anchor, published.delta)
    for blob in (*blobs, *(batch.blob for batch in published.prompts)):
        if blob is not None:
            _require(has_blob, blob)
    _check_prompts(state.runs[spec.run].opened.pace, published, read_blob)


def _check_prompts(pace: Pace, published: VersionPublished, read_blob: ReadBlob) -> None:
    """Nodes must find every prompt that this version lets them sample, and find it usable."""
    version, reach = published.version, published.version + pace.max_staleness
    due = list(range(0 if version == 0 else reach, min(reach + 1, pace.versions)))
    named = [each.batch for each in published.prompts]
    if named != due:
        raise refusals.Conflict(f"version {version} brings prompt batches {named}, expected {due}")
    for each in published.prompts:
        if each.blob.size > MAX_PROMPTS_BYTES:
            raise refusals.TooLarge(
                f"prompts of {each.blob.size} bytes; at most {MAX_PROMPTS_BYTES}"
            )
        try:
            batch, prompts = rollouts.unpack_prompts(read_blob(each.blob))
        except BadPayload as error:
            raise refusals.BadResult(f"prompts of batch {each.batch}: {error}") from None
        if batch != each.batch or len(prompts) != pace.groups_per_update:
            raise refusals.WrongShape(
                f"{len(prompts)} prompts of batch {batch}, expected "
                f"{pace.groups_per_update} of batch {each.batch}"
            )
        if not all(0 <= token < pace.vocab_size for prompt in prompts for token in prompt):
            raise refusals.OutOfRange(
                f"a prompt of batch {batch} has a token not in the vocabulary"
            )


def _admit_evaluation(state: LabState, done: EvaluationSubmitted, has_blob: HasBlob) -> None:
    spec = _held_lease(state, done.work, done.author).spec
    if not isinstance(spec, EvaluateSpec):
        raise refusals.Conflict(f"{done.work} is {spec.kind} work, not an evaluation")
    if (done.version, done.policy) != (spec.version, spec.policy):
        raise refusals.WrongPolicy(
            f"evaluated version {done.version}, the lease says {spec.version}"
        )
    _require(has_blob, done.report)


def _held_lease(state: LabState, work: str, author: str) -> Lease:
    _joined(state, author)
    lease = state.leases.get(work)
    if lease is None:
        outcome = state.closed.get(work)
        if outcome == "accepted":
            raise refusals.Duplicate(f"{work} was answered and accepted before")
        if outcome is not None:
            raise refusals.Late(f"the lease on {work} has {outcome}; ask for new work")
        raise refusals.Unknown(f"no open lease {work}")
    if lease.node != author:
        raise refusals.NotYours(f"{work} is leased to {lease.node}")
    return lease


def _joined(state: LabState, author: str) -> None:
    if author not in state.nodes or not state.nodes[author].present:
        raise refusals.NotJoined("this key has not joined the lab; send node.joined first")


def _require(has_blob: HasBlob, blob: BlobRef) -> None:
    if not has_blob(blob):
        raise refusals.MissingBlob(f"{blob.digest} ({blob.size} bytes) was not uploaded")
