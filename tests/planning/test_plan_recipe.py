"""From a budget to a recipe: what is written is what was planned, and nothing else of the base changes."""

import tomllib

import pytest

from archipel.cli.recipes import shipped_recipes
from archipel.planning.mistakes import CannotPlan, Impossible
from archipel.planning.recipe import (
    MAX_VERSIONS,
    check_mean,
    check_name,
    pace_for,
    recipe_text,
    sizes_of,
    versions_for,
)
from archipel.records.recipe import parse_recipe

BASE = shipped_recipes()["gsm8k"]


def _planned(base: str, **sizes: object) -> dict:
    from dataclasses import replace

    before = sizes_of(base)
    wanted = replace(before, **sizes).with_room(before)
    text = recipe_text(base, wanted, 10, ["a note"])
    parse_recipe(text)
    return tomllib.loads(text)


def test_a_longer_rollout_makes_room_beside_the_prompts_of_the_base() -> None:
    made = _planned(BASE, max_new_tokens=4096)
    before = tomllib.loads(BASE)
    room = before["model"]["max_position_embeddings"] - before["sampling"]["max_new_tokens"]
    assert made["model"]["max_position_embeddings"] == room + 4096
    shorter = _planned(BASE, max_new_tokens=16)
    assert shorter["model"]["max_position_embeddings"] == before["model"]["max_position_embeddings"]


def test_only_the_lines_of_their_own_sections_change() -> None:
    other = '[environment.parameters]\nname = "theirs"\nversions = 7\n\n'
    base = other + BASE.replace(
        '[environment.parameters]\npath = "gsm8k_train.jsonl"\ntest_path = "gsm8k_test.jsonl"\n'
        'template = "Question: {question}\\nAnswer:"\n',
        "",
    )
    made = _planned(base, name="ours")
    assert made["environment"]["parameters"] == {"name": "theirs", "versions": 7}
    assert (made["run"]["name"], made["run"]["versions"]) == ("ours", 10)


@pytest.mark.parametrize("name", ["a\\q", "a\\g<5>", "Upper", "", "-a", "a" * 64, 'a"b', "a\nb"])
def test_a_name_that_no_run_may_have_is_refused(name: str) -> None:
    with pytest.raises(CannotPlan, match="--name: got"):
        check_name(name)


@pytest.mark.parametrize("written", ['"8"', "8.0", "true"])
def test_a_base_says_its_sizes_in_integers(written: str) -> None:
    with pytest.raises(CannotPlan, match=r"group_size: got .*, expected an integer"):
        sizes_of(BASE.replace("group_size = 8", f"group_size = {written}"))


def test_a_base_that_consumes_nothing_is_refused() -> None:
    with pytest.raises(CannotPlan, match="must each be 1 or more"):
        sizes_of(BASE.replace("group_size = 8", "group_size = 0"))


def test_too_much_and_too_little_money_say_how_much_would_do() -> None:
    sizes = sizes_of(BASE)
    each = sizes.rollouts_per_version
    with pytest.raises(Impossible, match="at most about 1"):
        versions_for(10.0 * MAX_VERSIONS * each, sizes, 1000.0)
    with pytest.raises(Impossible, match="at least about 2 USD"):
        versions_for(each / 2, sizes, 1.0)
    for rollouts in (float("inf"), float("nan")):
        with pytest.raises(Impossible, match="--budget buys"):
            versions_for(rollouts, sizes, 1.0)


def test_a_mean_rollout_is_not_longer_than_the_longest() -> None:
    with pytest.raises(Impossible, match="longest rollout of 512 tokens"):
        check_mean(513, sizes_of(BASE))
    check_mean(512, sizes_of(BASE))


def test_deadlines_leave_time_for_a_group_and_an_update_and_never_less_than_the_base() -> None:
    """In a recipe that is accepted: twice a group first, the slack for an update, and no lease that cannot be kept."""
    slack = 4.0
    for group_s, update_s in ((0.01, 0.02), (90.0, 40.0), (2_000.0, 5_000.0), (20_000.0, 30_000.0)):
        pace = pace_for(BASE, group_s, update_s)
        made = parse_recipe(recipe_text(BASE, sizes_of(BASE), 10, [], pace)).lease
        assert made.min_deadline_s >= max(120.0, 2 * group_s)
        assert made.update_deadline_s >= max(600.0, min(86_400.0, slack * max(group_s, update_s)))
        assert made.max_groups == 1 or made.max_groups * group_s * slack <= made.update_deadline_s
    assert pace_for(BASE, 0.01, 0.02).max_groups == tomllib.loads(BASE)["lease"]["max_groups"]


def test_a_pace_that_no_lease_can_have_is_refused_with_what_would_help() -> None:
    with pytest.raises(Impossible, match="an update takes one of these machines 50 hours"):
        pace_for(BASE, 60.0, 180_000.0)


@pytest.mark.parametrize("name", ["pretrain", "open-door"])
def test_a_base_without_rollouts_is_refused_by_its_programme(name: str) -> None:
    with pytest.raises(
        CannotPlan, match=r"got a recipe of programme '\w+', expected one of reinforcement"
    ):
        sizes_of(shipped_recipes()[name])


def test_a_missing_section_is_named() -> None:
    with pytest.raises(CannotPlan, match=r"max_new_tokens \('sampling' is missing\)"):
        sizes_of(BASE.replace("[sampling]", "[other]"))


@pytest.mark.parametrize(
    "lease", ['slack = "4"', "slack = nan", "slack = 0.5", "max_groups = true", "max_groups = inf"]
)
def test_a_base_whose_lease_is_no_number_is_refused_by_its_key(lease: str) -> None:
    with pytest.raises(CannotPlan, match=f"lease.{lease.split()[0]}: got"):
        pace_for(f"[lease]\n{lease}\n", 60.0, 60.0)
    with pytest.raises(CannotPlan, match="expected a section"):
        pace_for("lease = 3\n", 60.0, 60.0)
