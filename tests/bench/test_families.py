"""Tasks as people bring them, each by the documented route; and what the bench says of what came out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.bench import families
from archipel.bench.families import ARMS, BEFORE, EARLIER, MORE, REWARDS, START, Families, Plan, Row
from archipel.bench.families_report import difference, row_line, table, to_json, verdict
from archipel.bench.families_run import Examined, Learned
from archipel.bench.family_tasks import FAMILIES
from archipel.cli.archipel import command
from archipel.cli.bench_families import ARMS as COMMANDS_ARMS
from archipel.cli.bench_families import NAMES
from archipel.cli.recipes import find_recipe
from archipel.records.recipe import EnvironmentSection, Recipe
from archipel.training.environments.environment import make_environment
from archipel.work.readiness import shortcomings


def small(**changed: Any) -> Recipe:
    told = find_recipe("own-task").model_dump()
    told["model"] |= {"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2}
    told["model"] |= {"num_kv_heads": 2}
    told["run"] |= {"groups_per_update": 2, "group_size": 2}
    told["supervised"] |= {"batch_size": 4, "decay_steps": 2}
    told["evaluation"] |= {"every": 2, "num_tasks": 2, "samples_per_task": 2}
    told["curriculum"] = {"pool": 8}
    return Recipe.model_validate(told | changed)


PLAN = Plan(families=("sorted",), seeds=(0,), supervised_steps=3, updates=2, num_tasks=4, samples=2)


@pytest.mark.parametrize(
    "name", [n for n in FAMILIES if FAMILIES[n].environment != "reasoning_gym"]
)
def test_a_familys_own_answers_earn_everything_and_fit(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    section = EnvironmentSection(name=family.environment, parameters=family.placed(tmp_path))
    environment = make_environment(section, 0, None)
    rewards = []
    for index in range(40):
        prompt, answer = environment.supervised(index) or ("", "")
        task = environment.task("train", index)
        assert task.prompt == prompt
        assert len(answer) < family.max_new_tokens
        rewards.append(environment.grade(task, answer, True))
    assert rewards == [1.0] * 40
    wrong = environment.task("dev", 0)
    assert environment.grade(wrong, "neither here nor there", True) == 0.0


def test_a_family_with_a_guess_pays_it_more_than_chance(tmp_path: Path) -> None:
    family = FAMILIES["larger"]
    section = EnvironmentSection(name=family.environment, parameters=family.placed(tmp_path))
    environment = make_environment(section, 0, None)
    tasks = [environment.task("train", index) for index in range(400)]
    earned = [environment.grade(task, f"#### {family.guess}", True) for task in tasks]
    assert 0.58 < sum(earned) / 400 < 0.72


@pytest.mark.slow
def test_every_arm_is_measured_kept_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    rows = Families(small(), PLAN, tmp_path, told.append).measure()
    assert [row.arm for row in rows] == list(ARMS)
    start, earlier, rewards, more = rows
    assert len({row.recipe for row in rows}) == 2, "earlier ones are other recipes"
    assert (start.learned.steps, rewards.learned.steps) == (5, 2)
    assert rewards.learned.sequences == 2 * 2 * 2
    per_step = start.learned.processor_s / start.learned.steps
    assert more.learned.steps == pytest.approx(rewards.learned.processor_s / per_step, abs=1.0)
    assert {"entropy", "zero_advantage_fraction", "cut_fraction"} <= set(earlier.learned.last)
    assert not list(tmp_path.glob("sorted-0")), "weights are gone again"
    assert len(told) == len(ARMS)

    def never(*_: Any) -> Any:
        raise AssertionError("measured again")

    for name in ("by_labels", "by_rewards", "more_labels", "examined"):
        monkeypatch.setattr(families, name, never)
    assert Families(small(), PLAN, tmp_path, told.append).measure() == rows
    assert len(told) == len(ARMS)


def test_the_earlier_recipe_has_no_guards_and_the_shipped_one_has(tmp_path: Path) -> None:
    bench = Families(find_recipe("own-task"), Plan(), tmp_path, lambda text: None)
    now, before = (bench.recipe_of(FAMILIES["sums"], 0, arm) for arm in (REWARDS, EARLIER))
    assert now.reference.coefficient > before.reference.coefficient == 0.0
    assert now.run.groups_per_update > before.run.groups_per_update
    assert before.optimiser.learning_rate == BEFORE["optimiser"]["learning_rate"]
    assert now.run.max_staleness == before.run.max_staleness == 0
    assert now.supervised == before.supervised
    assert now.supervised is not None
    assert now.supervised.steps == FAMILIES["sums"].supervised_steps
    short = Families(find_recipe("own-task"), PLAN, tmp_path, lambda text: None)
    asked = short.recipe_of(FAMILIES["sums"], 0, REWARDS).supervised
    assert asked is not None
    assert asked.steps == PLAN.supervised_steps


def row(arm: str, right: float, alarms: dict[str, Any] | None = None, seed: int = 0) -> Row:
    course = dict.fromkeys(("reward", "entropy", "zero_advantage_fraction", "cut_fraction"), 0.5)
    last = course if arm in (EARLIER, REWARDS) else {}
    marks = Examined(
        100, [right, right - 0.1, right + 0.1], {"4": [0.9, 0.8, 1.0]}, right, 0.3, 0.5, 7
    )
    return Row("sums", seed, arm, Learned(10, 5.0, 80, last, last, alarms or {}), marks, "sha256:0")


def test_a_table_says_what_was_lifted_what_fell_and_which_alarms_spoke() -> None:
    rows = [
        row(START, 0.4),
        row(EARLIER, 0.1, {"collapse": [19, 40, "one answer"]}),
        row(REWARDS, 0.8),
        row(MORE, 0.45),
    ]
    assert [verdict(rows, each) for each in rows[1:]] == ["FELL", "lifted", "no difference shown"]
    shown = table(rows)
    assert (
        "rewards, earlier recipe: of 1 families and seeds 0 lifted, 0 no difference shown, 1 FELL"
        in shown
    )
    assert "ALARMS: collapse" in shown
    assert "ALARMS: collapse at 19" in row_line(rows[1])
    assert [each.get("verdict") for each in to_json(rows)][:2] == [None, "FELL"]
    assert "0.400" in table([*rows, replace(rows[0], seed=1)])


def test_a_measurement_that_is_stopped_prints_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(self: Families, on_row: Any) -> None:
        on_row(row(REWARDS, 0.8))
        raise KeyboardInterrupt

    monkeypatch.setattr(Families, "measure", measure)
    plan = ["bench", "families", "--out", str(tmp_path)]
    stopped = CliRunner().invoke(command, [*plan, "--json"])
    assert stopped.exit_code == 1
    assert f"stopped; the same command with --out {tmp_path} goes on" in stopped.stderr
    assert [each["arm"] for each in json.loads(stopped.stdout)] == [REWARDS]
    assert "nothing to compare with" in CliRunner().invoke(command, plan).stdout
    monkeypatch.setattr(Families, "measure", lambda self, on_row: None)
    assert "no arm has ended yet" in CliRunner().invoke(command, plan).stdout


def test_a_difference_is_clear_only_beyond_the_doubt_of_both() -> None:
    low, high = difference((0.5, 0.4, 0.6), (0.7, 0.6, 0.8))
    assert (low, high) == pytest.approx((0.2 - 0.02**0.5, 0.2 + 0.02**0.5))
    assert difference((0.5, 0.4, 0.6), (0.6, 0.5, 0.7))[0] < 0.0


def test_the_command_names_the_families_and_arms_that_there_are() -> None:
    assert tuple(FAMILIES) == NAMES
    assert COMMANDS_ARMS == ARMS
    shown = CliRunner().invoke(command, ["bench", "families", "--help"]).output
    assert "more labels" in shown


def test_labels_that_cannot_be_sampled_are_named_before_anything_is_trained(tmp_path: Path) -> None:
    bench = Families(small(), PLAN, tmp_path, lambda text: None)
    recipe = bench.recipe_of(FAMILIES["sorted"], 0, START)
    assert shortcomings(recipe, None, None) == []
    short = recipe.sampling.model_copy(update={"max_new_tokens": 6})
    (fault,) = shortcomings(recipe.model_copy(update={"sampling": short}), None, None)
    assert "32 of 32 supervised answers do not fit sampling.max_new_tokens = 6" in fault
    assert "raise it to 12" in fault
