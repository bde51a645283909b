"""What each group of a release weighed in the gradients: its answers graded here, where what they were worth is not told."""

from collections import defaultdict
from pathlib import Path

from archipel.cli.rollout_reading import Batch, SampledGroup
from archipel.cli.rollout_rewards import grade
from archipel.model.tokenizer import Tokenizer
from archipel.records.prompts import unpack_tasks
from archipel.release.trace.corpus import MAX_PROMPT_BLOB_BYTES
from archipel.release.trace.gradient import GradedGroup, weights, why_unknown
from archipel.release.trace.learned import learned_of
from archipel.release.trace.told import Told, Untraceable
from archipel.release.verify.files import read_bounded


def graded_weights(told: Told, secret: bytes | None) -> dict[int, float]:
    """Group -> its share of the gradients, by rewards that are computed here.

    Raises:
        Untraceable: a result is not in the bundle, or rewards do not tell such a run's weights.
        CannotGrade, InvalidRecipe, GraderUnavailable, InvalidTokenizer, InvalidEnvironment: as `rollout_rewards.grade`.
    """
    recipe = told.recipe
    if why := why_unknown(recipe):
        raise Untraceable(f"the weight in the gradient is unknown: {why}")
    version_of, groups = _groups(told)
    told.tell(f"grading {len(groups)} groups")
    batch = _batch(told, groups)
    found = grade(batch, Tokenizer.from_directory(told.folder), secret)
    updates: dict[int, list[GradedGroup]] = defaultdict(list)
    for group, rewards in zip(groups, found, strict=True):
        lengths = tuple(len(each.tokens) for each in group.rollouts)
        sampled = tuple(each.num_sampled for each in group.rollouts)
        one = GradedGroup(group.index, tuple(rewards), lengths, sampled)
        updates[version_of[group.index]].append(one)
    return weights(updates, recipe)


def _groups(told: Told) -> tuple[dict[int, int], list[SampledGroup]]:
    """Group -> the version that it made; all of them with what was sampled."""
    prompts, version_of = _prompts(told), dict[int, int]()
    groups = []
    for each in learned_of(told):
        told.tell(f"result of {each.work}")
        found = told.rollouts(each.accepted)
        if found is None:
            raise Untraceable(
                f"the result of {each.work} is not in this bundle, so the weight in the gradient is unknown; leave "
                "--grade out"
            )
        sampled_from = getattr(each.accepted.spec, "version", 0)
        for version, group in each.groups:
            version_of[group] = version
            prompt, task = prompts.get(group, (None, None))
            groups.append(SampledGroup(group, sampled_from, prompt, found[group], each.work, task))
    return version_of, sorted(groups, key=lambda group: group.index)


def _prompts(told: Told) -> dict[int, tuple[tuple[int, ...] | None, int | None]]:
    """Group -> (prompt, task), as far as they lie there."""
    story = told.heard.story
    found: dict[int, tuple[tuple[int, ...] | None, int | None]] = {}
    size = story.pace.groups_per_update
    for update in story.updates:
        for each in update.answer.prompts:
            path = told.blob(each.blob)
            if path is None:
                continue
            _, rows, tasks = unpack_tasks(read_bounded(path, MAX_PROMPT_BLOB_BYTES))
            for number, prompt in enumerate(rows):
                task = None if tasks is None else tasks[number]
                found[each.batch * size + number] = prompt, task
    return found


def _batch(told: Told, groups: list[SampledGroup]) -> Batch:
    opened = told.heard.story.opened
    if opened is None:
        raise Untraceable("the ledger opens no such run")
    return Batch(
        run=told.index.run,
        version=told.index.version,
        groups=groups,
        recorded_reward=None,
        recipe=told.recipe.canonical_bytes(),
        model=Path(told.folder),
        opened=opened,
    )
