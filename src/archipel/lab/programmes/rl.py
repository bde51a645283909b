"""Reinforcement learning in the lab: groups are numbered at admission, consumed in that order. Pure.

Every admitted group is in exactly one place: in the pool (its lease came back), in a node's hands (or two
nodes', where the first was late), accepted, or consumed by an update. Batch u is the groups u*B .. (u+1)*B - 1, and
further ones where its update asks for them (`records.batches`): these are in the pool at once.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archipel.lab.audits import unseen
from archipel.lab.state import Phase, Run
from archipel.market.capacity import admissible_groups
from archipel.records.batches import Batches
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.table import Table
from archipel.records.words import SavedMemory, WorkSpec


@dataclass(frozen=True, slots=True)
class Made:
    """What a version was made from."""

    grant: int
    """Position of its update's grant in the ledger."""
    inputs: tuple[AcceptedWork, ...]


@dataclass(frozen=True)
class RlSlice:
    """What is known of a run of reinforcement learning besides its header."""

    owed: int
    """Groups of the learner's next batch that are not accepted yet."""
    next_group: int = 0
    """Groups 0 .. next_group - 1 were admitted at least once."""
    pool: tuple[int, ...] = ()
    """Admitted groups whose lease came back, ascending; they go out first."""
    accepted: Table[int, str] = field(default_factory=Table)
    """Group -> work whose result holds it, for groups no update has consumed yet."""
    results: Table[str, AcceptedWork] = field(default_factory=Table)
    """Work -> its result, while a group of it is unconsumed."""
    parties: Table[str, tuple[str, int]] = field(default_factory=Table)
    """Work -> (who answered it, what was paid), of the same."""
    holders: Table[int, str] = field(default_factory=Table)
    """Group -> work, of those in nodes' hands; of two works on one group the older."""
    twins: Table[str, str] = field(default_factory=Table)
    """Work -> the other work on the same groups, both ways."""
    prompts: Mapping[int, BlobRef] = field(default_factory=dict)
    """Batch -> prompts, for batches no update has consumed yet."""
    updating: str | None = None
    """The update in somebody's hands."""
    made: Mapping[int, Made] = field(default_factory=dict)
    """Version -> what it was made from, since the newest checkpoint: a learner without memory replays it."""
    memory: SavedMemory | None = None
    """The learner's newest published checkpoint."""
    staleness: Mapping[int, int] = field(default_factory=dict)
    """Staleness -> consumed groups."""
    busy_ms: int = 0
    num_groups: int = 0
    num_tokens: int = 0
    rollout_bytes: int = 0


def course(run: Run) -> RlSlice:
    """The run's slice.

    Raises:
        TypeError: the run follows another programme; a defect.
    """
    if not isinstance(run.course, RlSlice):
        raise TypeError(f"run {run.name} does not follow rl")
    return run.course


def pace(run: Run) -> RlPace:
    """The run's pace; raises TypeError as `course` does."""
    if not isinstance(run.opened.pace, RlPace):
        raise TypeError(f"run {run.name} does not follow rl")
    return run.opened.pace


def with_course(run: Run, **changes: Any) -> Run:
    """The run with some of its slice changed."""
    return changed(run, course=changed(course(run), **changes))


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


def is_in_the_making(run: Run) -> bool:
    """Whether the next batch is being learned from, or was graded and asked for more: what it has then stays."""
    return course(run).updating is not None or num_further(run) > 0


def asked_for(run: Run, more: int) -> Run:
    """So many further groups are admitted to the next batch; whoever asks next is given them."""
    slice_, before = course(run), num_further(run)
    wanted = batches(run).further(max(run.version, 0))[before : before + more]
    pool = tuple(sorted((*slice_.pool, *wanted)))
    return counted(with_course(run, pool=pool))


def batches_at_hand(run: Run) -> int:
    """As many groups as so many updates consume are accepted: so long the learner waits for nobody."""
    return len(course(run).accepted) // pace(run).groups_per_update


def has_to_sample(run: Run) -> bool:
    """Whether any group can be handed out."""
    if run.phase is not Phase.RUNNING:
        return False
    return bool(course(run).pool) or len(fresh(run)) > 0


def waits_for_audits(run: Run) -> bool:
    """Whether the learner waits until the whole batch is looked at: only while nodes have other groups to sample.

    Once the staleness bound leaves them none, the batch is learned from as it is, and a verdict that comes
    later says which version that touched. At S = 0 nothing ever waits.
    """
    if not has_to_sample(run):
        return False
    accepted, batch = course(run).accepted, next_batch(run)
    return any(
        group in batch and accepted.get(group) == done.work
        for done in unseen(run)
        if isinstance(done.spec, RolloutSpec)
        for group in done.spec.groups
    )


def next_works(run: Run) -> list[str]:
    """Works that hold what is accepted of the next batch."""
    accepted = course(run).accepted
    works = (accepted.get(group) for group in next_batch(run))
    return list(dict.fromkeys(work for work in works if work is not None))


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
        age = version - 1 - rollout_of(slice_.results[work].spec).version
        staleness[age] = staleness.get(age, 0) + 1
    accepted = slice_.accepted.drop(*batch)
    done = [
        work
        for work in dict.fromkeys(works)
        if not any(accepted.get(g) == work for g in rollout_of(slice_.results[work].spec).groups)
    ]
    return with_course(
        run,
        accepted=accepted,
        results=slice_.results.drop(*done),
        parties=slice_.parties.drop(*done),
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


def rollout_of(spec: WorkSpec) -> RolloutSpec:
    """The spec of a result; raises TypeError for another kind."""
    if not isinstance(spec, RolloutSpec):
        raise TypeError(f"a batch holds {spec.kind} work")
    return spec
