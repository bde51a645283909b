"""Rewards of sampled groups, graded by whoever looks: also where a curriculum chose the tasks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.cli.rollout_reading import Batch, SampledGroup
from archipel.cli.rollout_rewards import CannotGrade, grade
from archipel.model.tokenizer import byte_tokenizer
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.curriculum import Curriculum
from archipel.training.environments.environment import make_environment
from archipel.training.groups import group_request
from specimens import SMALL
from tiny import tiny_recipe

TOKENIZER = byte_tokenizer()
GROUPS = range(4)


def chosen_recipe(folder: Path, questions: list[str]) -> Recipe:
    """Tasks are chosen from twelve; an answer is the question's length."""
    rows = [{"question": each, "answer": f"#### {len(each)}"} for each in questions]
    path = folder / "q.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    told = tiny_recipe(2, 0).model_dump()
    told["environment"] = {"name": "jsonl", "parameters": {"path": str(path)}}
    return Recipe.model_validate(told | {"curriculum": {"pool": 12}})


def batch_of(recipe: Recipe) -> tuple[Batch, list[str]]:
    """One completion a group, and what would be right there."""
    environment, curriculum = make_environment(recipe.environment, 11, None), Curriculum(recipe)
    place = curriculum.over(environment)
    groups, right = [], []
    for index in GROUPS:
        answer = environment.task("train", curriculum.task(index)).detail["answer"]
        tokens = TOKENIZER.encode(f"#### {answer}", parse_special=False)
        rollout = Rollout(tuple(tokens), (-0.1,) * len(tokens), True)
        prompt = group_request(recipe, place, TOKENIZER, index).prompt
        groups.append(SampledGroup(index, 0, prompt, [rollout], "work"))
        right.append(answer)
    return Batch(
        "run", 1, groups, None, recipe.canonical_bytes(), Path(), SMALL["run.opened"]
    ), right


def test_a_task_that_a_curriculum_chose_is_found_by_its_prompt(tmp_path: Path) -> None:
    recipe = chosen_recipe(tmp_path, ["x" * n for n in range(1, 60)])
    batch, right = batch_of(recipe)
    assert len({*right}) == len(GROUPS), "tasks differ"
    assert [Curriculum(recipe).task(n) for n in GROUPS] != [*GROUPS], "and not by their number"
    assert grade(batch, TOKENIZER, None) == [[1.0]] * len(GROUPS)
    first, second, *_ = batch.groups
    swapped = replace(batch, groups=[replace(first, rollouts=second.rollouts)])
    assert grade(swapped, TOKENIZER, None) == [[0.0]]


def test_a_prompt_that_is_gone_or_of_no_task_of_the_pool_is_not_guessed(tmp_path: Path) -> None:
    batch, _ = batch_of(chosen_recipe(tmp_path, ["x" * n for n in range(1, 60)]))
    for prompt in (None, (1, 2, 3)):
        other = replace(batch, groups=[replace(batch.groups[0], prompt=prompt)])
        with pytest.raises(CannotGrade, match="run verify"):
            grade(other, TOKENIZER, None)
