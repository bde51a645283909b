"""What cannot be planned says what to change."""

import pytest

from archipel.planning.asking import Ask
from archipel.planning.mistakes import Conflict, Impossible, UnitMismatch, UnknownName
from archipel.planning.requests import REQUESTS


def _mistake(kind: type[Exception], **request: str) -> str:
    with pytest.raises(kind) as caught:
        Ask("train", REQUESTS["train"](**request)).plan()
    return str(caught.value)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"loss": "2", "like": "7B"}, ("--loss", "--like")),
        ({"budget": "1k USD", "loss": "2"}, ("--budget", "--loss")),
        ({"budget": "1k USD", "like": "7B"}, ("--budget", "--like")),
        (
            {"budget": "1k USD", "params": "7B", "tokens": "1T"},
            ("--budget", "--params", "--tokens"),
        ),
        ({"loss": "2", "params": "7B", "tokens": "1T"}, ("--loss", "--params")),
        (
            {"inference_tokens": "1T", "unique_tokens": "1B"},
            ("--inference-tokens", "--unique-tokens"),
        ),
        ({"unique_tokens": "1B", "loss": "2"}, ("--unique-tokens", "--loss")),
        (
            {"stage": "rl", "params": "7B", "rl_hours": "1", "rollouts": "5"},
            ("--rl-hours", "--rollouts"),
        ),
        (
            {"stage": "rl", "params": "7B", "budget": "1k USD", "rl_hours": "1"},
            ("--budget", "--rl-hours"),
        ),
        ({"stage": "all", "budget": "1k USD", "rollouts": "5"}, ("--budget", "--rollouts")),
        ({"active_params": "7B"}, ("--active-params", "--params")),
        ({"stage": "sft", "tokens": "1B"}, ("--stage sft", "--params")),
        ({"stage": "rl", "params": "7B", "tokens": "1B"}, ("--tokens", "--rollouts")),
        (
            {"stage": "sft", "params": "7B", "budget": "1k USD", "tokens": "1B"},
            ("--budget", "--tokens"),
        ),
        ({"stage": "mid", "params": "7B", "loss": "2"}, ("--loss", "--stage mid")),
        ({"rollouts": "5"}, ("--rollouts", "--stage rl")),
        ({"shares": "pretrain=1"}, ("--shares", "--stage all")),
        (
            {"accelerator": "a100-80", "precision": "fp8"},
            ("--precision", "--accelerator", "h100"),
        ),
        (
            {"params": "7B", "tokens": "1B", "count": "2", "tensor_parallel": "4"},
            ("--tensor-parallel", "--count"),
        ),
    ],
)
def test_options_that_exclude_each_other_are_both_named(
    request_: dict[str, str], words: tuple[str, ...]
) -> None:
    message = _mistake(Conflict, **request_)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("request_", "near"),
    [
        ({"accelerator": "h10"}, "h100"),
        ({"fit": "hofmann"}, "hoffmann"),
        ({"stage": "pretraining"}, "pretrain"),
        ({"precision": "fp16"}, "bf16"),
        ({"country": "usaa"}, "usa"),
        ({"zero": "5"}, "3"),
        ({"recompute": "some"}, "none"),
        ({"stage": "rl", "params": "7B", "rl_hours": "9", "rl_recipe": "scalrl"}, "scalerl"),
        ({"stage": "all", "shares": "pretain=1"}, "pretrain"),
    ],
)
def test_unknown_names_come_with_the_nearest_known_one(request_: dict[str, str], near: str) -> None:
    assert near in _mistake(UnknownName, **request_)


@pytest.mark.parametrize(
    "request_",
    [
        {"budget": "5 kW"},
        {"params": "5 USD"},
        {"tokens": "5 days"},
        {"loss": "3 USD"},
        {"price": "5 kW"},
        {"params": "7B", "tokens": "1B", "count": "3 days"},
    ],
)
def test_amounts_of_another_kind_say_what_was_expected(request_: dict[str, str]) -> None:
    assert "expected" in _mistake(UnitMismatch, **request_)


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"budget": "0.00001 USD"}, "the smallest that works"),
        ({"budget": "1e20 FLOP", "inference_tokens": "1e15"}, "the smallest that works"),
        ({"budget": "1e20 FLOP", "params": "1B", "inference_tokens": "1T"}, "raise --budget"),
        ({"loss": "1.5"}, "irreducible loss is 1.817"),
        ({"params": "1B", "loss": "2"}, "never goes below 2.174"),
        ({"tokens": "1B", "loss": "2"}, "--tokens"),
        ({"params": "7B", "active_params": "8B", "tokens": "1B"}, "--active-params"),
        ({"tokens": "1M"}, "more --tokens"),
        ({"mfu": "1.4"}, "at most 1"),
        ({"goodput": "0"}, "at most 1"),
        ({"budget": "-5 USD"}, "more than 0"),
        ({"params": "7B", "tokens": "1B", "count": "10000000"}, "fewer accelerators"),
        ({"stage": "rl", "params": "7B"}, "--rollouts"),
        ({"stage": "sft", "params": "7B"}, "--tokens or --budget"),
        ({"stage": "all", "budget": "1k USD", "rl_hours": "5000"}, "larger --budget"),
        ({"stage": "all", "shares": "mid=1"}, "pretrain needs a share"),
        ({"stage": "all", "shares": "70"}, "pretrain=80"),
    ],
)
def test_what_no_run_can_meet_says_what_could(request_: dict[str, str], word: str) -> None:
    assert word in _mistake(Impossible, **request_)


def test_an_accelerator_without_a_known_rent_asks_for_one() -> None:
    from archipel.planning.mistakes import CannotPlan

    assert "--price" in _mistake(CannotPlan, accelerator="m3-ultra")
    Ask("train", REQUESTS["train"](accelerator="m3-ultra", price="1 USD/h")).plan()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"rl_recipe": "grpo"}, ("--rl-recipe", "--stage rl")),
        ({"stage": "rl", "params": "8B", "budget": "1k USD", "fit": "hoffmann"}, ("--fit", "rl")),
        ({"stage": "sft", "params": "8B", "budget": "1k USD", "fit": "hoffmann"}, ("--fit", "sft")),
        ({"stage": "all", "shares": "pretrain=5,pretrain=6"}, ("--shares", "twice")),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    request_: dict[str, str], words: tuple[str, ...]
) -> None:
    message = _mistake(Conflict, **request_)
    for word in words:
        assert word in message


def test_an_unknown_recipe_is_refused_at_any_stage() -> None:
    assert "scalerl" in _mistake(UnknownName, rl_recipe="junk")


@pytest.mark.parametrize(
    ("request_", "named"), [({"loss": "50"}, "--loss"), ({"like": "5000"}, "--like")]
)
def test_a_message_names_only_what_was_given(request_: dict[str, str], named: str) -> None:
    message = _mistake(Impossible, **request_)
    assert message.startswith(named)
    assert "--tokens" not in message
    assert "give at" in message


def test_stages_are_known_in_any_case_and_shares_that_are_weights_say_so() -> None:
    plan = Ask("train", REQUESTS["train"](stage="RL", params="8B", budget="10k USD")).plan()
    assert plan.title.startswith("Reinforcement learning of 8B parameters for 10k USD on ")
    weights = Ask("train", REQUESTS["train"](stage="All", shares="pretrain=50,mid=60")).plan()
    assert any("add up to 110" in remark for remark in weights.remarks)
