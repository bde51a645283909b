"""`plan train`: what must hold of every plan, whatever the constants."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.planning.asking import Ask
from archipel.planning.quantity import Derived, Quantity, ancestry
from archipel.planning.requests import REQUESTS
from planning.asked import constant, data, value

DEEPSEEK = {"params": "671B", "active_params": "37B", "tokens": "14.8T", "accelerator": "h800"}


def train(**request: str | bool) -> dict[str, Any]:
    """The answer to `plan train`."""
    return data("train", **request)


def stages(found: dict[str, Any]) -> dict[str, float]:
    """Accelerator-hours of each stage."""
    names = ("pretrain", "mid", "sft", "rl")
    kept = found["quantities"]
    return {name: value(found, f"{name}.hours") for name in names if f"{name}.hours" in kept}


@settings(max_examples=5, deadline=None)
@given(st.floats(3, 8), st.floats(1.05, 50))
def test_more_budget_never_gives_more_loss_nor_fewer_parameters(power: float, more: float) -> None:
    small, large = (train(budget=f"{10**power * each} USD", goodput="0.95") for each in (1.0, more))
    assert value(large, "train.loss") < value(small, "train.loss")
    assert value(large, "train.params") > value(small, "train.params")


def test_cost_is_proportional_to_price_and_hours_do_not_know_it() -> None:
    cheap, dear = (train(params="7B", tokens="1T", price=each) for each in ("1", "3"))
    assert value(dear, "train.cost") == pytest.approx(3 * value(cheap, "train.cost"))
    assert value(dear, "train.accelerator_hours") == pytest.approx(
        value(cheap, "train.accelerator_hours")
    )


def test_a_mixture_with_every_expert_active_is_the_dense_model() -> None:
    dense, mixture = (
        train(params="7B", tokens="1T", count="64", **extra)
        for extra in ({}, {"active_params": "7B"})
    )
    for name in ("train.flop", "train.loss", "train.cost", "memory.total"):
        assert value(mixture, name) == pytest.approx(value(dense, name)), name


def test_a_mixture_costs_by_its_active_and_weighs_by_all_its_parameters() -> None:
    found = train(**DEEPSEEK, count="2048")
    assert value(found, "train.flop", "FLOP") == pytest.approx(6 * 37e9 * 14.8e12)
    split = 2048
    assert value(found, "memory.optimiser", "GB/accelerator") == pytest.approx(
        12 * 671e9 / 1e9 / split
    )
    assert 37e9 < value(found, "train.dense_equivalent", "param") < 671e9


def test_money_compute_and_time_buy_the_same_run() -> None:
    money = train(budget="100k USD", goodput="0.95", count="64")
    flop = value(money, "train.flop", "FLOP")
    days = value(money, "train.days", "day")
    for budget in (f"{flop} FLOP", f"{days} days"):
        other = train(budget=budget, goodput="0.95", count="64")
        assert value(other, "train.params") == pytest.approx(value(money, "train.params"))
        assert value(other, "train.cost") == pytest.approx(100_000)


def test_buying_the_size_that_a_budget_gave_costs_the_budget() -> None:
    found = train(budget="100k USD", count="64")
    params, tokens = value(found, "train.params", "param"), value(found, "train.tokens", "token")
    again = train(params=repr(params), tokens=repr(tokens), count="64")
    assert value(again, "train.cost", "USD") == pytest.approx(100_000)
    assert abs(value(again, "fit.besiroglu.penalty")) < 1e-9


def test_reaching_the_loss_of_a_budgets_optimum_takes_that_budget() -> None:
    found = train(budget="1e22 FLOP")
    again = train(loss=repr(value(found, "train.loss")))
    assert value(again, "train.flop", "FLOP") == pytest.approx(1e22, rel=1e-6)


def test_the_quality_of_a_size_is_reached_by_that_size() -> None:
    found = train(like="13B")
    assert value(found, "train.params", "param") == pytest.approx(13e9, rel=1e-6)


def test_one_unknown_of_size_and_data_follows_from_budget_or_optimum() -> None:
    flop = 1e22
    given_params = train(budget=f"{flop} FLOP", params="5B")
    assert value(given_params, "train.tokens", "token") == pytest.approx(flop / 6 / 5e9)
    given_tokens = train(budget=f"{flop} FLOP", tokens="100B")
    assert value(given_tokens, "train.params", "param") == pytest.approx(flop / 6 / 100e9)
    for alone in (train(params="5B"), train(tokens="100B")):
        assert value(alone, "fit.besiroglu.params") == pytest.approx(value(alone, "train.params"))


def test_a_size_that_matches_a_larger_ones_quality_and_serves_costs_less_over_its_life() -> None:
    asked = {"like": "13B", "inference_tokens": "2T", "fit": "sardana"}
    best, near = train(**asked), train(**asked, params="7B")
    assert value(near, "train.loss") == pytest.approx(value(best, "train.loss"))
    assert 0 < value(near, "served.saving") <= value(best, "served.saving")


def test_a_size_and_its_use_decide_its_data() -> None:
    found = train(params="8B", inference_tokens="190T")
    assert value(found, "train.tokens", "token") == pytest.approx(15e12, rel=0.01)
    back = train(tokens="15T", inference_tokens="190T")
    assert value(back, "train.params", "param") == pytest.approx(8e9, rel=0.01)
    budget = train(budget="1e23 FLOP", tokens="1T", inference_tokens="2T")
    assert value(budget, "served.lifetime_flop", "FLOP") == pytest.approx(1e23)


def test_serving_makes_the_model_smaller_and_its_training_longer() -> None:
    plain, served = train(like="13B"), train(like="13B", inference_tokens="10T")
    assert value(served, "train.params") < value(plain, "train.params")
    assert value(served, "train.flop") > value(plain, "train.flop")
    assert value(served, "train.loss") == pytest.approx(value(plain, "train.loss"))
    assert value(served, "served.saving") > 0


def test_a_lifetime_budget_pays_for_training_and_serving() -> None:
    found = train(budget="1e23 FLOP", inference_tokens="2T")
    assert value(found, "served.lifetime_flop", "FLOP") == pytest.approx(1e23)
    assert value(found, "train.flop", "FLOP") < 1e23


def test_enough_distinct_tokens_change_nothing() -> None:
    plain, rich = train(budget="1e21 FLOP"), train(budget="1e21 FLOP", unique_tokens="10T")
    assert value(rich, "train.loss") == pytest.approx(value(plain, "train.loss"), rel=1e-6)
    scarce = train(budget="1e21 FLOP", unique_tokens="1B")
    assert value(scarce, "train.loss") > value(plain, "train.loss")


def test_stages_share_the_budget_as_asked_and_add_up() -> None:
    found = train(budget="50k USD", stage="all", shares="pretrain=70,mid=12,sft=3,rl=15")
    whole = value(found, "train.accelerator_hours")
    assert sum(stages(found).values()) == pytest.approx(whole)
    assert stages(found)["rl"] / whole == pytest.approx(0.15)
    costs = sum(value(found, f"{name}.cost") for name in stages(found))
    assert costs == pytest.approx(50_000)


def test_asked_rl_hours_come_out_of_the_budget_first() -> None:
    found = train(budget="50k USD", stage="all", rl_hours="2000", price="2")
    assert stages(found)["rl"] == pytest.approx(2000)
    assert value(found, "train.accelerator_hours") == pytest.approx(25_000)


def test_generating_dominates_rl_and_its_parts_add_up() -> None:
    found = train(stage="rl", params="8B", rollouts="1M", rollout_tokens="4000")
    assert value(found, "rl.tokens", "token") == pytest.approx(4e9)
    assert value(found, "rl.flop", "FLOP") == pytest.approx(8 * 8e9 * 4e9)
    parts = value(found, "rl.generation_hours") + value(found, "rl.learning_hours")
    assert parts == pytest.approx(value(found, "rl.hours"))
    assert value(found, "rl.generating_share", "percent") == pytest.approx(80)
    hours = value(found, "rl.hours")
    back = train(stage="rl", params="8B", rl_hours=repr(hours), rollout_tokens="4000")
    assert value(back, "rl.rollouts", "rollout") == pytest.approx(1e6, rel=0.01)


def test_more_rl_never_lowers_the_pass_rate_and_stays_below_the_ceiling() -> None:
    rates = [
        value(train(stage="rl", params="8B", rl_hours=each), "rl.pass_rate", "percent")
        for each in ("1000", "10000", "100000")
    ]
    assert rates == sorted(rates)
    assert rates[-1] < 100 * constant("law.scalerl.scalerl.asymptote")


def test_a_larger_fleet_is_faster_but_fails_more_often() -> None:
    small, large = (train(params="70B", tokens="2T", count=each) for each in ("512", "8192"))
    assert value(large, "train.days") < value(small, "train.days")
    assert value(large, "train.goodput") < value(small, "train.goodput")
    assert value(large, "train.accelerator_hours") > value(small, "train.accelerator_hours")
    assert value(small, "train.mtbf") == pytest.approx(16 * value(large, "train.mtbf"))


def test_a_frontier_run_is_planned_on_a_fleet_that_can_keep_running() -> None:
    found = train(params="1T", tokens="100T")
    assert value(found, "train.accelerators") == constant("train.most_accelerators")
    assert 0.9 < value(found, "train.goodput") < 0.97  # more than nine tenths, as published


@pytest.mark.parametrize(("mfu", "gain"), [("0.4", "train.fp8_gain"), ("", "utilisation.fp8")])
def test_fp8_is_faster_by_its_published_gain(mfu: str, gain: str) -> None:
    slow, fast = (
        train(params="8B", tokens="1T", precision=each, goodput="1", mfu=mfu)
        for each in ("bf16", "fp8")
    )
    ratio = value(slow, "train.accelerator_hours") / value(fast, "train.accelerator_hours")
    assert ratio == pytest.approx(constant(gain))


def test_memory_by_part_adds_up_and_the_fewest_accelerators_hold_it() -> None:
    found = train(params="8B", tokens="1T", count="8")
    parts = ("weights", "gradients", "optimiser", "gathered", "activations", "logits", "reserve")
    whole = sum(value(found, f"memory.{part}") for part in parts)
    assert whole == pytest.approx(value(found, "memory.total"))
    least = value(found, "memory.least.h100")
    tight = train(params="8B", tokens="1T", count=f"{least:g}")
    assert value(tight, "memory.total") <= constant("accelerator.h100.memory", "GB/accelerator")


def test_memory_of_llama_3_8b_on_one_server_is_near_the_measured_peak() -> None:
    """Torchao README: 47.65 GB for 8B on 8 H100, FSDP2, 8,192 tokens; it saves more than one matrix product in two."""
    run = {"params": "8.03B", "tokens": "1T", "count": "8", "tensor_parallel": "1"}
    full, selective = (
        value(train(**run, recompute=mode), "memory.total") for mode in ("full", "selective")
    )
    assert full < 47.65 < selective < 1.5 * 47.65


def test_a_small_labs_50k_dollars_plan_a_run_it_can_hold() -> None:
    found = train(budget="50k USD", stage="all")
    assert 8 <= value(found, "train.accelerators") <= 64
    assert value(found, "train.days", "day") <= 30
    assert 1e9 < value(found, "train.params", "param") < 30e9
    assert value(found, "memory.total") < constant("accelerator.h100.memory", "GB/accelerator")
    assert value(found, "train.cost", "USD") == pytest.approx(50_000)


def test_co2_follows_the_grid() -> None:
    hungary, france = (train(params="8B", tokens="1T", country=each) for each in ("hun", "fra"))
    ratio = value(hungary, "train.co2") / value(france, "train.co2")
    assert ratio == pytest.approx(constant("energy.carbon.hun") / constant("energy.carbon.fra"))
    assert value(hungary, "train.energy") == pytest.approx(value(france, "train.energy"))


def test_the_interval_of_the_default_fit_holds_its_terms_at_the_centre_of_its_data() -> None:
    """Loss at the centre knows only the doubt about E; away from it, that about the exponents too."""
    centre = train(params="1.058B", tokens="50B", count="8")["quantities"]["train.loss"]
    spread = centre["high"] - centre["low"]
    irreducible = train()["quantities"]["law.chinchilla.besiroglu.E"]
    assert spread <= 1.3 * (irreducible["high"] - irreducible["low"])


@pytest.mark.parametrize(
    "request_",
    [
        {"stage": "all"},
        {**DEEPSEEK, "count": "2048", "tensor_parallel": "1"},
        {"stage": "all", "params": "8B", "tokens": "1T", "rollouts": "1M"},
        {"like": "13B", "inference_tokens": "2T"},
        {"budget": "1e22 FLOP", "unique_tokens": "25B"},
    ],
)
def test_no_name_stands_for_two_numbers(request_: dict[str, str]) -> None:
    plan = Ask("train", REQUESTS["train"](**request_)).plan()
    cells = [cell for table in plan.tables for row in table.rows for cell in row]
    shown = [*plan.answers, *(cell for cell in cells if isinstance(cell, Quantity))]
    seen: dict[str, int] = {}
    for quantity in ancestry(shown):
        if quantity.name and isinstance(quantity.origin, Derived):
            assert seen.setdefault(quantity.name, id(quantity)) == id(quantity), quantity.name


def test_every_number_of_every_table_is_finite_or_says_never() -> None:
    for request in (
        {},
        {"stage": "all"},
        DEEPSEEK,
        {"stage": "rl", "params": "1B", "budget": "1k USD"},
    ):
        for name, row in train(**request)["quantities"].items():
            value_of = row["value"]
            assert not (isinstance(value_of, float) and math.isnan(value_of)), name


def test_a_whole_budget_is_divided_without_a_rest_and_the_run_costs_its_part() -> None:
    found = train(budget="1M USD", whole=True)
    parts = ("run", "experiments", "staff", "data", "serving")
    assert sum(value(found, f"project.{part}", "USD") for part in parts) == pytest.approx(1e6)
    assert value(found, "train.cost", "USD") == pytest.approx(value(found, "project.run", "USD"))
    assert value(found, "project.cost", "USD") == pytest.approx(1e6)
    assert not any("project.data" in each["quantities"] for each in (train(), train(like="8B")))


@pytest.mark.parametrize(
    ("count", "words"), [("64", "servers are kept"), ("256", "longer than pays"), ("4096", "")]
)
def test_a_run_longer_than_pays_or_than_servers_live_says_so_at_once(
    count: str, words: str
) -> None:
    said = train(params="70B", tokens="15T", count=count)["verdict"].partition(";")[0]
    assert words in said
    assert bool(words) == ("longer than" in said)


def test_utilisation_counted_with_recomputation_is_a_third_more_arithmetic_where_all_is_done_again() -> (
    None
):
    run = {"params": "8B", "tokens": "1T", "recompute": "full", "goodput": "1"}
    plain, counted = train(**run, mfu="0.3"), train(**run, hfu="0.4")
    assert value(counted, "train.days") == pytest.approx(value(plain, "train.days"))
    assert value(plain, "train.hfu", "1") == pytest.approx(0.4)
    assert value(
        train(**run | {"recompute": "none"}, mfu="0.3"), "train.hfu", "1"
    ) == pytest.approx(0.3)
