"""A config.json is counted as its model is published, is cut to what is used of it, and is refused by a sentence."""

import json
from dataclasses import replace

import pytest

from archipel.planning.mistakes import CannotPlan
from archipel.planning.model_config import MAX_CONFIG_BYTES, MAX_CONFIG_DEPTH, read_config, reduced
from archipel.planning.model_shape import known_shape
from archipel.planning.tables import shelf


def config(kind, width, layers, heads, kv_heads, inner, vocabulary, **more):
    return {
        "model_type": kind, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": inner, "vocab_size": vocabulary,
        "torch_dtype": "bfloat16", **more,
    }  # fmt: skip


LLAMA = config("llama", 4096, 32, 32, 8, 14336, 128256)
QWEN_MIXTURE = config(
    "qwen3_moe", 2048, 48, 32, 4, 6144, 151936, head_dim=128, moe_intermediate_size=768, num_experts=128,
    num_experts_per_tok=8, decoder_sparse_step=1, mlp_only_layers=[],
)  # fmt: skip
GPT_OSS = config(
    "gpt_oss", 2880, 24, 64, 8, 2880, 201088, head_dim=64, num_local_experts=32, num_experts_per_tok=4,
    layer_types=["sliding_attention", "full_attention"] * 12,
)  # fmt: skip
DEEPSEEK = config(
    "deepseek_v3", 7168, 61, 128, 128, 18432, 129280, moe_intermediate_size=2048, n_routed_experts=256,
    num_experts_per_tok=8, n_shared_experts=1, first_k_dense_replace=3, kv_lora_rank=512, q_lora_rank=1536,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
)  # fmt: skip
MAVERICK = {"text_config": config(
    "llama4_text", 5120, 48, 40, 8, 8192, 202048, head_dim=128, intermediate_size_mlp=16384,
    num_local_experts=128, num_experts_per_tok=1, interleave_moe_layer_step=2,
)}  # fmt: skip
GEMMA = config("gemma2", 3584, 42, 16, 8, 14336, 256000, head_dim=256)


@pytest.mark.parametrize(
    ("fields", "billions", "active"),
    [
        (LLAMA, 8.03, 8.03),
        (config("llama", 16384, 126, 128, 8, 53248, 128256), 405.85, 405.85),
        (config("qwen2", 3584, 28, 28, 4, 18944, 152064), 7.615, 7.615),
        (config("qwen2", 896, 24, 14, 2, 4864, 151936, tie_word_embeddings=True), 0.494, 0.494),
        (config("gpt_neox", 4096, 32, 32, 32, 16384, 50432), 6.857, 6.857),
        (GEMMA, 9.24, 9.24),
        (config("mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2), 46.7, 12.9),
        (QWEN_MIXTURE, 30.5, 3.35),
        (DEEPSEEK, 671, 37.5),
        (MAVERICK, 401, 17.2),
    ],
)  # fmt: skip
def test_parameters_come_out_as_published(fields, billions, active):
    shape = read_config(json.dumps(fields), "config.json")
    assert shape.params / 1e9 == pytest.approx(billions, rel=2e-3)
    assert shape.active / 1e9 == pytest.approx(active, rel=4e-3)
    assert shape.is_mixture == (shape.active < shape.params) == (shape.experts > 0)


def test_experts_are_most_of_a_mixture_and_a_table_of_its_own_paper_agrees():
    """gpt-oss, table 1: 19.12e9 of 20.91e9 parameters are experts; 3.61e9 used, one embedding left out."""
    shape = read_config(json.dumps(GPT_OSS), "config.json")
    table = known_shape("gpt-oss-20b", shelf())
    assert shape.params == pytest.approx(table.params, rel=1e-3)
    assert shape.experts == pytest.approx(table.experts, rel=1e-3)
    assert shape.active - shape.looked_up == pytest.approx(table.active, rel=3e-3)
    for part in ("layers", "full_layers", "heads", "kv_heads", "head_width", "kv_values"):
        assert getattr(shape, part) == getattr(table, part), part


def test_keys_and_values_of_windows_and_latents_are_what_the_full_layers_keep():
    assert read_config(json.dumps(LLAMA), "").kv_values * 2 == 128 * 1024
    assert read_config(json.dumps(DEEPSEEK), "").kv_values * 2 == 70272
    assert known_shape("deepseek-v3", shelf()).kv_values == pytest.approx(70272 / 2)
    assert read_config(json.dumps(GEMMA), "").full_layers == 21


@pytest.mark.parametrize("fields", [LLAMA, QWEN_MIXTURE, GPT_OSS, DEEPSEEK, MAVERICK])
def test_a_reduced_config_has_the_same_shape_and_nothing_else(fields):
    text = reduced(json.dumps({**fields, "secret": "x" * 500}), "config.json")
    assert read_config(text, "config.json") == read_config(json.dumps(fields), "config.json")
    assert "secret" not in text
    assert "torch_dtype" not in text
    assert reduced(text, "config.json") == text


def test_quantities_name_what_is_known_and_leave_out_what_is_not():
    dense = read_config(json.dumps(LLAMA), "config.json").quantities("--config")
    assert {"model.params", "model.layers", "model.vocabulary"} <= dense.keys()
    assert not {"model.active_params", "model.experts", "model.picked"} & dense.keys()
    unsaid = replace(known_shape("llama-3-8b", shelf()), vocabulary=0.0)
    assert "model.vocabulary" not in unsaid.quantities("--model")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ("[" * 40 + "]" * 40, "deep"),
        ("[" * 100_000, "not JSON"),
        (" " * (MAX_CONFIG_BYTES + 1), "at most"),
        (json.dumps({"a": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}), "deep"),
        (json.dumps({}), "lacks hidden_size"),
        (json.dumps(LLAMA | {"vocab_size": None}), "lacks vocab_size"),
        (json.dumps(LLAMA | {"num_hidden_layers": 1e3}), "expected a whole number"),
        (json.dumps(LLAMA | {"num_hidden_layers": True}), "expected a whole number"),
        (json.dumps(LLAMA | {"num_hidden_layers": 10**6}), "from 1 to 10000"),
        (json.dumps(LLAMA | {"state_size": 16}), "give --params"),
        (json.dumps(LLAMA | {"is_encoder_decoder": True}), "give --params"),
        (json.dumps(LLAMA | {"layer_types": ["full_attention"]}), "names 1 layers"),
        (json.dumps(LLAMA | {"layer_types": ["linear_attention"] * 32}), "linear_attention"),
        (json.dumps(LLAMA | {"layer_types": 3}), "expected a list"),
        (json.dumps(QWEN_MIXTURE | {"num_experts_per_tok": 200}), "expected at most the 128 experts"),
    ],
)  # fmt: skip
def test_what_is_no_decoder_is_refused_by_a_sentence(text, said):
    with pytest.raises(CannotPlan, match=said) as refusal:
        read_config(text, "config.json")
    assert str(refusal.value).startswith("config.json")
    with pytest.raises(CannotPlan, match=said):
        reduced(text, "config.json")


def test_depth_is_bounded_where_it_says():
    def nested(levels):
        return json.dumps(LLAMA | {"more": json.loads("[" * levels + "]" * levels)})

    assert read_config(nested(MAX_CONFIG_DEPTH - 1), "").layers == 32
    with pytest.raises(CannotPlan, match="deep"):
        read_config(nested(MAX_CONFIG_DEPTH), "")


def test_a_type_that_is_no_name_is_not_said_back():
    strange = json.dumps(LLAMA | {"model_type": "{x} \x1b[31m"})
    assert read_config(strange, "config.json").title == "model of 8.03B parameters"
