"""Properties of the decoder itself: causality, packing, purity of its tables."""

import dataclasses

import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.model.network import causal_attention, packed_attention, random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import ModelSection

torch.set_num_threads(1)

FAMILIES = ("llama", "qwen2", "qwen3", "olmo2")


def tiny(family: str = "llama", **changes: object) -> DecoderConfig:
    section = ModelSection(
        family=family,  # type: ignore[arg-type] - parametrised over the literal's values
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    return dataclasses.replace(
        DecoderConfig.from_section(section, character_tokenizer()), **changes
    )


def positions_like(tokens_BT: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens_BT.shape[1]).expand_as(tokens_BT)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_later_token_never_changes_an_earlier_hidden_state(family: str) -> None:
    model = random_weights(tiny(family), seed=1)
    tokens = torch.randint(0, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 64
    before = model(tokens, positions_like(tokens), causal_attention)
    after = model(changed, positions_like(tokens), causal_attention)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_agrees_with_a_float64_oracle(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 10, 8, generator=generator).to(dtype)
    k, v = (torch.randn(2, 3, 10, 8, generator=generator).to(dtype) for _ in range(2))
    segments = torch.tensor([[0] * 10, [0] * 4 + [1] * 6])
    visible = (segments[:, :, None] == segments[:, None, :]) & torch.ones(10, 10).tril().bool()
    scores = q.double() @ k.double().repeat_interleave(2, 1).transpose(-1, -2) / 8**0.5
    weights = scores.masked_fill(~visible[:, None], float("-inf")).softmax(-1)
    expected = weights @ v.double().repeat_interleave(2, 1)
    tolerance = {"rtol": 0, "atol": 1e-6 if dtype == torch.float32 else 2e-2}
    packed = packed_attention(segments)(0, q, k, v)
    torch.testing.assert_close(packed.double(), expected, **tolerance)
    causal = causal_attention(0, q, k, v)
    torch.testing.assert_close(causal[:1].double(), expected[:1], **tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_sequences_give_the_hidden_states_of_separate_ones(family: str) -> None:
    model = random_weights(tiny(family), seed=2)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randint(0, 64, (1, length), generator=generator) for length in (5, 8, 3)]
    packed = torch.cat(parts, dim=1)
    positions = torch.cat([positions_like(part) for part in parts], dim=1)
    segments = torch.cat([torch.full_like(part, i) for i, part in enumerate(parts)], dim=1)
    together = model(packed, positions, packed_attention(segments))
    alone = torch.cat(
        [model(part, positions_like(part), causal_attention) for part in parts], dim=1
    )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_random_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = random_weights(tiny(), seed=7).state_dict()
    torch.manual_seed(6)
    second = random_weights(tiny(), seed=7).state_dict()
    other = random_weights(tiny(), seed=8).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_rotary_tables_stay_out_of_the_state_and_out_of_casts() -> None:
    model = random_weights(tiny(), seed=0)
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    model(tokens, positions_like(tokens), causal_attention)
    model.to(torch.bfloat16)
    cos, sin = model.model.rotary.at(positions_like(tokens))
    assert cos.dtype == sin.dtype == torch.float32
    assert not [name for name in model.state_dict() if "rotary" in name]
    assert "lm_head.weight" not in model.state_dict()


def test_a_model_first_used_for_sampling_can_still_be_trained() -> None:
    model = random_weights(tiny(), seed=0)
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    with torch.inference_mode():
        model(tokens, positions_like(tokens), causal_attention)
    model.logits(model(tokens, positions_like(tokens), causal_attention)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_bitwise_the_same_in_any_batch_of_four_or_more(dtype: torch.dtype) -> None:
    """Position-wise layers only: attention across rows is the engine's own."""
    model = random_weights(tiny("qwen3"), seed=3).to(dtype)
    tokens = torch.randint(0, 64, (32, 1), generator=torch.Generator().manual_seed(0))
    positions = torch.full_like(tokens, 3)

    def rows(count: int) -> torch.Tensor:
        return model.logits(model(tokens[:count], positions[:count], lambda layer, q, k, v: q + 0))

    with torch.inference_mode():
        whole = rows(32)
        assert all(torch.equal(rows(count), whole[:count]) for count in (4, 5, 8, 31))
