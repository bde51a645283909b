"""The versions of a release made again from its accepted rollouts, and the prompts that were published with them."""

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archipel.cli.findings import Findings
from archipel.cli.rebuilding import Before, Ended, Rebuilding, faulty
from archipel.cli.recomputing import REWARD, only_here
from archipel.cli.run_blobs import Altered, NotKept
from archipel.cli.run_weights import each_version, nearest_anchor
from archipel.plurals import counted
from archipel.release.stages import Stage

if TYPE_CHECKING:
    from archipel.lab.run_story import Update
    from archipel.records.fields import BlobRef
    from archipel.work.policies import Policy
    from archipel.work.verifying import Remaking

    Told = tuple[Policy | None, Policy | None]
    """Weights of the version before and of this one as they were published, where they are to be had."""


def made_again(rebuilding: Rebuilding, stages: Sequence[Stage]) -> Iterator[Ended]:
    """The versions of these stages, and where it must be those before them, from the newest checkpoint on."""
    wanted = [each.version for each in stages]
    updates, found = rebuilding.subject.story.updates, rebuilding.findings()
    with _remaking(rebuilding, min(wanted)) as remaking:
        if remaking.version == 0:
            _require_prompts(rebuilding, remaking, updates[0])
        looked, before = Before(found), None
        for version, told in _published(rebuilding, found, remaking.version, max(wanted)):
            if version == remaking.version:
                before = _leant(remaking, told)
                continue
            rebuilding.tell(f"update {version} of {len(updates) - 1}")
            published, made = looked.came(), _one(rebuilding, remaking, version, (before, told))
            before = _leant(remaking, told) if made[0] == "near" else told
            if version in wanted:
                yield published if made[0] == "equal" and published[0] == "differs" else made
            if made[0] not in ("equal", "near"):
                raise NotKept(
                    f"it follows from version {version}, which was not made again: {made[1]}"
                )


def _published(
    rebuilding: Rebuilding, found: Findings, first: int, last: int
) -> "Iterator[tuple[int, Policy | None]]":
    """Versions with the weights that the release's anchors and deltas give; None where it does not hold them."""
    story, blobs = rebuilding.subject.story, rebuilding.subject.blobs
    for version, policy in each_version(story, blobs, found, nearest_anchor(story, first), last):
        if version >= first:
            yield version, policy


def _leant(remaking: "Remaking", told: "Policy | None") -> "Policy | None":
    """`told`, the published weights of the version where it stands, from which it then goes on."""
    if told is not None and told.manifest.state != remaking.policy:
        remaking.lean_on(told)
    return told


def _remaking(rebuilding: Rebuilding, first: int) -> "Remaking":
    """Where the version before `first` can be reached: what an earlier call left, a checkpoint, or the beginning."""
    from archipel.work.verifying import CANNOT_BE_MADE, NOT_HERE, Remaking

    _ = rebuilding.recipe  # it may run here
    memory = rebuilding.subject.scratch / "memory"
    model = rebuilding.model(weights=True)
    told, checkpoint = _checkpoint(rebuilding, first)

    def begun() -> "Remaking":
        context = rebuilding.recomputing.context(model, memory, checkpoint)
        with only_here(NOT_HERE), faulty(*CANNOT_BE_MADE):
            return Remaking(context, memory, told)

    remaking = begun()
    if remaking.version >= first:  # a later stage was made before
        remaking.__exit__()
        shutil.rmtree(memory)
        remaking = begun()
    if remaking.version == 0:
        published = rebuilding.subject.story.updates[0].answer.policy
        if remaking.policy != published:
            raise Altered(
                f"the run's first weights are {remaking.policy}; version 0 was published as {published}"
            )
    return remaking


def _checkpoint(rebuilding: Rebuilding, first: int) -> "tuple[int, BlobRef | None]":
    """The newest that was published before `first`, and is there; (-1, None) for none."""
    subject = rebuilding.subject
    for version in range(first - 1, 0, -1):
        memory = subject.story.updates[version].answer.memory
        if memory is not None:
            try:
                subject.blobs.path(memory)
            except NotKept:
                continue
            return version, memory
    return -1, None


def _one(rebuilding: Rebuilding, remaking: "Remaking", version: int, told: "Told") -> Ended:
    """A version made again."""
    from archipel.work.verifying import CANNOT_BE_MADE, NOT_HERE

    try:
        with faulty(*CANNOT_BE_MADE, KeyError), only_here(NOT_HERE):
            return _compared(rebuilding, remaking, version, told)
    except Altered as error:
        return "differs", f"{error}"
    except NotKept as error:
        return "not shown", f"{error}"


def _compared(rebuilding: Rebuilding, remaking: "Remaking", version: int, told: "Told") -> Ended:
    update = rebuilding.subject.story.updates[version]
    made = remaking.next(*rebuilding.recomputing.inputs(version))
    reward, expected = remaking.metrics.get(REWARD), update.answer.metrics.get(REWARD)
    if reward != expected:
        return (
            "differs",
            f"mean reward is {reward} micro-units here, {expected} in the ledger: another secret, other rollouts, or "
            "rewards that were not these",
        )
    _require_prompts(rebuilding, remaking, update)
    if made == update.answer.policy:
        return "equal", ""
    return _unlike(rebuilding, remaking, told)


def _unlike(rebuilding: Rebuilding, remaking: "Remaking", told: "Told") -> Ended:
    """Rounded as another class of machine does, or made otherwise."""
    from archipel.work.rebuilding import MOST_DIFFERING, MOST_OF_A_STEP, apart

    before, published = told
    if before is None or published is None:
        return (
            "not shown",
            f"it is {remaking.policy} here, and what was published does not lie in the release: another machine's rounding "
            "cannot be told from another update",
        )
    found = apart(remaking.held.state, published.state, before.state)
    here = f"on {rebuilding.subject.machine}, {counted(rebuilding.subject.threads, 'thread')}"
    most = f"{MOST_DIFFERING:.0%} of the weights and {MOST_OF_A_STEP} of the way"
    if found.is_rounding:
        return "near", f"{found} {here}, which rounds otherwise; tolerated are {most}"
    return (
        "differs",
        f"{found} {here}; rounding on another class of machine comes to {most} at most: other rollouts, another "
        "secret, or another update",
    )


def _require_prompts(rebuilding: Rebuilding, remaking: "Remaking", update: "Update") -> None:
    """Raises Altered: tasks that are not the recipe's."""
    for each in update.answer.prompts:
        if rebuilding.subject.blobs.read(each.blob) != remaking.prompts(each.batch):
            raise Altered(f"the prompts of batch {each.batch} are not those of the recipe's tasks")
