"""Tiny models of families that only `transformers` computes, as directories, with the alphabet of small tasks."""

from pathlib import Path
from typing import Any

import torch

from archipel.model.stock_library import library
from archipel.model.tokenizer import character_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**SIZES, "intermediate_size": 64, "max_position_embeddings": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt_neox": WIDE | {"hidden_act": "gelu", "attention_dropout": 0.3, "hidden_dropout": 0.3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": SIZES | {"alibi": False},
    "olmo2": WIDE,
    "gemma2": WIDE | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
    "mixtral": WIDE | {"num_key_value_heads": 2, "num_local_experts": 4},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "opt": SIZES | {"ffn_dim": 64, "max_position_embeddings": 64, "word_embed_proj_dim": 32},
    "granite": WIDE | {"num_key_value_heads": 2, "logits_scaling": 0.5},
    "phi": WIDE,
}
"""Dropout that must not drop, tied heads, no positions, windows, experts, no cache, scaled and bounded logits, biases."""


def write_stock(folder: Path, family: str, **changed: Any) -> Path:
    """A directory as `save_pretrained` writes it, with weights that make some tokens likelier than others."""
    tokenizer, known = character_tokenizer(), library()
    named = {
        "vocab_size": tokenizer.vocab_size,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }
    config = known.AutoConfig.for_model(family, **(named | FAMILIES[family] | changed))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = known.AutoModelForCausalLM.from_config(config)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0.0, 0.2)
    network.save_pretrained(folder)
    tokenizer.write(folder)
    return folder
