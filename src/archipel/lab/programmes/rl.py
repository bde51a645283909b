"""Reinforcement learning in the lab: groups are numbered at admission, consumed in that order. Pure.

Every admitted group is in exactly one place: in the pool (its lease came back), in a node's hands (or two
nodes', where the first was late), accepted, or consumed by an update. Batch u is the groups u*B .. (u+1)*B - 1, and
further ones where its update asks for them (`records.batches`): these are in the pool at once.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from archipel import plurals
from archipel.lab.programmes.rl_slice import Made, RlSlice, course, pace, with_course
from archipel.lab.rules import ProgrammeRules
from archipel.lab.state import LabState, Lease, Phase, Run
from archipel.lab.waits import Sight, absent_trainer, leased, nobody
from archipel.market.capacity import admissible_groups
from archipel.records.batches import Batches
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

__all__ = ["RULES", "Made", "RlSlice", "course", "pace", "with_course"]


def num_accepted(run: Run) -> int:
    """Groups accepted so far, consumed ones included."""
    return max(run.version, 0) * pace(run).groups_per_update + len(course(run).accepted)


def in_flight(run: Run) -> int:
    """Groups in nodes' hands."""
    admitted = course(run).next_group + num_further(run)
    return admitted - num_accepted(run) - len(course(run).pool)


def capacity(run: Run) -> int:
    """New groups that may be admitted now without any update ever seeing staleness above S."""
    accepted = num_accepted(run)
    return admissible_groups(
        max_staleness=pace(run).max_staleness,
        version=max(run.version, 0),
        groups_per_update=pace(run).groups_per_update,
        accepted=accepted,
        in_flight=course(run).next_group - accepted,
    )


def fresh(run: Run) -> range:
    """Groups that were never admitted and may be now."""
    first = course(run).next_group
    return range(first, min(first + capacity(run), num_first(run)))


def batches(run: Run) -> Batches:
    """The numbers of its groups."""
    return Batches(run.opened.terms.versions, pace(run).groups_per_update, pace(run).refill or 0)


def num_first(run: Run) -> int:
    """Groups below this number are admitted in order; from it on, they are further ones of some batch."""
    return run.opened.terms.versions * pace(run).groups_per_update


def num_further(run: Run) -> int:
    """Further groups that the next batch was given: they are admitted in order, and each is in some place."""
    own = batches(run).further(max(run.version, 0))
    return bisect_left(own, True, key=lambda group: not _is_admitted(course(run), group))


def _is_admitted(slice_: RlSlice, group: int) -> bool:
    return group in slice_.accepted or group in slice_.holders or group in slice_.pool


def next_batch(run: Run) -> Sequence[int]:
    """The groups that the next update consumes, as far as they are known."""
    own, version = batches(run), max(run.version, 0)
    more = num_further(run)
    return tuple(own.groups(version, more)) if more else own.first(version)


def asked_for(run: Run, more: int) -> Run:
    """So many further groups are admitted to the next batch; whoever asks next is given them."""
    slice_, before = course(run), num_further(run)
    wanted = batches(run).further(max(run.version, 0))[before : before + more]
    pool = tuple(sorted((*slice_.pool, *wanted)))
    return counted(with_course(run, pool=pool))


def batches_at_hand(run: Run) -> int:
    """As many groups as so many updates consume are accepted: so long the learner waits for nobody."""
    return len(course(run).accepted) // pace(run).groups_per_update


def batch_results(run: Run) -> tuple[AcceptedWork, ...]:
    """The accepted results that hold the next batch, by their first group in it.

    Raises:
        KeyError: not all of the batch is accepted.
    """
    slice_ = course(run)
    works = dict.fromkeys(slice_.accepted[group] for group in next_batch(run))
    return tuple(slice_.results[work] for work in works)


def consumed(run: Run, version: int, made: Made, busy_ms: int) -> Run:
    """Forget the batch that `version` was made from, and count how stale it was."""
    slice_, batch = course(run), next_batch(run)
    staleness = dict(slice_.staleness)
    works = [slice_.accepted[group] for group in batch]
    for work in works:
        age = version - 1 - _rollout(slice_.results[work].spec).version
        staleness[age] = staleness.get(age, 0) + 1
    accepted = slice_.accepted.drop(*batch)
    done = [
        work
        for work in dict.fromkeys(works)
        if not any(group in accepted for group in _rollout(slice_.results[work].spec).groups)
    ]
    return with_course(
        run,
        accepted=accepted,
        results=slice_.results.drop(*done),
        prompts={
            number: blob
            for number, blob in slice_.prompts.items()
            if number >= version and number not in batches(run).blocks(version - 1)
        },
        made={**slice_.made, version: made},
        staleness=staleness,
        busy_ms=slice_.busy_ms + busy_ms,
    )


def counted(run: Run) -> Run:
    """How much of the next batch is missing, counted anew: the batch has changed."""
    accepted = course(run).accepted
    return with_course(run, owed=sum(group not in accepted for group in next_batch(run)))


def _rollout(spec: WorkSpec) -> RolloutSpec:
    if not isinstance(spec, RolloutSpec):
        raise TypeError(f"a batch holds {spec.kind} work")
    return spec


def _begin(given: RlPace) -> RlSlice:
    return RlSlice(owed=given.groups_per_update)


def _closed(run: Run) -> Run:
    """No group is anywhere but in the updates that were made."""
    learned = max(run.version, 0) * pace(run).groups_per_update
    none: dict[str, Any] = {
        "accepted": Table(),
        "results": Table(),
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
    if run.phase is Phase.PREPARING or not slice_.owed:
        what = f"nobody has taken the update to version {run.version + 1}"
        return [absent_trainer(sight, run, what, UPDATE_WORDS.name)]
    return _rollout_waits(sight, run)


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


RULES = ProgrammeRules(
    words=words.WORDS,
    slice=RlSlice,
    begin=_begin,
    closed=_closed,
    load=in_flight,
    shows=_shows,
    busy_ms=lambda run: course(run).busy_ms,
    waits=_waits,
    keeps=_keeps,
    inputs=_inputs,
    next_inputs=lambda run: batch_results(run) if run.version >= 0 else (),
)
