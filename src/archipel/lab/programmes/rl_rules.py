"""The row of reinforcement learning: what a lab asks of any programme. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from archipel import plurals
from archipel.lab.audits import holder, pending
from archipel.lab.programmes.rl import (
    RlSlice,
    batches,
    capacity,
    counted,
    course,
    in_flight,
    is_in_the_making,
    next_batch,
    next_works,
    pace,
    rollout_of,
    waits_for_audits,
    with_course,
)
from archipel.lab.rules import Demand, ProgrammeRules
from archipel.lab.state import LabState, Lease, Phase, Run
from archipel.lab.waits import Sight, absent_trainer, leased, nobody
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork, Wait
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.rollout import WORDS as ROLLOUT_WORDS
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import WORDS as UPDATE_WORDS
from archipel.records.programmes import rl as words
from archipel.records.programmes.rl import RlPace
from archipel.records.table import Table
from archipel.records.words import WorkSpec


def _begin(given: RlPace) -> RlSlice:
    return RlSlice(owed=given.groups_per_update)


def _closed(run: Run) -> Run:
    """No group is anywhere but in the updates that were made."""
    learned = max(run.version, 0) * pace(run).groups_per_update
    none: dict[str, Any] = {
        "accepted": Table(),
        "results": Table(),
        "parties": Table(),
        "prompts": {},
        "made": {},
        "memory": None,
    }
    return counted(with_course(run, next_group=learned, pool=(), **none))


def _shows(run: Run) -> Mapping[str, Any]:
    slice_ = course(run)
    return {
        "groups_accepted": slice_.num_groups,
        "groups_in_flight": in_flight(run),
        "groups_in_pool": len(slice_.pool),
        "groups_admissible": capacity(run),
        "tokens": slice_.num_tokens,
        "rollout_bytes": slice_.rollout_bytes,
        "staleness": {str(age): count for age, count in sorted(slice_.staleness.items())},
    }


def _waits(sight: Sight, run: Run) -> list[Wait]:
    slice_ = course(run)
    if slice_.updating is not None:
        what = f"version {run.version + 1} is being made"
        return [leased(run, sight.state.leases[slice_.updating], what, sight.now_ms)]
    if run.phase is Phase.RUNNING and not slice_.owed and waits_for_audits(run):
        return [_audit_wait(sight, run)]
    if run.phase is Phase.PREPARING or not slice_.owed:
        what = f"nobody has taken the update to version {run.version + 1}"
        return [absent_trainer(sight, run, what, UPDATE_WORDS.name)]
    return _rollout_waits(sight, run)


def _audit_wait(sight: Sight, run: Run) -> Wait:
    works = pending(run, next_works(run))
    held = holder(run, works)
    lease = None if held is None else sight.state.leases[held]
    return Wait(
        run=run.name,
        waiting_for=f"{plurals.counted(len(works), 'answer')} of the next batch may be wrong until they are audited",
        owner="the lab" if lease is None else lease.node,
        left_s=None if lease is None else (lease.deadline_ms - sight.now_ms) / 1000,
        advice="nodes sample other groups meanwhile; once none is left, the batch is learned from as it is",
    )


def _rollout_waits(sight: Sight, run: Run) -> list[Wait]:
    missing = {group for group in next_batch(run) if group not in course(run).accepted}
    found = []
    for lease in _rollouts(sight.state, run):
        owed = missing & set(_groups(lease))
        missing -= owed
        if owed:
            what = f"{_many(owed)} being sampled"
            found.append(leased(run, lease, what, sight.now_ms))
    if missing:
        what = f"{_many(missing)} with nobody"
        found.append(nobody(sight, run, what, ROLLOUT_WORDS.name, pace(run).needs))
    return found


def _many(groups: Collection[int]) -> str:
    verb = "is" if len(groups) == 1 else "are"
    return f"{plurals.counted(len(groups), 'group')} of the next batch {verb}"


def _rollouts(state: LabState, run: Run) -> list[Lease]:
    leases = [state.leases[work] for work in run.leases]
    return sorted(filter(_groups, leases), key=lambda lease: _groups(lease)[0])


def _groups(lease: Lease) -> tuple[int, ...]:
    return lease.spec.groups if isinstance(lease.spec, RolloutSpec) else ()


def _keeps(run: Run) -> Iterable[BlobRef]:
    slice_ = course(run)
    yield from slice_.prompts.values()
    if slice_.memory is not None:
        yield slice_.memory.blob
    unconsumed = slice_.results.values()
    consumed = (each for made in slice_.made.values() for each in made.inputs)
    for work in (*unconsumed, *consumed):
        yield from WORDS_OF[work.answer.kind].blobs(work.answer)


def _inputs(run: Run, version: int) -> tuple[int, tuple[AcceptedWork, ...]] | None:
    made = course(run).made.get(version)
    return None if made is None else (made.grant, made.inputs)


def touched(run: Run, spec: WorkSpec) -> tuple[int, ...]:
    """Versions that learned from the groups of this spec, or are being made from them."""
    newest = run.version + is_in_the_making(run)
    made = {batches(run).origin(group) + 1 for group in rollout_of(spec).groups}
    return tuple(sorted(version for version in made if version <= newest))


def answered_by(run: Run, did: str) -> list[str]:
    """Results of a node that are not consumed yet."""
    return sorted(work for work, (party, _) in course(run).parties.items() if party == did)


def withdrawn(run: Run, work: str) -> tuple[Run, int] | None:
    """The run without a result, as far as nobody has learned from it or is learning, and what was paid for that.

    Its groups are sampled again. None: nothing of it can be taken back.
    """
    slice_ = course(run)
    done = slice_.results.get(work)
    in_the_making = next_batch(run) if is_in_the_making(run) else range(0)
    groups = rollout_of(done.spec).groups if done is not None else ()
    free = [g for g in groups if slice_.accepted.get(g) == work and g not in in_the_making]
    if not free:
        return None
    accepted = slice_.accepted.drop(*free)
    is_gone = not any(accepted.get(group) == work for group in groups)
    gone = (work,) if is_gone else ()
    run = with_course(
        run,
        pool=tuple(sorted((*slice_.pool, *free))),
        accepted=accepted,
        results=slice_.results.drop(*gone),
        parties=slice_.parties.drop(*gone),
        num_groups=slice_.num_groups - len(free),
    )
    micro = slice_.parties[work][1] * len(free) // len(groups)
    return counted(changed(run, paid_micro=run.paid_micro - micro)), micro


def demand(run: Run) -> Demand | None:
    """A batch, with the further groups that batches took so far on average. At S = 0 learner and nodes take turns."""
    terms, slice_ = pace(run), course(run)
    if terms.max_staleness < 1:
        return None
    consumed, versions = sum(slice_.staleness.values()), max(run.version, 1)
    return Demand(
        kind=ROLLOUT_WORDS.name,
        units=max(-(-consumed // versions), terms.groups_per_update),
        parts=terms.group_size,
        is_awaited=run.phase is Phase.RUNNING and slice_.owed > 0 and slice_.updating is None,
    )


RULES = ProgrammeRules(
    words=words.WORDS,
    slice=RlSlice,
    begin=_begin,
    begins_in=Phase.PREPARING,
    closed=_closed,
    load=in_flight,
    shows=_shows,
    busy_ms=lambda run: course(run).busy_ms,
    demand=demand,
    waits=_waits,
    keeps=_keeps,
    inputs=_inputs,
    touched=touched,
    answered_by=answered_by,
    paid_out=lambda run: (run, ()),
    forfeited=lambda run, work, price_micro: (run, price_micro),
    withdrawn=withdrawn,
)
