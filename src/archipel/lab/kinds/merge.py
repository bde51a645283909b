"""Merge work in the lab: due when all contributions are there, or enough and the time has passed; made by one trusted key
at a time. Pure.
"""

from archipel.lab import refusals
from archipel.lab.chain import published
from archipel.lab.programmes import pretrain
from archipel.lab.programmes.pretrain_paying import judged
from archipel.lab.programmes.pretrain_waiting import is_merged_at, may_be_merged
from archipel.lab.rules import Asking, Crowd, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import OPEN_PHASES, Lease, Run
from archipel.records.documents import inputs_digest
from archipel.records.fields import MAX_BLOB_BYTES
from archipel.records.kinds.merge import WORDS, MergeAnswer, MergeSpec
from archipel.records.pretraining import MAX_AGE, MAX_LATE
from archipel.records.table import Table
from archipel.records.words import SavedMemory

MAX_GATE_BYTES = 256 * 1024 * 1024


def _due(run: Run) -> bool:
    return run.phase in OPEN_PHASES and pretrain.course(run).merging is None and may_be_merged(run)


def _may_have(run: Run, crowd: Crowd, now_ms: int, did: str) -> bool:
    return is_merged_at(run, now_ms)


def _offer(asking: Asking) -> MergeSpec | None:
    run, first = asking.run, asking.run.version < 0
    if not is_merged_at(run, asking.now_ms):
        return None
    return MergeSpec(
        run=run.name,
        version=run.version + 1,
        parent=None if first else run.chain[-1].policy,
        inputs=None if first else inputs_digest(pretrain.inputs(run)),
        memory=pretrain.course(run).memory,
    )


def _missed(run: Run, lease: Lease) -> tuple[str, ...]:
    """What can be in no merge any more once this one has begun: without `late = "use"` all that is in nodes' hands, with it
    what would be too old for the next merge, and what would be too much for it.
    """
    slice_, version = pretrain.course(run), _spec(lease).version
    leases = sorted(
        (*slice_.held.values(), *slice_.behind.values()),
        key=lambda each: (each.granted_at_ms, each.work),
    )
    if pretrain.pace(run).merge.late == "drop" or version == run.opened.terms.versions:
        return tuple(each.work for each in leases)
    young = [each for each in leases if version - each.version <= MAX_AGE]
    kept = {each.work for each in young[:MAX_LATE]}
    return tuple(each.work for each in leases if each.work not in kept)


def _granted(run: Run, lease: Lease) -> Run:
    """What is answered now is in it, and nothing else; whoever still makes a contribution is behind."""
    spec, slice_ = _spec(lease), pretrain.course(run)
    if not _due(run) or not is_merged_at(run, lease.granted_at_ms):
        raise ValueError(
            f"{lease.work} makes version {spec.version} before its contributions are there"
        )
    expected = None if run.version < 0 else inputs_digest(pretrain.inputs(run))
    if (spec.version, spec.inputs) != (run.version + 1, expected):
        raise ValueError(
            f"{lease.work} makes version {spec.version} from {spec.inputs}; expected {run.version + 1} from {expected}"
        )
    merging = pretrain.Merging(lease.work, pretrain.next_works(run))
    gone = _missed(run, lease)
    leases = (*slice_.behind.values(), *slice_.held.values())
    behind = Table({each.work: each for each in leases if each.work not in gone})
    return pretrain.with_course(run, merging=merging, behind=behind, held=Table())


def _check(run: Run, lease: Lease, answer: MergeAnswer) -> None:
    """1 the version that was asked  2 a verdict on each contribution  3 the weights, and what comes with them
    4 the held-out text
    """
    spec, slice_ = _spec(lease), pretrain.course(run)
    # 1
    if (answer.version, answer.parent) != (spec.version, spec.parent):
        raise refusals.Conflict(f"version {answer.version} was not asked; {spec.version} was")
    # 2
    works = () if slice_.merging is None else slice_.merging.works
    if tuple(each.work for each in answer.verdicts) != works:
        raise refusals.Conflict(
            f"verdicts on {len(answer.verdicts)} contributions; expected one on each of {len(works)}, in their order"
        )
    # 3
    if answer.void is not None:
        _check_void(answer)
    else:
        _check_weights(run, spec.version, answer)
    # 4
    _check_gate(run, answer)


