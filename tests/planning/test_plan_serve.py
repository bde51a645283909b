"""`plan serve`: published figures come out of it, and its trade-offs point the right way."""

import json
import math
from functools import cache

import pytest

from archipel.planning.asking import Ask
from archipel.planning.mistakes import CannotPlan, Conflict, Impossible, UnitMismatch, UnknownName
from archipel.planning.quantity import Quantity, ancestry
from archipel.planning.questions.serve import fits, whole_sheet
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import shelf
from archipel.planning.wording import plan_text
from planning import asked


def data(**options):
    """The whole answer."""
    return asked.data("serve", **options)


@cache
def bound(as_of="", **options):
    """The question's sheet, of which nothing is computed that is not asked for."""
    return whole_sheet(REQUESTS["serve"](**options), shelf(as_of))


def value(of, name):
    return Draws(count=1).centre(of[name])


def centre(name, **options):
    return value(bound(**options), name)


def verdict(**options):
    return Ask("serve", REQUESTS["serve"](**options)).plan().said()


def test_seventy_billion_in_half_precision_take_140_gigabytes():
    assert centre("memory.weights", params="70B", quant="bf16") == pytest.approx(140, rel=1e-3)


def test_llama_2_70b_keeps_320_kilobytes_per_token():
    """Cursor (2023), PagedAttention arithmetic: 2 x 80 layers x 8 heads x 128 x 2 bytes."""
    found = centre("memory.kv_per_token", model="llama-2-70b")
    assert found == pytest.approx(320 * 1.024)


@pytest.mark.parametrize(
    ("hardware", "quant", "model", "measured", "tolerance"),
    [
        # dai-gpu-benchmarks, llama.cpp, December 2023; short prompts; with the constants of that engine
        ("rtx4090", "f16", "llama-2-7b", 60.78, 0.05),
        ("m2-ultra", "f16", "llama-2-7b", 40.68, 0.05),
        ("m2-ultra", "q4_0", "llama-2-70b", 14.37, 0.15),
        ("rtx3090", "f16", "llama-2-7b", 51.85, 0.1),
        ("a100-80", "f16", "llama-2-7b", 73.83, 0.15),
    ],
)
def test_one_stream_is_as_fast_as_measured(hardware, quant, model, measured, tolerance):
    found = centre(
        "speed.stream", hardware=hardware, quant=quant, model=model, prompt="64", answer="128",
        price="5000", as_of="2024-05",
    )  # fmt: skip
    assert found == pytest.approx(measured, rel=tolerance)


def test_routellms_savings_follow_from_its_calls_and_prices():
    found = bound()
    assert value(found, "routellm.saving_mtbench") == pytest.approx(85, rel=0.01)
    assert value(found, "routellm.saving_mmlu") == pytest.approx(45, rel=0.02)


def test_more_busy_hours_never_cost_more_per_token():
    rare, often = (centre("own.cost", utilisation=hours) for hours in ("1 h/day", "20 h/day"))
    assert often < rare
    assert centre("own.full") == pytest.approx(centre("own.cost", utilisation="24 h/day"))


def test_at_the_break_even_both_cost_the_same():
    options = {"hosted": "0.5 USD/Mtoken"}
    found = bound(**options)
    day, most = value(found, "break_even"), value(found, "own.capacity")
    again = bound(utilisation=f"{100 * day / most} percent", **options)
    assert value(again, "own.cost") == pytest.approx(0.5, rel=1e-6)


def test_electricity_dearer_than_hosting_never_breaks_even():
    assert math.isinf(centre("break_even", electricity="2 USD/kWh"))
    assert "electricity alone" in verdict(electricity="2 USD/kWh")


def test_wear_scales_with_price_and_inversely_with_life():
    dear, cheap = (centre("own.wear", price=price) for price in ("3000", "1000"))
    assert dear == pytest.approx(3 * cheap)
    short, long_ = (centre("own.wear", life=life) for life in ("2 years", "4 years"))
    assert short == pytest.approx(2 * long_)


def test_every_expert_active_is_the_dense_model():
    dense = bound(params="8B")
    sparse = bound(params="8B", active_params="8B")
    for name in ("speed.stream", "speed.throughput", "own.cost", "memory.needed"):
        assert value(dense, name) == pytest.approx(value(sparse, name))


def test_fewer_active_parameters_are_faster_with_weights_of_the_same_size():
    dense, sparse = bound(params="30B"), bound(params="30B", active_params="3B")
    assert value(sparse, "speed.stream") > 2 * value(dense, "speed.stream")
    assert value(sparse, "memory.weights") == pytest.approx(value(dense, "memory.weights"))


def test_fewer_bits_are_smaller_and_faster():
    wide, narrow = bound(quant="q8"), bound(quant="q4")
    assert value(narrow, "memory.weights") < value(wide, "memory.weights")
    assert value(narrow, "speed.stream") > value(wide, "speed.stream")


