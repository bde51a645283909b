"""A decoder's shape from a Hugging Face `config.json`, counted parameter by parameter.

Parts: `read_config` (bytes of a stranger's file into a shape), `reduced` (the same file with nothing but what is
used of it, short enough to be kept in a saved plan).
Law: no disk; a file is read within named bounds, only keys of `_NUMBERS` and `_OTHERS` are
used, and a network that is counted wrong without further keys is refused. Parameters are counted as the
architectures are published: attention with grouped heads (Ainslie et al. 2023, arXiv 2305.13245) or with a latent
(DeepSeek-AI 2024, arXiv 2405.04434, section 2.1), gated feed-forward of 3 x width x inner (Shazeer 2020, arXiv
2002.05202), experts with a router (Fedus et al. 2021, arXiv 2101.03961).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archipel.planning.mistakes import CannotPlan
from archipel.planning.model_shape import ModelShape

MAX_CONFIG_BYTES = 1024 * 1024
"""Of a config.json; real ones have a few thousand."""
MAX_CONFIG_DEPTH = 16
"""Of objects and lists within each other."""
MOST_LAYERS, MOST = 10_000, 1 << 40
"""No shape has more layers, or any number above the second."""

LEAST_PARAMS, MOST_PARAMS = 1e3, 1e16
"""As of --params."""

_NUMBERS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "vocab_size", "num_local_experts", "num_experts", "n_routed_experts",
    "num_experts_per_tok", "moe_intermediate_size", "n_shared_experts", "shared_expert_intermediate_size",
    "first_k_dense_replace", "moe_layer_freq", "decoder_sparse_step", "interleave_moe_layer_step",
    "intermediate_size_mlp", "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
    "v_head_dim", "sliding_window_pattern",
)  # fmt: skip
_OTHERS = ("model_type", "tie_word_embeddings", "layer_types", "mlp_only_layers")
_OTHER_NETWORKS = (
    "is_encoder_decoder", "encoder_layers", "state_size", "ssm_cfg", "mamba_d_state", "ssm_state_size",
    "linear_num_key_heads", "attn_layer_period", "hybrid_override_pattern", "kv_channels",
)  # fmt: skip
"""Keys of networks that are no decoder of attention and feed-forward layers alone."""
_TIED = ("gemma", "gemma2", "gemma3", "gemma3_text", "cohere", "cohere2", "smollm3")
"""Types whose silent files share the embedding with the last layer."""
_UNGATED = ("gpt_neox", "phi", "starcoder2", "nemotron")
"""Types whose feed-forward has two matrices instead of three."""
_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
"""Of so many layers one sees everything, where a silent file slides a window over the others."""

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""What different types call how many there are."""
_ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers; the last two see a window, whose keys and values do not grow with the text."""


def read_config(text: str | bytes, where: str) -> ModelShape:
    """The shape that a config.json describes; a model of several parts by its text part alone.

    Raises:
        CannotPlan: too large, too deep, not JSON, a key missing or not a number, or another kind of network.
    """
    fields = _fields(text, where)
    return _Config(fields, where).shape()


def reduced(text: str | bytes, where: str) -> str:
    """The same config as JSON with nothing but the keys that are used; `read_config` reads it alike.

    Raises:
        CannotPlan: as `read_config`.
    """
    fields = _fields(text, where)
    _Config(fields, where).shape()
    return json.dumps({key: fields[key] for key in sorted(fields)}, separators=(",", ":"))


def _fields(text: str | bytes, where: str) -> dict[str, Any]:
    """The used keys of the object, of its text part where it has one."""
    data = text.encode(errors="replace") if isinstance(text, str) else text
    if len(data) > MAX_CONFIG_BYTES:
        raise CannotPlan(
            f"{where}: {len(data)} bytes, expected a config.json of at most {MAX_CONFIG_BYTES}"
        )
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CannotPlan(
            f"{where}: expected the config.json of a model; it is not JSON ({str(error)[:80]})"
        ) from None
    if _deeper(found):
        raise CannotPlan(
            f"{where}: nested more than {MAX_CONFIG_DEPTH} deep, which no config.json of a model is"
        )
    if not isinstance(found, dict):
        raise CannotPlan(f"{where}: got {type(found).__name__}, expected a JSON object")
    inner = found.get("text_config")
    if isinstance(inner, dict):
        outer = ("model_type", "tie_word_embeddings")
        found = {key: found[key] for key in outer if key in found} | inner
    for key in _OTHER_NETWORKS:
        if found.get(key):
            raise CannotPlan(
                f"{where}: {key} is set: a network with other parts than attention and feed-forward, which is not "
                "counted here; give --params and --active-params instead"
            )
    return {key: value for key, value in found.items() if key in _NUMBERS or key in _OTHERS}


def _deeper(found: Any) -> bool:
    level = [found]
    for _ in range(MAX_CONFIG_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


@dataclass(frozen=True)
class _Config:
    """The used keys of one file."""

    fields: Mapping[str, Any]
    where: str

    def number(self, key: str, otherwise: int | None = None, least: int = 1) -> int:
        """A key's whole number, or `otherwise` where the file is silent."""
        found = self.fields.get(key)
        if found is None and otherwise is not None:
            return otherwise
        if found is None:
            raise CannotPlan(
                f"{self.where} lacks {key}, without which this model cannot be counted; add it, or give --params"
            )
        most = MOST_LAYERS if key == "num_hidden_layers" else MOST
        if type(found) is not int or not least <= found <= most:
            raise CannotPlan(
                f"{self.where}: {key} is {found!r:.40}, expected a whole number from {least} to {most}"
            )
        return found

    def listed(self, key: str) -> list[Any]:
        """A key's list, one entry a layer at most; empty where the file is silent."""
        found = self.fields.get(key) or []
        if not isinstance(found, list) or len(found) > self.layers:
            raise CannotPlan(
                f"{self.where}: {key} is {found!r:.40}, expected a list of at most {self.layers} layers"
            )
        return found

    @property
    def layers(self) -> int:
        """How many."""
        return self.number("num_hidden_layers")

    @property
    def kind(self) -> str:
        """The type that the file names, if a name is what it says."""
        found = self.fields.get("model_type")
        is_name = isinstance(found, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", found)
        return str(found) if is_name else "model"

    def shape(self) -> ModelShape:
        """Everything counted."""
        width, vocabulary = self.number("hidden_size"), self.number("vocab_size")
        heads = self.number("num_attention_heads")
        latent = self.fields.get("kv_lora_rank") is not None
        attention, head_width, kept = self._latent() if latent else self._grouped()
        experts, picked, rest = self._feed_forward()
        tied = self.fields.get("tie_word_embeddings", self.kind in _TIED)
        if tied not in (True, False, None):
            raise CannotPlan(
                f"{self.where}: tie_word_embeddings is {tied!r:.40}, expected true or false"
            )
        norms = width * (2 * self.layers + 1)
        every = rest + self.layers * attention + vocabulary * width * (1 if tied else 2) + norms
        full = self.layers if latent else self._full_layers()
        params = float(every + experts)
        if not LEAST_PARAMS <= params <= MOST_PARAMS:
            raise CannotPlan(
                f"{self.where}: {params:.3g} parameters by its numbers, expected {LEAST_PARAMS:g} to {MOST_PARAMS:g}"
            )
        return ModelShape(
            title=f"{self.kind} of {params / 1e9:.3g}B parameters",
            params=params, active=float(every + picked), layers=self.layers, full_layers=full, heads=heads,
            kv_heads=self.number("num_key_value_heads", heads), head_width=head_width, kv_values=full * kept,
            width=width, vocabulary=vocabulary, experts=experts, picked=picked,
            looked_up=0.0 if tied else float(vocabulary * width),
        )  # fmt: skip

    def _grouped(self) -> tuple[int, float, float]:
        """Parameters of a layer's attention, a head's width, numbers kept of a token, with grouped heads."""
        width, heads = self.number("hidden_size"), self.number("num_attention_heads")
        kv_heads = self.number("num_key_value_heads", heads)
        if kv_heads > heads:
            raise CannotPlan(
                f"{self.where}: num_key_value_heads is {kv_heads}, expected at most the {heads} heads that share them"
            )
        each = self.number("head_dim", max(width // heads, 1))
        return 2 * width * each * (heads + kv_heads), each, 2 * kv_heads * each

    def _latent(self) -> tuple[int, float, float]:
        """The same where keys and values are made from a latent."""
        width, heads = self.number("hidden_size"), self.number("num_attention_heads")
        latent, turned = self.number("kv_lora_rank"), self.number("qk_rope_head_dim")
        key, value = self.number("qk_nope_head_dim") + turned, self.number("v_head_dim")
        query = self.number("q_lora_rank", 0)
        asked = query * (width + heads * key) if query else width * heads * key
        stored = width * (latent + turned) + latent * heads * (key - turned + value)
        return asked + stored + heads * value * width, (key + value) / 2, latent + turned

    def _feed_forward(self) -> tuple[int, int, int]:
        """Parameters of all experts, of those that a token picks, and of what every token uses."""
        width, inner = self.number("hidden_size"), self.number("intermediate_size")
        matrices = (2 if self.kind in _UNGATED else 3) * width
        count = max(self.number(key, 0, least=0) for key in _EXPERTS)
        if count <= 1:
            return 0, 0, self.layers * matrices * inner
        sparse, picked = self._sparse_layers(), self.number("num_experts_per_tok")
        if picked > count:
            raise CannotPlan(
                f"{self.where}: num_experts_per_tok is {picked}, expected at most the {count} experts"
            )
        each = self.number("moe_intermediate_size", inner)
        shared = self.number("shared_expert_intermediate_size", 0, least=0)
        shared += self.number("n_shared_experts", 0, least=0) * each
        shared += each if self.kind.startswith("llama4") else 0
        dense = self.number("intermediate_size_mlp", inner)
        always = (
            sparse * (matrices * shared + width * count) + (self.layers - sparse) * matrices * dense
        )
        one = sparse * matrices * each
        return one * count, one * picked, always

    def _sparse_layers(self) -> int:
        """Layers with experts: all but the first, or every so many, or those not listed as dense."""
        every = max(
            self.number("interleave_moe_layer_step", 1), self.number("decoder_sparse_step", 1),
            self.number("moe_layer_freq", 1),
        )  # fmt: skip
        first = min(self.number("first_k_dense_replace", 0, least=0), self.layers)
        dense = self.listed("mlp_only_layers")
        return sum((i + 1) % every == 0 and i not in dense for i in range(first, self.layers))

    def _full_layers(self) -> int:
        """Layers whose keys and values grow with the text."""
        kinds = self.listed("layer_types")
        if kinds:
            others = {str(kind) for kind in kinds} - _ATTENDING
            if others or len(kinds) != self.layers:
                raise CannotPlan(
                    f"{self.where}: layer_types names {len(kinds)} layers and {sorted(others)!r:.60}; expected "
                    f"{self.layers}, each one of {', '.join(sorted(_ATTENDING))}"
                )
            return max(kinds.count("full_attention"), 1)
        every = self.number("sliding_window_pattern", _EVERY.get(self.kind, 1))
        return max(self.layers // every, 1)
