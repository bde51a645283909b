"""Rewards of sampled groups, graded here: a lab records only their mean, for only the trusted role knows them."""

from collections.abc import Sequence
from dataclasses import replace

from archipel.cli.rollout_reading import Batch
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import Environment, Task
from archipel.training.episodes import conduct_of, is_void
from archipel.training.grading import Grader
from archipel.training.groups import SPLIT, group_request, submissions, task_ids
from archipel.training.wording import wording_of_recipe
from archipel.work.episodes import upheld, upholding


def with_prompts(batch: Batch, tokenizer: Tokenizer) -> Batch:
    """The batch with the prompts that its lab has no more, made anew from the recipe.

    Raises:
        InvalidRecipe, InvalidEnvironment: the recipe is of another programme, or its tasks cannot be made here.
    """
    if all(group.prompt is not None for group in batch.groups):
        return batch
    recipe = recipe_from_canonical(batch.recipe)
    if recipe.curriculum is not None:
        return batch  # which tasks these were follows from what was earned before
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    groups = [
        group
        if group.prompt is not None
        else replace(
            group, prompt=group_request(recipe, environment, tokenizer, group.index).prompt
        )
        for group in batch.groups
    ]
    return replace(batch, groups=groups)


class CannotGrade(ValueError):
    """The recipe's environment or its secret is not here."""


def grade(batch: Batch, tokenizer: Tokenizer, secret: bytes | None) -> list[Sequence[float]]:
    """Rewards in [0, 1] of each group's rollouts, by the recipe's own environment, in its own process.

    Raises:
        CannotGrade: a secret is needed, or which task a group had is not to be told.
        InvalidRecipe, GraderUnavailable: the recipe is of another programme, or its environment cannot be made.
    """
    recipe = recipe_from_canonical(batch.recipe)
    name = recipe.secret_name
    if name is not None and secret is None:
        raise CannotGrade(f"grading needs the secret {name!r}: give it with --secret-file")
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    conduct = conduct_of(recipe, environment, tokenizer)
    tasks = _tasks(batch, recipe, environment, tokenizer)
    if conduct is not None and recipe.curriculum is not None:
        conduct = conduct.choosing(tasks.__getitem__)
    check = upholding(conduct, batch.opened, recipe.sampling.max_new_tokens)
    turns_of = None if conduct is None else conduct.turns
    wording = wording_of_recipe(recipe, tokenizer)
    with Grader(recipe.environment, recipe.run.seed, secret) as grader:
        found = list[Sequence[float]]()
        for group in batch.groups:
            kept = upheld(check, group.index, group.rollouts, wording=wording)
            counted = [each for each in kept if not is_void(each)]
            shown = submissions(tasks[group.index], counted, tokenizer, turns_of, wording=wording)
            given = iter(grader.grade(shown))
            found.append([0.0 if is_void(each) else next(given) for each in kept])
        return found


def _tasks(
    batch: Batch, recipe: Recipe, environment: Environment, tokenizer: Tokenizer
) -> dict[int, int]:
    """Group -> the task that it had: its own number; with a curriculum, the one of the pool with its prompt.

    Raises:
        CannotGrade: prompts are gone, or two tasks of the pool that are not the same have one prompt.
    """
    if recipe.curriculum is None:
        return {group.index: group.index for group in batch.groups}
    if all(group.task is not None for group in batch.groups):
        return {group.index: group.task for group in batch.groups if group.task is not None}
    wanted = {group.prompt for group in batch.groups}
    found: dict[tuple[int, ...], Task] = {}
    for index in range(recipe.curriculum.pool):
        task = environment.task(SPLIT, index)
        prompt = task_ids(recipe, environment, tokenizer, task)
        if prompt in wanted and found.setdefault(prompt, task).detail != task.detail:
            found.pop(prompt)
            wanted.discard(prompt)
    missing = [each.index for each in batch.groups if each.prompt not in found]
    if missing:
        raise CannotGrade(
            f"which task group {missing[0]} had follows from the rewards of all batches before, and its prompt does "
            "not tell it; `archipel run verify` goes through them in order"
        )
    return {group.index: found[group.prompt].index for group in batch.groups if group.prompt}
