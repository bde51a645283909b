"""`plan serve` beside measurements: mixtures, two formats, several accelerators, prompts, unknown prices."""

from functools import cache

import pytest

from archipel.planning.answering import Setting
from archipel.planning.asking import Ask
from archipel.planning.laws import roofline
from archipel.planning.mistakes import Conflict, UnknownName
from archipel.planning.quantity import Quantity
from archipel.planning.questions.serve import whole_sheet
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.wording import plan_text
from planning.asked import constant, data

HALF, MXFP4 = 2.0, 4.25 / 8


@cache
def bound(*overrides: str, as_of: str = "", **options: str) -> Sheet:
    """The question's sheet, of which nothing is computed that is not asked for."""
    request = REQUESTS["serve"](**options)
    return whole_sheet(
        request, Ask("serve", request, Setting(as_of=as_of), None, overrides).shelf()
    )


def value(of: Sheet, name: str, units: str = "") -> float:
    """A central value, in the unit asked for."""
    return Draws(count=1).centre(of[name].to(units) if units else of[name])


def interval(name: str, **options: str) -> tuple[float, float]:
    """The 90% interval of one answer."""
    found = Draws().estimate(bound(**options)[name])
    return found.low, found.high


def speed(**options: str) -> float:
    return value(bound(prompt="1", answer="1024", **options), "speed.stream", "token/s")


# --- mixtures -----------------------------------------------------------------------------------


def test_a_mixture_is_as_deep_as_its_active_part():
    """DeepSeek-V3 has 61 layers; a dense model of all its parameters would have over 150."""
    asked = {"params": "671B", "quant": "q8", "hardware": "h200", "accelerators": "16"}
    mixture = bound(active_params="37B", **asked)
    assert value(mixture, "model.layers") == pytest.approx(61, rel=0.03)
    assert value(bound(**asked), "model.layers") > 150
    alone = bound(params="37B", quant="q8", hardware="h200")
    assert value(mixture, "memory.kv_per_token") == pytest.approx(
        value(alone, "memory.kv_per_token")
    )


def test_fewer_active_parameters_take_the_same_weights_and_less_cache():
    dense, sparse = (
        bound(params="30B", **{"active_params": active} if active else {}) for active in ("", "3B")
    )
    assert value(sparse, "memory.weights") == pytest.approx(value(dense, "memory.weights"))
    assert value(sparse, "memory.kv") < value(dense, "memory.kv")


def test_latent_attention_stores_what_is_published_and_halves_with_its_bytes():
    """DeepSeek (2025), table 1: 70.272 KB per token in half precision, 61 x (512 + 64) values."""
    asked = {"model": "deepseek-v3", "quant": "q8", "hardware": "h200", "accelerators": "16"}
    found = value(bound(**asked), "memory.kv_per_token", "byte/token")
    assert found == pytest.approx(61 * (512 + 64) * 2)
    narrow = bound("serve.kv_bytes=1 byte", **asked)
    assert value(narrow, "memory.kv_per_token", "byte/token") == pytest.approx(found / 2)


def test_layers_that_slide_keep_no_growing_cache():
    """gpt-oss: half of the layers attend to 128 tokens."""
    found = bound(model="gpt-oss-120b", quant="mxfp4", hardware="h100")
    every = roofline.kv_bytes_per_token(36, 8, 64, 2)
    assert value(found, "memory.kv_per_token", "byte/token") == pytest.approx(every / 2)


# --- two formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt-oss-20b", "gpt-oss-120b"])
def test_the_published_checkpoint_is_experts_in_mxfp4_and_the_rest_in_half_precision(name):
    """Model card, table 1: MLP, attention, embedding; 60.8 GiB and 12.8 GiB."""
    group = f"serve.model.{name}"
    experts, params = constant(f"{group}.experts", "param"), constant(f"{group}.params", "param")
    computed = experts * MXFP4 + (params - experts) * HALF
    assert constant(f"{group}.bytes", "byte") == pytest.approx(computed, rel=0.005)
    found = bound(model=name, quant="mxfp4", hardware="h100")
    assert value(found, "memory.weights", "byte") == pytest.approx(computed, rel=0.005)


