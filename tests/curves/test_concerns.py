"""Warnings: each is given when its fault is there, and none without."""

from collections.abc import Callable

import pytest

from archipel.curves.concerns import WINDOW, concerns
from archipel.curves.history import Exam
from histories import exam, history


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
    "grading": lambda version: {"grading_faults": 40.0 * version},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_named_by_its_own_warning_and_by_no_other(kind: str) -> None:
    found = concerns(history(40, FAULTS[kind]))
    assert _kinds(found) == [kind]
    assert len(found[0].text) < 300


@pytest.mark.parametrize("kind", FAULTS)
def test_too_few_versions_are_no_reason_to_warn(kind: str) -> None:
    assert concerns(history(WINDOW - 1, FAULTS[kind])) == []


@pytest.mark.parametrize("kind", ["nothing-to-learn", "cut-off", "held-back", "grading"])
def test_a_fault_that_is_over_is_not_warned_of(kind: str) -> None:
    fault = FAULTS[kind]
    over = history(
        40, lambda version: fault(version) if version < 30 else {"grading_faults": 1160.0}
    )
    assert concerns(over) == []


def test_a_run_that_learns_nothing_says_for_how_long_and_what_may_help() -> None:
    dull = FAULTS["nothing-to-learn"]
    (found,) = concerns(history(12, lambda version: dull(version) if version > 5 else {}))
    assert "all groups of the last 7 updates had equal rewards (mean 0.000)" in found.text
    assert "nothing is learned" in found.text


def test_a_few_dull_versions_after_good_ones_are_no_reason_to_warn() -> None:
    dull = FAULTS["nothing-to-learn"]
    for num_dull, expected in ((WINDOW - 1, []), (WINDOW, ["nothing-to-learn"])):
        story = history(40, lambda v, n=num_dull: dull(v) if v > 40 - n else {})  # type: ignore[misc]
        assert _kinds(concerns(story)) == expected


def test_one_group_with_unequal_rewards_is_something_to_learn_from() -> None:
    assert concerns(history(12, lambda version: {"zero_advantage_groups": 31.0})) == []


def test_a_policy_that_is_sure_and_right_has_not_collapsed() -> None:
    sure = history(40, lambda version: {"entropy": 1.0 / version**2, "reward": 0.97})
    assert concerns(sure) == []


def test_a_mismatch_that_costs_no_tokens_or_was_always_there_is_not_warned_of() -> None:
    costless = history(40, lambda version: {"mismatch_kl": 0.001 * version})
    constant = {"mismatch_kl": 0.1, "effective_sample_fraction": 0.7}
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
    assert _kinds(found) == ["nothing-to-learn"]


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
    (found,) = concerns(history(20, exams=fell))
    assert found.kind == "worse"
    assert "fell from 0.887 at version 0 to 0.773 at version 20" in found.text
    assert concerns(history(20, exams=(exam(0, 0.8), exam(20, 0.72)))) == []


def test_pass_at_many_that_falls_is_said_although_greedy_rises() -> None:
    def both(version: int, greedy: float, many: float) -> Exam:
        scored = {"pass_at_8": many, "pass_at_8_low": many - 0.05, "pass_at_8_high": many + 0.05}
        return Exam(version, {**exam(version, greedy).values, **scored})

    (found,) = concerns(history(60, exams=(both(0, 0.44, 0.90), both(60, 0.59, 0.60))))
    assert "pass at 8 fell from 0.900 at version 0 to 0.600" in found.text
