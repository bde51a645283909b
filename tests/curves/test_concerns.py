"""Warnings: each is given when its fault is there, and none without."""

from collections.abc import Callable

import pytest

from archipel.curves.concerns import GRAVE, concerns
from archipel.curves.history import Exam
from archipel.records.recipe_alarms import AlarmSection
from histories import exam, history

WINDOW = AlarmSection().window


def _kinds(found: list) -> list[str]:
    return [concern.kind for concern in found]


def test_a_run_that_learns_gives_no_warning() -> None:
    for length in (0, 1, WINDOW, 40):
        assert concerns(history(length, exams=(exam(0, 0.2), exam(20, 0.6)))) == []


FAULTS: dict[str, Callable[[int], dict[str, float]]] = {
    "nothing-to-learn": lambda version: {"zero_advantage_groups": 32.0, "reward": 0.0},
    "solved": lambda version: {"zero_advantage_groups": 32.0, "reward": 1.0},
    "cut-off": lambda version: {"finished_fraction": 0.0},
    "collapse": lambda version: {"entropy": 1.0 / version**2, "reward": 0.55},
    "mismatch": lambda version: {
        "mismatch_kl": 0.001 * version,
        "effective_sample_fraction": 0.98 - 0.01 * version,
    },
    "held-back": lambda version: {"held_back_fraction": 0.7},
    "few-teach": lambda version: {"zero_advantage_groups": 30.0, "reward": 0.1},
    "fallen": lambda version: {"reward": 0.8 if version < 20 else 0.2},
    "unusable": lambda version: {"tokens": 900.0, "invalid_tokens": 100.0},
    "grading": lambda version: {"grading_faults": 40.0 * version},
    "void": lambda version: {"void_episodes": 1.0},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_named_by_its_own_warning_and_by_no_other(kind: str) -> None:
    found = concerns(history(40, FAULTS[kind]))
    assert _kinds(found) == [kind]
    assert len(found[0].text) < 300


@pytest.mark.parametrize("kind", FAULTS)
def test_too_few_versions_are_no_reason_to_warn(kind: str) -> None:
    assert concerns(history(WINDOW - 1, FAULTS[kind])) == []


@pytest.mark.parametrize(
    "kind", ["nothing-to-learn", "few-teach", "unusable", "cut-off", "held-back", "grading", "void"]
)
def test_a_fault_that_is_over_is_not_warned_of(kind: str) -> None:
    fault = FAULTS[kind]
    over = history(
        40, lambda version: fault(version) if version < 30 else {"grading_faults": 1160.0}
    )
    assert concerns(over) == []


def test_a_run_that_learns_nothing_says_for_how_long_and_what_may_help() -> None:
    dull = FAULTS["nothing-to-learn"]
    story = history(12, lambda version: dull(version) if version > 5 else {"reward": 0.0})
    (found,) = concerns(story)
    assert "all groups of the last 7 updates had equal rewards (mean 0.000)" in found.text
    assert "nothing is learned" in found.text


def test_a_few_dull_versions_after_good_ones_are_no_reason_to_warn() -> None:
    dull = lambda version: {"zero_advantage_groups": 32.0}  # noqa: E731
    for num_dull, expected in ((WINDOW - 1, []), (WINDOW, ["nothing-to-learn"])):
        story = history(40, lambda v, n=num_dull: dull(v) if v > 40 - n else {})  # type: ignore[misc]
        assert _kinds(concerns(story)) == expected


def test_one_group_with_unequal_rewards_is_something_to_learn_from_and_not_much() -> None:
    found = concerns(history(12, lambda version: {"zero_advantage_groups": 31.0}))
    assert _kinds(found) == ["few-teach"]
    solved = {"zero_advantage_groups": 31.0, "reward": 0.95}
    assert concerns(history(12, lambda version: solved)) == []


def test_a_policy_that_is_sure_and_right_has_not_collapsed() -> None:
    sure = history(40, lambda version: {"entropy": 1.0 / version**2, "reward": 0.97})
    assert concerns(sure) == []


def test_a_mismatch_that_costs_no_tokens_or_was_always_there_is_not_warned_of() -> None:
    costless = history(40, lambda version: {"mismatch_kl": 0.001 * version})
    constant = {"mismatch_kl": 0.1, "effective_sample_fraction": 0.7}
    (hopeless,) = concerns(history(40, lambda version: {"effective_sample_fraction": 0.1}))
    assert hopeless.kind == "mismatch"
    assert concerns(costless) == concerns(history(40, lambda version: constant)) == []


def test_one_answer_to_everything_is_a_collapse_however_it_came() -> None:
    same = {"commonest_fraction": 0.9, "reward": 0.55}
    (found,) = concerns(history(40, lambda version: same))
    assert found.kind == "collapse"
    assert "one and the same completion is 90% of all" in found.text
    assert concerns(history(40, lambda version: same | {"reward": 0.95})) == []


def test_versions_that_trained_on_nothing_have_not_collapsed() -> None:
    nothing = {"zero_advantage_groups": 32.0, "reward": 0.0, "tokens": 0.0, "entropy": 0.0}
    found = concerns(history(40, lambda version: nothing if version > 20 else {}))
    assert _kinds(found) == ["nothing-to-learn", "fallen"]


def test_what_was_not_measured_is_not_warned_of() -> None:
    bare = history(40)
    stripped = [point.values for point in bare.points]
    for values in stripped:
        assert isinstance(values, dict)
        for name in list(values):
            if name != "groups":
                del values[name]
    assert concerns(bare) == []


def test_a_restarted_grader_counts_anew() -> None:
    """40 faults a version, and the count begins again in the middle of the window."""
    restarted = history(40, lambda v: {"grading_faults": 40.0 * (v if v < 38 else v - 37)})
    (found,) = concerns(restarted)
    assert found.text.startswith("200 completions")


def test_worse_held_out_results_are_said_once_the_intervals_part() -> None:
    fell = (exam(0, 0.887), exam(10, 0.85), exam(20, 0.773))
    (found,) = concerns(history(20, lambda version: {"reward": 0.5}, exams=fell))
    assert found.kind == "worse"
    assert "fell from 0.887 at version 0 to 0.773 at version 20" in found.text
    assert concerns(history(20, exams=(exam(0, 0.8), exam(20, 0.74)))) == []


def test_pass_at_many_that_falls_is_said_although_greedy_rises() -> None:
    def both(version: int, greedy: float, many: float) -> Exam:
        scored = {"pass_at_8": many, "pass_at_8_low": many - 0.05, "pass_at_8_high": many + 0.05}
        return Exam(version, {**exam(version, greedy).values, **scored})

    (found,) = concerns(history(60, exams=(both(0, 0.44, 0.90), both(60, 0.59, 0.60))))
    assert "pass at 8 fell from 0.900 at version 0 to 0.600" in found.text


def _constant(version: int) -> dict[str, float]:
    """The reward rises because one answer does."""
    share = min(0.2 + 0.03 * version, 0.98)
    return {"commonest_answer": share, "constant_reward": 0.62, "reward": 0.62 * share}


def test_a_run_whose_reward_rises_by_a_constant_answer_is_named_while_it_rises() -> None:
    told = [version for version in range(WINDOW, 41) if concerns(history(version, _constant)) != []]
    first = told[0]
    assert told == list(range(first, 41))
    assert 15 <= first <= 25
    (found,) = concerns(history(first, _constant))
    assert found.kind == "collapse"
    assert "which given to every task earns 0.620" in found.text
    rewards = [point.values["reward"] for point in history(first, _constant).points[1:]]
    assert rewards == sorted(rewards)


def test_a_common_answer_that_the_policy_beats_is_no_collapse() -> None:
    better = {"commonest_answer": 0.8, "constant_reward": 0.7, "reward": 0.9}
    assert concerns(history(40, lambda version: better)) == []
    assert concerns(history(40, lambda version: better | {"reward": 0.72})) != []


def test_a_constant_answer_that_earns_nearly_all_is_named_and_one_that_is_right_is_not() -> None:
    """Where 95% of the tasks have one answer, a reward of 0.95 is no skill."""
    dear = {"commonest_answer": 1.0, "constant_reward": 0.95, "reward": 0.95}
    assert _kinds(concerns(history(40, lambda version: dear))) == ["collapse"]
    right = dear | {"constant_reward": 1.0, "reward": 1.0}
    assert concerns(history(40, lambda version: right)) == []


def test_held_out_tasks_that_get_one_answer_are_a_collapse_after_one_evaluation() -> None:
    marks = {"greedy_reward": 0.52, "commonest_answer": 0.9, "constant_reward": 0.5}
    (found,) = concerns(history(2, exams=(Exam(2, {**exam(2, 0.52).values, **marks}),)))
    assert found.kind == "collapse"
    assert "90% of those to the held-out tasks" in found.text


def test_a_reward_that_rises_while_held_out_tasks_fall_is_named_before_the_intervals_part() -> None:
    exams = (exam(5, 0.50), exam(20, 0.42))
    (found,) = concerns(history(20, exams=exams))
    assert found.kind == "apart"
    assert "the reward rose from 0.360 at version 5 to 0.660 at version 20" in found.text
    flat = history(20, lambda version: {"reward": 0.4}, exams=exams)
    assert concerns(flat) == [], "a fall within chance, and the reward did not rise"
    assert concerns(history(20, exams=(exam(5, 0.50), exam(20, 0.46)))) == []


def test_two_evaluations_in_a_row_below_the_best_are_worse_though_intervals_meet() -> None:
    flat = {"reward": 0.4}
    for falls, expected in (((0.72, 0.71), ["worse"]), ((0.72, 0.79), []), ((0.72,), [])):
        exams = (exam(0, 0.8), *(exam(10 + n, value) for n, value in enumerate(falls)))
        assert _kinds(concerns(history(20, lambda version: flat, exams=exams))) == expected


def test_completions_that_run_into_the_limit_more_and_more_are_named() -> None:
    longer = history(40, lambda version: {"finished_fraction": 1.0 - 0.015 * version})
    (found,) = concerns(longer)
    assert found.kind == "cut-off"
    assert "at first 96%" in found.text


def test_the_recipes_own_bounds_decide() -> None:
    from dataclasses import replace

    sharp = history(40, lambda version: {"held_back_fraction": 0.3})
    assert concerns(sharp) == []
    bounds = AlarmSection(held_back=0.2)
    assert _kinds(concerns(replace(sharp, bounds=bounds))) == ["held-back"]
    assert concerns(replace(sharp, bounds=AlarmSection(held_back=0.2, window=64))) == []


def test_what_pauses_a_run_is_what_says_that_its_weights_are_no_better() -> None:
    assert {"collapse", "worse", "apart", "fallen", "mismatch", "unusable"} == GRAVE
