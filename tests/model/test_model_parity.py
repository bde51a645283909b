"""The network against `transformers`, and directories that either side can read."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import transformers

from archipel.model.chat import render
from archipel.model.config import (
    FAMILIES,
    DecoderConfig,
    Experts,
    Family,
    InvalidConfig,
    Llama3Scaling,
)
from archipel.model.directory import read_model, write_model
from archipel.model.families import TRAITS
from archipel.model.network import Decoder, causal_attention, random_weights
from archipel.model.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from engine.engine_models import OLDEST

torch.set_num_threads(1)

BASE = DecoderConfig(
    family="llama",
    vocab_size=64,
    hidden_size=48,
    num_layers=3,
    num_heads=4,
    num_kv_heads=4,
    head_dim=12,
    intermediate_size=80,
    max_position_embeddings=128,
    tie_embeddings=False,
    bos_token_id=1,
    eos_token_ids=(2,),
    pad_token_id=0,
)
STRETCHED = Llama3Scaling(8.0, 1.0, 4.0, 32)
CONFIGS = {
    "llama": BASE,
    "llama-tied-gqa": dataclasses.replace(BASE, tie_embeddings=True, num_kv_heads=2),
    "llama-stretched-mqa": dataclasses.replace(
        BASE, rope_scaling=STRETCHED, rope_theta=5e5, num_kv_heads=1, eos_token_ids=(2, 5)
    ),
    "qwen2-gqa": dataclasses.replace(BASE, family="qwen2", num_kv_heads=2, rope_theta=1e6),
    "qwen2-tied": dataclasses.replace(BASE, family="qwen2", tie_embeddings=True),
    "qwen3-wide-heads": dataclasses.replace(BASE, family="qwen3", num_kv_heads=2, head_dim=20),
    "qwen3-tied": dataclasses.replace(BASE, family="qwen3", tie_embeddings=True, norm_epsilon=1e-5),
    "olmo2": dataclasses.replace(BASE, family="olmo2"),
    "olmo2-gqa": dataclasses.replace(BASE, family="olmo2", num_kv_heads=2),
    "mistral-wide-heads": dataclasses.replace(BASE, family="mistral", num_kv_heads=2, head_dim=16),
    "smollm3": dataclasses.replace(
        BASE, family="smollm3", num_layers=4, unrotated=(1, 3), tie_embeddings=True
    ),
    "phi3-gqa": dataclasses.replace(BASE, family="phi3", num_kv_heads=2),
    "granite": dataclasses.replace(
        BASE, family="granite", embedding_multiplier=3.0, residual_multiplier=0.4,
        attention_multiplier=0.1, logits_scaling=0.5, tie_embeddings=True,
    ),
    "granite-plain": dataclasses.replace(
        BASE, family="granite", attention_multiplier=12**-0.5, rope_scaling=STRETCHED
    ),
    "qwen3_moe": dataclasses.replace(
        BASE, family="qwen3_moe", num_kv_heads=2, head_dim=16, experts=Experts(8, 3, 24, True)
    ),
    "qwen3_moe-shares": dataclasses.replace(
        BASE, family="qwen3_moe", experts=Experts(5, 2, 24, False), tie_embeddings=True
    ),
    "olmoe": dataclasses.replace(
        BASE, family="olmoe", num_kv_heads=2, experts=Experts(8, 3, 80, False), norm_epsilon=1e-5
    ),
    "mixtral": dataclasses.replace(
        BASE, family="mixtral", num_kv_heads=2, experts=Experts(4, 2, 80, True), rope_theta=1e6
    ),
}  # fmt: skip


SOON = {"smollm3", "phi3-gqa", "granite", "qwen3_moe"}
EACH = [
    pytest.param(
        name,
        marks=[] if CONFIGS[name].family in OLDEST or name in SOON else [pytest.mark.slow],
    )
    for name in CONFIGS
]


def lively(config: DecoderConfig, seed: int = 0) -> Decoder:
    """Weights large enough that norms, biases and positions all matter."""
    model = random_weights(config, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.15)
    return model


def our_logits(model: Decoder, tokens_BT: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(tokens_BT.shape[1]).expand_as(tokens_BT)
    with torch.inference_mode():
        return model.logits(model(tokens_BT, positions, causal_attention))


def oracle(path: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(
        path,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        local_files_only=True,
    )


@pytest.mark.parametrize("name", EACH)
def test_logits_and_greedy_tokens_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = lively(CONFIGS[name])
    write_model(tmp_path / "m", model, model.config, dtype=torch.float32)
    theirs = oracle(tmp_path / "m")
    tokens = torch.randint(3, 64, (3, 40), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = theirs(tokens).logits
    ours = our_logits(model, tokens)
    assert expected.std() > 0.5, "a flat oracle would prove nothing"
    assert (ours - expected).abs().max() < 1e-4
    prompt = tokens[:, :6]
    greedy = theirs.generate(
        prompt, do_sample=False, max_new_tokens=12, eos_token_id=None, pad_token_id=0
    )
    grown = prompt
    for _ in range(12):
        grown = torch.cat((grown, our_logits(model, grown)[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(grown, greedy)


@pytest.mark.parametrize("name", EACH)
def test_a_directory_written_by_transformers_reads_back_exactly(name: str, tmp_path: Path) -> None:
    model = lively(CONFIGS[name], seed=5)
    write_model(tmp_path / "ours", model, model.config, dtype=torch.float32)
    oracle(tmp_path / "ours").save_pretrained(tmp_path / "theirs", max_shard_size="60KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
    back = read_model(tmp_path / "theirs")
    assert back.config == model.config
    state = model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in back.state_dict().items())


def test_legacy_rope_fields_mean_the_same_as_the_new_ones() -> None:
    config = CONFIGS["llama-stretched-mqa"]
    fields = config.to_hf()
    del fields["rope_parameters"]
    assert DecoderConfig.from_hf(json.loads(json.dumps(fields))) == config
    assert transformers.LlamaConfig(**fields).rope_parameters["rope_type"] == "llama3"


@pytest.mark.parametrize("make", [character_tokenizer, byte_tokenizer])
def test_the_tokenizer_we_write_is_the_tokenizer_transformers_reads(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m['content'] | trim }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    ours = make().with_chat_template(template)
    ours.write(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in ("sort qhcafm=", "a  b\n\n<eos> [1+2]'"):
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 2, 0)
    messages = [{"role": "user", "content": " hello "}, {"role": "assistant", "content": "hi"}]
    rendered = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert render(messages, template, special_tokens=ours.special_tokens) == rendered
    again = Tokenizer.from_directory(tmp_path)
    assert again.chat_template == template
    assert again.encode("ab=") == ours.encode("ab=")


SPARE = {
    "vocab_size": 64, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
"""What no reader does without."""


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_file_leaves_out_is_what_transformers_takes_for_it(family: Family) -> None:
    told = SPARE | {"model_type": family, "sliding_window": None}
    if TRAITS[family].has_experts:
        told |= {TRAITS[family].experts_key: 8, "num_experts_per_tok": 2}
        told |= {"moe_intermediate_size": 24} if family == "qwen3_moe" else {}
    ours = DecoderConfig.from_hf(told)
    theirs = transformers.AutoConfig.for_model(**told)
    assert ours.norm_epsilon == theirs.rms_norm_eps
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or 12)
    if family == "smollm3":
        assert [int(i not in ours.unrotated) for i in range(5)] == theirs.no_rope_layers
    if family == "granite":
        for name in ("embedding_multiplier", "residual_multiplier", "logits_scaling"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.attention_scale == theirs.attention_multiplier
    if ours.experts is not None:
        assert ours.experts.normalised == getattr(theirs, "norm_topk_prob", True)
        assert ours.experts.chosen == theirs.num_experts_per_tok


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("mistral", {}, "sliding_window it is 4096"),
        ("mistral", {"sliding_window": 64}, "sliding_window is 64"),
        ("phi3", {"sliding_window": 100}, "sliding_window is 100"),
        ("phi3", {"rope_scaling": {"type": "longrope"}}, "rope type is 'longrope'"),
        ("phi3", {"partial_rotary_factor": 0.75}, "partial_rotary_factor"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers"),
        ("smollm3", {"use_sliding_window": True}, "use_sliding_window"),
        ("granite", {"attention_bias": True}, "attention_bias"),
        ("granite", {"logits_scaling": 0.0}, "logits_scaling"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
        ("qwen3_moe", {"num_experts": 256}, "number of experts"),
        ("qwen3_moe", {"num_experts_per_tok": 9}, "experts per token"),
        ("olmoe", {"clip_qkv": 8.0}, "clip_qkv"),
        ("mixtral", {"num_local_experts": None}, "number of experts"),
        ("gemma3_text", {}, "model_type is 'gemma3_text'"),
    ],
)
def test_another_network_is_refused_by_name(family: str, fields: dict, said: str) -> None:
    told = SPARE | {"model_type": family, "max_position_embeddings": 8192, "num_experts": 8}
    told |= {"num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    with pytest.raises(InvalidConfig, match=said):
        DecoderConfig.from_hf(told | fields)
