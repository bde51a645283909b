"""Small random models with weights large enough that different contexts give different tokens."""

import random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from archipel.engine.engine import Request
from archipel.model.config import FAMILIES, DecoderConfig, Experts, Family
from archipel.model.families import TRAITS
from archipel.model.network import Decoder, random_weights

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

OLDEST: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "olmo2")


def each_family(*soon: Family) -> "list[ParameterSet]":
    """All families for `parametrize`: those beside the oldest, and beside `soon`, with the slow tests."""
    import pytest  # an interpreter that has vLLM, and makes these models too, has no pytest

    quick = {*OLDEST, *soon}
    return [
        pytest.param(family, marks=[] if family in quick else [pytest.mark.slow])
        for family in FAMILIES
    ]


def small_config(family: Family = "llama", **changes: Any) -> DecoderConfig:
    fields = {
        "vocab_size": 64, "hidden_size": 64, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
        "head_dim": 16, "intermediate_size": 96, "max_position_embeddings": 512,
    }  # fmt: skip
    own: dict[str, Any] = {}
    if TRAITS[family].has_experts:
        own["experts"] = Experts(6, 2, fields["intermediate_size"], family != "olmoe")
    if family == "smollm3":
        own["unrotated"] = (1,)
    if family == "granite":
        own |= {"embedding_multiplier": 4.0, "residual_multiplier": 0.5, "logits_scaling": 2.0}
        own["attention_multiplier"] = 0.2
    return DecoderConfig(family=family, **{**fields, **own, **changes})


def lively_state(config: DecoderConfig, seed: int = 0) -> dict[str, Tensor]:
    """bf16 state whose logits are far from uniform."""
    model = random_weights(config, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return {name: tensor.detach().bfloat16() for name, tensor in model.state_dict().items()}


def decoder_of(config: DecoderConfig, state: dict[str, Tensor]) -> Decoder:
    model = Decoder(config)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model.eval()


def ragged_requests(vocab_size: int, lengths: tuple[int, ...], seed: int = 0) -> list[Request]:
    """Groups of different prompt lengths, sizes, new tokens, temperatures and stop tokens."""
    rng = random.Random(seed)
    return [
        Request(
            key=str(index),
            prompt=tuple(rng.randrange(vocab_size) for _ in range(length)),
            seed=rng.randrange(2**64),
            num_rollouts=rng.choice([1, 3, 8]),
            max_new_tokens=rng.choice([1, 7, 12, 40]),
            temperature=rng.choice([1.0, 0.7, 0.0]),
            stop_tokens=(3, 9) if index % 2 else (),
        )
        for index, length in enumerate(lengths)
    ]