def test_a_token_reads_its_experts_in_four_bits_and_the_rest_in_half_precision():
    """In eight bits where the files of llama.cpp are read."""
    found = bound(model="gpt-oss-120b", quant="mxfp4", hardware="h100", prompt="1")
    picked = 5.1e9 - 1.54e9
    cache = value(found, "memory.kv_per_token", "byte/token") * (1 + 150)
    read = picked * MXFP4 + 1.54e9 * HALF + cache
    assert value(found, "speed.read", "byte") == pytest.approx(read, rel=1e-6)
    small = bound(model="gpt-oss-120b", quant="mxfp4", hardware="dgx-spark", prompt="1")
    narrower = 1.54e9 * (HALF - 1.0625)
    assert value(small, "speed.read", "byte") == pytest.approx(read - narrower, rel=1e-6)


def test_many_streams_read_the_whole_checkpoint_but_the_embedding():
    found = bound(
        model="gpt-oss-20b", quant="mxfp4", hardware="h100", batch="100000", prompt="1",
        answer="1", context="2",
    )  # fmt: skip
    assert 0.98 < value(found, "speed.touched") < 1


def test_other_quantisations_of_the_same_model_count_every_weight():
    found = bound(model="gpt-oss-20b", quant="q8", hardware="h100")
    each = constant("serving.bytes_per_param.q8_0", "byte/param")
    assert value(found, "memory.weights", "byte") == pytest.approx(2.09e10 * each)


# --- several accelerators -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hardware", "count", "quant", "measured"),
    [
        ("rtx4090", "2", "q4", 19.06), ("rtx4090", "4", "q4", 18.83), ("rtx4090", "8", "bf16", 6.45),
        ("rtx3090", "2", "q4", 16.29), ("rtx3090", "6", "bf16", 5.82),
    ],
)  # fmt: skip
def test_layers_split_give_one_stream_no_speed(hardware, count, quant, measured):
    """dai-gpu-benchmarks, May 2024: Llama 3 70B, llama.cpp, 1,024 tokens."""
    asked = {"model": "llama-3-70b", "quant": quant, "hardware": hardware, "accelerators": count}
    assert speed(**asked) == pytest.approx(measured, rel=0.1)


def test_more_cards_that_share_layers_change_memory_and_not_speed():
    two, eight = (bound(accelerators=count) for count in ("2", "8"))
    assert value(eight, "speed.stream") == pytest.approx(value(two, "speed.stream"))
    assert value(eight, "memory.usable") == pytest.approx(4 * value(two, "memory.usable"))
    one = bound()
    assert value(two, "speed.stream") < value(one, "speed.stream")


def test_a_fast_link_splits_tensors_and_a_slow_one_layers_unless_asked():
    def ratio(hardware: str, **options: str) -> float:
        one = bound(hardware=hardware)
        two = bound(hardware=hardware, accelerators="2", **options)
        return value(two, "speed.bandwidth") / value(one, "speed.bandwidth")

    assert 1 < ratio("h100") < 2
    assert ratio("rtx4090") < 1
    assert ratio("h100", split="layers") == pytest.approx(ratio("rtx4090"))
    assert 1 < ratio("rtx4090", split="tensor") < ratio("h100")


def test_a_split_is_said_and_a_wrong_one_refused():
    plan = Ask("serve", REQUESTS["serve"](accelerators="2")).plan()
    assert any("--split tensor" in remark for remark in plan.remarks)
    with pytest.raises(UnknownName, match="'layers'"):
        Ask("serve", REQUESTS["serve"](accelerators="2", split="layer")).plan()
    with pytest.raises(Conflict, match="--accelerators"):
        Ask("serve", REQUESTS["serve"](split="tensor")).plan()