def test_more_streams_share_the_reading_of_weights():
    one, eight = bound(batch="1"), bound(batch="8")
    assert value(eight, "speed.decode") > 4 * value(one, "speed.decode")
    assert value(eight, "speed.stream") < value(one, "speed.stream")
    assert value(eight, "own.cost") < value(one, "own.cost")


def test_two_machines_that_share_layers_are_faster_than_one_but_not_twice():
    one, two = bound(hardware="h100"), bound(hardware="h100", accelerators="2")
    ratio = value(two, "speed.bandwidth") / value(one, "speed.bandwidth")
    assert 1 < ratio < 2


def test_a_model_that_does_not_fit_is_said_with_what_would():
    asked = {"params": "70B", "quant": "bf16"}
    said = next(remark for remark in data(**asked)["remarks"] if "does not fit" in remark)
    assert "Take 7 of them" in said
    assert "at most" in said
    assert not fits(bound(**asked))
    assert not fits(bound(**asked, accelerators="6"))
    assert fits(bound(**asked, accelerators="7"))


def test_hosted_prices_keep_their_dates_apart():
    rows = data()["tables"][0]["rows"]
    dates = [row[2] for row in rows if row[0].startswith("open model of about 8")]
    assert len(dates) >= 3
    assert dates == sorted(set(dates))


def test_an_earlier_date_knows_no_later_price():
    found = data(as_of="2025-01")
    dates = [row[2] for row in found["tables"][0]["rows"]]
    assert set(dates) == {"2025-01", "2024-08"}


def test_a_cascade_saves_what_it_does_not_send():
    found = bound(escalate="20 percent")
    small, large = value(found, "own.cost"), value(found, "cascade.large")
    assert value(found, "cascade.cost") == pytest.approx(small + 0.2 * large)
    assert value(found, "router.cost") == pytest.approx(0.8 * small + 0.2 * large)
    assert value(found, "cascade.saving") < value(found, "router.saving")


def test_one_specialist_for_all_traffic_is_the_generalist():
    found = bound(specialists="1", domain_share="1")
    assert value(found, "specialists.gain") == pytest.approx(0, abs=1e-4)
    assert value(found, "specialists.worth") == pytest.approx(1, rel=1e-2)


def test_traffic_outside_the_fields_is_where_specialists_lose():
    inside, outside = (centre("specialists.gain", domain_share=s) for s in ("1", "0.2"))
    assert outside < inside


def test_the_generalist_is_the_published_optimum():
    """Besiroglu et al. (2024): 18 tokens per parameter at Chinchilla's compute."""
    params = centre("generalist.params", training_budget="5.76e23 FLOP")
    assert 5.76e23 / 6 / params**2 == pytest.approx(18, rel=0.05)


def test_money_buys_training_compute_in_proportion():
    small, large = (centre("specialists.flop", training_budget=b) for b in ("$10k", "$40k"))
    assert large == pytest.approx(4 * small)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"params": "70B"}, {"model": "gpt-oss-120b", "hardware": "dgx-spark"},
        {"hosted": "0.3 USD/Mtoken"}, {"accelerators": "4"}, {"country": "rou"}, {"batch": "64"},
        {"hardware": "cpu-epyc-9004", "price": "9000"}, {"training_budget": "$50k"},
    ],
)  # fmt: skip
def test_every_answer_fits_a_screen_and_no_name_means_two_things(options):
    plan = Ask("serve", REQUESTS["serve"](**options)).plan()
    cells = [cell for table in plan.tables for row in table.rows for cell in row]
    shown = [*plan.answers, *(cell for cell in cells if isinstance(cell, Quantity))]
    derived = [each for each in ancestry(shown) if each.name and each.parents]
    assert len({each.name for each in derived}) == len(derived)
    lines = plan_text(data(**options)).splitlines()
    assert len(lines) <= (120 if options else 110)
    assert len(plan_text(data(**options), brief=True).splitlines()) <= 45
    assert "million tokens cost" in plan.said()
    assert len(plan.said()) <= 5 * 80


@pytest.mark.parametrize(
    ("options", "mistake", "words"),
    [
        ({"hardware": "rtx4091"}, UnknownName, "'rtx4090'"),
        ({"quant": "q3"}, UnknownName, "q4"),
        ({"model": "llama-3-8"}, UnknownName, "'llama-3-8b'"),
        ({"hosted": "open-9b"}, UnknownName, "'open-8b'"),
        ({"large": "closed-flag"}, UnknownName, "'closed-flagship'"),
        ({"country": "usb"}, UnknownName, "usa"),
        ({"fit": "besiroglou"}, UnknownName, "'besiroglu'"),
        ({"hosted": "3 kW"}, UnitMismatch, "--hosted"),
        ({"training_budget": "5 kW"}, UnitMismatch, "--training-budget"),
        ({"price": "5 kW"}, UnitMismatch, "--price"),
        ({"model": "llama-3-8b", "params": "8B"}, Conflict, "drop --model"),
        ({"prompt": "10000"}, Conflict, "raise --context"),
        ({"utilisation": "30 h/day"}, Impossible, "24 h/day"),
        ({"batch": "0"}, Impossible, "--batch"),
        ({"escalate": "2"}, Impossible, "0 to 1"),
        ({"specialists": "2.5"}, Impossible, "whole number"),
        ({"active_params": "9B"}, Impossible, "--params"),
        ({"config": "{}"}, CannotPlan, "hidden_size"),
        ({"config": "{}", "model": "llama-3-8b"}, Conflict, "drop --config"),
        ({"layers": "0"}, Impossible, "--layers"),
    ],
)  # fmt: skip
def test_bad_input_names_the_problem_and_the_way_out(options, mistake, words):
    with pytest.raises(mistake) as caught:
        Ask("serve", REQUESTS["serve"](**options)).plan()
    assert words in str(caught.value)