def _check_void(answer: MergeAnswer) -> None:
    if any(each.merged for each in answer.verdicts) or answer.version == 0:
        raise refusals.Conflict("a merge is void if all contributions were refused, and not before")
    if answer.policy != answer.parent or any((answer.anchor, answer.delta, answer.memory)):
        raise refusals.Conflict("a void merge brings no weights: its parent's stay the newest")


def _check_weights(run: Run, version: int, answer: MergeAnswer) -> None:
    if version > 0 and not any(each.merged for each in answer.verdicts):
        raise refusals.Conflict("a version is made from contributions; from none the merge is void")
    if answer.anchor is None and (answer.delta is None or version == 0):
        raise refusals.MissingBlob("a version needs an anchor, or a delta to its parent")
    every = run.opened.terms.checkpoint_every
    if version > 0 and version % every == 0 and answer.memory is None:
        raise refusals.MissingBlob(f"version {version} needs the outer optimiser's state")


def _check_gate(run: Run, answer: MergeAnswer) -> None:
    """The text that scored them is the one that was committed to before they came, and the next one is committed to."""
    slice_, gate = pretrain.course(run), pretrain.pace(run).merge.gate
    revealed = None if answer.gate is None else answer.gate.digest
    if revealed != slice_.next_gate:
        raise refusals.Conflict(
            f"held-out text {revealed} was revealed; committed to was {slice_.next_gate}"
        )
    if answer.gate is not None and answer.gate.size > MAX_GATE_BYTES:
        raise refusals.TooLarge(
            f"held-out text of {answer.gate.size} bytes; at most {MAX_GATE_BYTES}"
        )
    is_last = answer.version == run.opened.terms.versions and answer.void is None
    is_wanted = gate is not None and not is_last
    if is_wanted != (answer.next_gate is not None):
        raise refusals.Conflict(
            f"the next held-out text is {'not ' if is_wanted else ''}committed to; expected the opposite"
        )


def _inspect(run: Run, lease: Lease, answer: MergeAnswer, read: ReadBlob) -> None:
    """Weights and text are what their digests say; whoever replays the merge sees whether it was made as it says."""


def _given_up(run: Run, lease: Lease) -> Run:
    return pretrain.reopened(run)


def _accepted(run: Run, lease: Lease, answer: MergeAnswer, moment: Moment) -> Run:
    made = pretrain.Made(lease.entry, pretrain.inputs(run))
    run = judged(run, answer.verdicts, answer.version)
    took_ms = moment.at_ms - lease.granted_at_ms if answer.version else 0
    run = pretrain.counted(run, busy_ms=took_ms, void=int(answer.void is not None))
    run = pretrain.with_course(run, next_gate=answer.next_gate, began_ms=moment.at_ms)
    publication = WORDS.publishes(answer)
    if publication is None:
        return pretrain.reopened(run)
    run = pretrain.with_course(run, merging=None, **_remembered(pretrain.course(run), answer, made))
    return published(run, publication, moment.entry, moment.at_ms, answer.metrics)


def _remembered(
    slice_: pretrain.PretrainSlice, answer: MergeAnswer, made: pretrain.Made
) -> dict[str, object]:
    """What the version was made from, until the outer optimiser's state says all of it."""
    if answer.memory is not None:
        memory = SavedMemory(version=answer.version, blob=answer.memory)
        return {"made": {}, "gates": (), "memory": memory}
    gates = slice_.gates if answer.gate is None else (*slice_.gates, answer.gate)
    return {"made": {**slice_.made, answer.version: made}, "gates": gates} if answer.version else {}


def _spec(lease: Lease) -> MergeSpec:
    if not isinstance(lease.spec, MergeSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


RULES = Rules(
    words=WORDS,
    programme="pretrain",
    slice=None,
    audited=False,
    due=_due,
    needs=lambda run: None,
    may_have=_may_have,
    offer=_offer,
    patience_ms=lambda run, node, spec: run.opened.terms.trusted_deadline_ms,
    price_micro=lambda run, spec: 0,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: MAX_BLOB_BYTES,
    check=_check,
    inspect=_inspect,
    missed=_missed,
    granted=_granted,
    given_up=_given_up,
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(units=0, tokens=0, bytes_in=0),
    copies=None,
    size=lambda spec: 0,
    inputs=lambda run, spec: pretrain.inputs(run),
    shows=lambda run: {},
    keeps=lambda run: (),
)
