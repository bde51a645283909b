"""`plan tune`: adapters have the parameters they have, memory goes where it is sent, time never falls for it."""

import json

import pytest

from archipel.planning.mistakes import CannotPlan
from archipel.planning.questions.tune import sheet_of
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import shelf
from planning.asked import constant, data, value

EIGHT = {"model": "llama-3-8b"}


def of(name: str, **request: object) -> float:
    """One central value, of which nothing else is computed."""
    found = sheet_of(REQUESTS["tune"](**{**EIGHT, **request}), shelf())
    return Draws(count=1).centre(found[name])


def test_adapters_have_the_parameters_that_peft_prints() -> None:
    """Llama 3 8B, every linear layer: 41,943,040 at rank 16 (with its inner width, here found from its size)."""
    assert of("tune.adapters") == pytest.approx(41_943_040, rel=1e-3)
    assert of("tune.adapters", rank="64") == pytest.approx(4 * of("tune.adapters"))
    assert of("tune.adapters", targets="attention") == pytest.approx(13_631_488, rel=1e-6)


def test_a_weight_in_nf4_takes_the_bits_of_its_block_and_of_the_blocks_of_blocks() -> None:
    assert constant("tune.bits.nf4") == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), rel=1e-4)


def test_a_model_by_its_config_is_the_one_of_the_tables() -> None:
    config = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
    }  # fmt: skip
    found = sheet_of(REQUESTS["tune"](config=json.dumps(config)), shelf())
    for name in ("tune.adapters", "memory.total", "tune.hours"):
        assert Draws(count=1).centre(found[name]) == pytest.approx(of(name), rel=2e-3)


def test_the_parts_of_memory_add_up_and_are_shared_evenly() -> None:
    rows = data("tune", **EIGHT)["tables"][0]["rows"]
    assert sum(row[1]["value"] for row in rows[:-2]) == pytest.approx(rows[-2][1]["value"])
    for part in ("weights", "adapters", "gradients", "optimiser"):
        one, four = (of(f"memory.{part}", count=count) for count in ("1", "4"))
        assert four == pytest.approx(one / 4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_leaves_the_accelerator_lies_elsewhere_and_nothing_is_lost(method: str) -> None:
    away = data("tune", method=method, offload="both", offload_to="disk", **EIGHT)
    moved = sum(
        of(f"memory.{part}", method=method) for part in ("weights", "gradients", "optimiser")
    )
    assert value(away, "memory.elsewhere", "GB") == pytest.approx(moved)
    assert value(away, "memory.total") < of("memory.total", method=method)
    memory = of("tune.hours", method=method, offload="both")
    assert of("tune.hours", method=method) < memory < value(away, "tune.hours", "h")


def test_frozen_weights_need_two_thirds_of_the_arithmetic_and_recomputation_is_not_counted_as_needed() -> (
    None
):
    whole, frozen = (of("tune.flop", method=method, rank="1") for method in ("full", "lora"))
    assert frozen / whole == pytest.approx(2 / 3, rel=0.01)
    assert of("tune.mfu") / of("tune.hardware") == pytest.approx(of("tune.flop") / of("tune.done"))
    assert of("tune.mfu", recompute="selective") == pytest.approx(
        of("tune.hardware", recompute="selective")
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"scores": "chunked"}, "memory.scores"),
        ({"recompute": "offloaded"}, "memory.activations"),
        ({"optimiser": "adamw-8bit"}, "memory.optimiser"),
        ({"method": "qlora"}, "memory.weights"),
    ],
)
def test_what_saves_memory_saves_it_where_it_says(change: dict[str, str], name: str) -> None:
    assert of(name, **change) < of(name)


def test_a_run_that_does_not_fit_is_told_what_would_and_one_of_years_that_nobody_waits() -> None:
    said = data("tune", model="llama-3-70b")["verdict"]
    assert (
        "does not fit in more than 99% of sampled worlds; what fits: weights in main memory (14 GB)"
        in said
    )
    assert "nobody waits so long" in data("tune", examples="100M", **EIGHT)["verdict"]


def test_what_cannot_be_is_refused_with_what_can() -> None:
    for request, said in (
        ({"method": "full", "weights": "nf4"}, "fp32 or bf16"),
        ({"model": "gpt-oss-20b", "targets": "all"}, "--targets attention"),
        ({"model": "llama-3-8b", "params": "8B"}, "drop --params, or drop --model"),
        ({"params": "3B", "active_params": "8B"}, "more than --params"),
    ):
        with pytest.raises(CannotPlan, match=said):
            data("tune", **request)