# --- prompts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hardware", "quant", "measured"),
    [
        ("rtx4090", "bf16", 9056.26), ("rtx4090", "q4", 6898.71), ("rtx3090", "bf16", 4239.64),
        ("rtx3090", "q4", 3865.39), ("m2-ultra", "q4", 1023.89), ("m2-ultra", "bf16", 1202.74),
        ("h100-pcie", "bf16", 10342.63), ("h100-pcie", "q4", 7760.16), ("l40s", "q4", 5908.52),
        ("a100-80", "q4", 5863.92),
    ],
)  # fmt: skip
def test_measured_prompts_lie_within_the_interval(hardware, quant, measured):
    """dai-gpu-benchmarks, May 2024: Llama 3 8B, llama.cpp, 1,024 tokens."""
    low, high = interval(
        "speed.prompt",
        model="llama-3-8b",
        quant=quant,
        hardware=hardware,
        prompt="1024",
        answer="1",
        as_of="2024-05",
    )
    assert low < measured < high


@pytest.mark.parametrize(
    ("length", "measured"), [("1024", 1023.89), ("4096", 979.47), ("8192", 913.55)]
)
def test_longer_prompts_read_slower_as_measured(length, measured):
    """dai-gpu-benchmarks: Llama 3 8B q4 on an M2 Ultra."""
    found = bound(
        model="llama-3-8b",
        hardware="m2-ultra",
        context="16384",
        prompt=length,
        answer="1",
        as_of="2024-05",
    )
    assert value(found, "speed.prompt", "token/s") == pytest.approx(measured, rel=0.08)


def test_causal_attention_does_two_flop_per_layer_width_and_token():
    """Half of 4 x layers x width x length: Llama 3 8B, 32 layers of 32 heads of 128."""
    attended, length = 32 * 32 * 128, 8192
    flop = roofline.prompt_seconds_per_token(8.03e9, attended, length, 1.0, 1.0)
    summed = sum(2 * 8.03e9 + 4 * attended * place for place in range(length)) / length
    assert flop == pytest.approx(summed, rel=1e-4)
    assert roofline.prompt_seconds_per_token(8e9, attended, 0, 1.0, 1.0) == pytest.approx(
        roofline.compute_seconds(8e9, 1, 1.0, 1.0)
    )


# --- a machine whose price nobody knows ---------------------------------------------------------


@pytest.mark.parametrize("hardware", ["tpu-v5e", "a10g"])
def test_without_a_price_speed_and_memory_are_answered_and_the_cost_is_unknown(hardware):
    plan = Ask("serve", REQUESTS["serve"](model="llama-3-8b", hardware=hardware)).plan()
    assert "unknown" in plan.said()
    assert "--price" in plan.said()
    assert any("give --price" in remark for remark in plan.remarks)
    cells = [cell for table in plan.tables for row in table.rows for cell in row]
    names = {cell.name for cell in cells if isinstance(cell, Quantity)}
    assert "own.cost" not in names
    assert "speed.stream" in {answer.name for answer in plan.answers}


def test_a_price_changes_the_cost_and_nothing_of_the_speed():
    without = bound(hardware="tpu-v5e")
    priced = bound(hardware="tpu-v5e", price="5000 USD")
    for name in ("speed.stream", "speed.prompt", "memory.needed"):
        assert value(without, name) == pytest.approx(value(priced, name))
    assert priced.get("own.cost") is not None
    assert without.get("own.cost") is None


@pytest.mark.parametrize(
    "options",
    [
        {"hardware": "tpu-v5e"}, {"model": "gpt-oss-20b", "quant": "mxfp4"},
        {"accelerators": "2", "split": "tensor"}, {"hardware": "h100", "accelerators": "8"},
        {"params": "30B", "active_params": "3B", "quant": "mxfp4"},
    ],
)  # fmt: skip
def test_each_of_these_still_fits_a_screen(options):
    assert len(plan_text(data("serve", **options)).splitlines()) <= 125
    assert len(plan_text(data("serve", **options), brief=True).splitlines()) <= 45
