"""Random shapes and settings of every family, against `transformers`: whole logits, and the directory read back."""

import random
from pathlib import Path

import pytest
import torch

from archipel.model.config import FAMILIES, DecoderConfig, Experts, Family, Llama3Scaling
from archipel.model.directory import read_model, write_model
from archipel.model.families import TRAITS
from model.test_model_parity import lively, oracle, our_logits

SEEDS = 4


def drawn(family: Family, seed: int) -> DecoderConfig:
    """Anything that the family's files may say."""
    rng = random.Random(f"{family} {seed}")
    kv_heads = rng.choice([1, 2, 3])
    heads = kv_heads * rng.choice([1, 2, 4])
    has_own_dim = family in ("qwen3", "qwen3_moe", "mistral", "mixtral", "llama", "qwen2")
    dim = rng.choice([6, 8, 14, 16])
    hidden = heads * dim * (rng.choice([1, 2]) if has_own_dim else 1)
    layers = rng.choice([1, 2, 4, 5])
    own: dict = {}
    if TRAITS[family].has_experts:
        count = rng.choice([1, 3, 8])
        normalised = TRAITS[family].normalises or rng.random() < 0.5
        inner = rng.choice([10, 33])
        own["experts"] = Experts(count, rng.randint(1, count), inner, normalised)
    if family == "smollm3":
        own["unrotated"] = tuple(i for i in range(layers) if rng.random() < 0.4)
    if family == "granite":
        own |= {
            "embedding_multiplier": rng.uniform(0.5, 12),
            "residual_multiplier": rng.uniform(0.2, 1),
        }
        own |= {
            "attention_multiplier": rng.uniform(0.02, 0.6),
            "logits_scaling": rng.uniform(0.3, 8),
        }
    scaled = rng.random() < 0.4 and family != "phi3"
    inner = 33 if "experts" not in own or family == "qwen3_moe" else own["experts"].width
    return DecoderConfig(
        family, rng.choice([33, 64, 200]), hidden, layers, heads, kv_heads, dim, inner, 96,
        norm_epsilon=rng.choice([1e-5, 1e-6]), rope_theta=rng.choice([1e4, 5e5]),
        rope_scaling=Llama3Scaling(rng.choice([2.0, 8.0]), 1.0, 4.0, 32) if scaled else None,
        tie_embeddings=rng.random() < 0.5, eos_token_ids=(2,), **own,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("family", FAMILIES)
def test_any_settings_of_a_family_are_followed(family: Family, seed: int, tmp_path: Path) -> None:
    config = drawn(family, seed)
    model = lively(config, seed)
    write_model(tmp_path / "m", model, config, dtype=torch.float32)
    tokens = torch.randint(
        0, config.vocab_size, (2, 60), generator=torch.Generator().manual_seed(seed)
    )
    theirs = oracle(tmp_path / "m")
    with torch.inference_mode():
        expected = theirs(tokens).logits
    scale = max(1.0, float(expected.abs().max()) / 10)
    assert (our_logits(model, tokens) - expected).abs().max() < 1e-4 * scale
    theirs.save_pretrained(tmp_path / "back")
    back = read_model(tmp_path / "back")
    assert back.config == config
    state = model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in back.state_dict().items())