def test_what_does_not_fit_costs_nothing_here_and_says_so_first():
    plan = Ask("serve", REQUESTS["serve"](params="70B", quant="bf16")).plan()
    assert plan.said().startswith("It does not fit")
    assert "here" not in plan.said()
    assert not any(each.name.startswith("own.") for each in plan.answers)
    labels = [str(row[0]) for table in plan.tables for row in table.rows]
    assert not any(label.startswith("this machine") for label in labels)


def test_specialists_are_in_the_verdict_only_when_asked_for():
    assert "specialists" not in verdict()
    assert "specialists" in verdict(specialists="4")


def test_never_breaking_even_is_said_in_words():
    never = Ask("serve", REQUESTS["serve"](electricity="3 USD/kWh")).plan()
    (even,) = (each for each in never.answers if each.name == "break_even")
    assert "never" in even.about


# --- a model by numbers, by its config, and its own price ----------------------------------------

GPT_OSS = json.dumps({
    "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64,
    "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880, "num_local_experts": 32,
    "num_experts_per_tok": 4, "vocab_size": 201088, "layer_types": ["sliding_attention", "full_attention"] * 12,
})  # fmt: skip


@pytest.mark.parametrize("quant", ["mxfp4", "q8"])
def test_a_model_by_its_config_is_the_model_of_the_table(quant):
    counted, known = bound(config=GPT_OSS, quant=quant), bound(model="gpt-oss-20b", quant=quant)
    for name in ("memory.weights", "memory.kv_per_token", "its.params"):
        assert value(counted, name) == pytest.approx(value(known, name), rel=3e-3), name
    assert value(counted, "model.attended") == value(known, "model.attended")
    if quant == "mxfp4":
        assert value(counted, "speed.read") == pytest.approx(value(known, "speed.read"), rel=5e-3)


def test_layers_and_width_say_a_size_and_either_of_them_the_other():
    shape = bound(layers="32", width="4096", vocabulary="128256")
    assert value(shape, "its.params") == 12 * 32 * 4096**2 + 2 * 128256 * 4096
    usual = bound(params="8B")
    layers, width = value(usual, "its.layers"), value(usual, "model.width")
    assert 12 * layers * width**2 == pytest.approx(8e9)
    assert value(bound(params="8B", layers="36"), "model.width") == pytest.approx(width, rel=0.01)
    assert value(bound(params="8B", width="4309"), "its.layers") == pytest.approx(layers, rel=0.01)
    few, many = (centre("memory.kv_per_token", params="8B", kv_heads=n) for n in ("4", "32"))
    assert many == pytest.approx(8 * few)


@pytest.mark.parametrize(
    ("options", "whose", "name"),
    [
        ({"model": "llama-3-8b"}, "own", "open-8b"), ({"model": "qwen3-32b"}, "own", "qwen3-32b"),
        ({"model": "llama-2-70b"}, "nearest", "open-70b"), ({"params": "8B"}, "nearest", "open-8b"),
        ({"model": "qwen3-32b", "hosted": "open-70b"}, "asked", "open-70b"),
        ({"config": GPT_OSS}, "nearest", "open-109b-moe"),
    ],
)  # fmt: skip
def test_a_model_is_compared_with_its_own_price_or_said_not_to_be(options, whose, name):
    of = bound(**options)
    assert (of.words["whose"], of.words["class"]) == (whose, name)
    remarks = Ask("serve", REQUESTS["serve"](**options)).plan().remarks
    assert any("very model" in each for each in remarks) == (whose == "nearest")


def test_what_is_slower_than_people_read_or_wait_is_said():
    slow = {"model": "llama-3-405b", "hardware": "m3-ultra"}
    assert centre("speed.stream", **slow) < 5
    assert "slower than people read" in verdict(**slow)
    late = {"model": "llama-3-70b", "hardware": "m4-max", "prompt": "30000", "context": "32768"}
    assert centre("speed.first", **late) > 60
    assert "first word only after" in verdict(**late)
    assert not any(word in verdict() for word in ("slower", "only after"))
