"""Update work in the lab: due when a batch is whole, made by one trusted key at a time. Pure."""

from archipel.lab import refusals
from archipel.lab.chain import published
from archipel.lab.programmes import rl
from archipel.lab.rules import Asking, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import OPEN_PHASES, Lease, Run
from archipel.records.documents import inputs_digest
from archipel.records.fields import MAX_BLOB_BYTES
from archipel.records.kinds.update import (
    WORDS,
    PromptBatch,
    UpdateAnswer,
    UpdateSpec,
)
from archipel.records.payload import BadPayload
from archipel.records.prompts import unpack_tasks
from archipel.records.words import SavedMemory

MAX_PROMPTS_BYTES = 256 * 1024 * 1024


def _due(run: Run) -> bool:
    """Every group of the next batch is accepted (version 0 needs none), nobody makes the version, and no audit is
    worth waiting for.
    """
    slice_ = rl.course(run)
    is_ready = run.version < 0 or (slice_.owed == 0 and not rl.waits_for_audits(run))
    return run.phase in OPEN_PHASES and slice_.updating is None and is_ready


def _offer(asking: Asking) -> UpdateSpec:
    run, first = asking.run, asking.run.version < 0
    return UpdateSpec(
        run=run.name,
        version=run.version + 1,
        parent=None if first else run.chain[-1].policy,
        inputs=None if first else inputs_digest(rl.batch_results(run)),
        memory=rl.course(run).memory,
    )


def _check(run: Run, lease: Lease, answer: UpdateAnswer) -> None:
    spec, every = _spec(lease), run.opened.terms.checkpoint_every
    if (answer.version, answer.parent) != (spec.version, spec.parent):
        raise refusals.Conflict(f"version {answer.version} was not asked; {spec.version} was")
    if answer.more is not None:
        _check_more(run, answer, answer.more)
        return
    if answer.anchor is None and (answer.delta is None or spec.version == 0):
        raise refusals.MissingBlob("a version needs an anchor, or a delta to its parent")
    if spec.version > 0 and spec.version % every == 0 and answer.memory is None:
        raise refusals.MissingBlob(f"version {spec.version} needs the learner's checkpoint")
    _check_batches(run, answer)


def _check_more(run: Run, answer: UpdateAnswer, more: int) -> None:
    """A batch asks for further groups: as many as it may, with the prompts that are not here yet, and nothing else."""
    if answer.version == 0 or answer.policy != answer.parent:
        raise refusals.Conflict(
            "further groups are asked for by an update, from its parent's weights"
        )
    if (answer.anchor, answer.delta, answer.memory) != (None, None, None):
        raise refusals.Conflict("an answer that asks for further groups brings no weights")
    own, batch, before = rl.batches(run), answer.version - 1, rl.num_further(run)
    left = len(own.further(batch)) - before
    if more > left:
        raise refusals.Conflict(f"{more} further groups asked for; the batch may have {left} more")
    held = rl.course(run).prompts
    due = [number for number in own.blocks_of(batch, before + more) if number not in held]
    named = [each.batch for each in answer.prompts]
    if named != due:
        raise refusals.Conflict(f"further groups with prompt batches {named}, expected {due}")


def _check_batches(run: Run, answer: UpdateAnswer) -> None:
    """Nodes must find every prompt that this version lets them sample."""
    version, reach = answer.version, answer.version + rl.pace(run).max_staleness
    due = list(range(0 if version == 0 else reach, min(reach + 1, run.opened.terms.versions)))
    named = [each.batch for each in answer.prompts]
    if named != due:
        raise refusals.Conflict(f"version {version} brings prompt batches {named}, expected {due}")
    for each in answer.prompts:
        if each.blob.size > MAX_PROMPTS_BYTES:
            raise refusals.TooLarge(
                f"prompts of {each.blob.size} bytes; at most {MAX_PROMPTS_BYTES}"
            )


def _inspect(run: Run, lease: Lease, answer: UpdateAnswer, read: ReadBlob) -> None:
    for each in answer.prompts:
        _check_prompts(run, each, read(each.blob))


def _check_prompts(run: Run, named: PromptBatch, data: bytes) -> None:
    pace = rl.pace(run)
    try:
        batch, prompts, tasks = unpack_tasks(data)
    except BadPayload as error:
        raise refusals.BadResult(f"prompts of batch {named.batch}: {error}") from None
    if batch != named.batch or len(prompts) != pace.groups_per_update:
        raise refusals.WrongShape(
            f"{len(prompts)} prompts of batch {batch}, expected "
            f"{pace.groups_per_update} of batch {named.batch}"
        )
    if (pace.episodes is not None and pace.episodes.chooses is not None) != (tasks is not None):
        raise refusals.WrongShape(
            f"prompts of batch {batch} name {'no' if tasks is None else 'their'} tasks; the run's pace says otherwise"
        )
    if not all(0 <= token < pace.vocab_size for prompt in prompts for token in prompt):
        raise refusals.OutOfRange(f"a prompt of batch {batch} has a token not in the vocabulary")


def _accepted(run: Run, lease: Lease, answer: UpdateAnswer, moment: Moment) -> Run:
    fresh = {each.batch: each.blob for each in answer.prompts}
    if answer.more is not None:
        prompts = {**rl.course(run).prompts, **fresh}
        return rl.asked_for(rl.with_course(run, updating=None, prompts=prompts), answer.more)
    if answer.version > 0:
        made = rl.Made(lease.entry, rl.batch_results(run))
        run = rl.consumed(run, answer.version, made, moment.at_ms - lease.granted_at_ms)
    if answer.memory is not None:
        memory = SavedMemory(version=answer.version, blob=answer.memory)
        run = rl.with_course(run, made={}, memory=memory)
    run = rl.with_course(run, updating=None, prompts={**rl.course(run).prompts, **fresh})
    publication = WORDS.publishes(answer)
    if publication is None:
        raise TypeError(f"{lease.work} was accepted and publishes nothing")
    return rl.counted(published(run, publication, moment.entry, moment.at_ms, answer.metrics))


def _spec(lease: Lease) -> UpdateSpec:
    if not isinstance(lease.spec, UpdateSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


RULES = Rules(
    words=WORDS,
    programme="rl",
    slice=None,
    needs=lambda run: None,
    audited=False,
    due=_due,
    offer=_offer,
    patience_ms=lambda run, node, spec: run.opened.terms.trusted_deadline_ms,
    price_micro=lambda run, spec: 0,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: MAX_BLOB_BYTES,
    check=_check,
    inspect=_inspect,
    granted=lambda run, lease: rl.with_course(run, updating=lease.work),
    given_up=lambda run, lease: rl.with_course(run, updating=None),
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(units=0, tokens=0, bytes_in=0),
    copies=None,
    size=lambda spec: 0,
    inputs=lambda run, spec: rl.batch_results(run) if run.version >= 0 else (),
    shows=lambda run: {},
    keeps=lambda run: (),
)
