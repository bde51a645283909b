"""What a decoder looks like: one frozen description for all families of `model.families`.

Parts: `DecoderConfig`; from and to a Hugging Face `config.json` (`config_hf` reads it).
Law: a setting that this network does not implement is refused, never ignored.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from archipel.model.config_hf import every_fourth, experts_to_hf, fields_from_hf
from archipel.model.families import (
    EXACT_FAMILIES,
    FAMILIES,
    TRAITS,
    Experts,
    Family,
    InvalidConfig,
    Llama3Scaling,
    Traits,
)
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import ModelSection

__all__ = [
    "EXACT_FAMILIES",
    "FAMILIES",
    "DecoderConfig",
    "Experts",
    "Family",
    "InvalidConfig",
    "Llama3Scaling",
]

_BOUNDS = {
    "vocab_size": (1, 1_048_576),
    "hidden_size": (2, 65_536),
    "num_layers": (1, 512),
    "num_heads": (1, 1024),
    "num_kv_heads": (1, 1024),
    "head_dim": (2, 1024),
    "intermediate_size": (1, 1_048_576),
    "max_position_embeddings": (1, 4_194_304),
}
"""Inclusive limits: a config file comes from outside."""
_MULTIPLIERS = (
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
)


@dataclass(frozen=True)
class DecoderConfig:
    """Architecture and special tokens of one decoder."""

    family: Family
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    norm_epsilon: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: Llama3Scaling | None = None
    tie_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    """Sampling any of these ends a completion."""
    pad_token_id: int | None = None
    unrotated: tuple[int, ...] = ()
    """Layers whose queries and keys know no positions (SmolLM3)."""
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    """Factor on what each block adds to the residual stream (Granite)."""
    attention_multiplier: float | None = None
    """Of the scores; None: 1/sqrt(head_dim)."""
    logits_scaling: float = 1.0
    """What logits are divided by (Granite)."""
    experts: Experts | None = None
    """Of a family with mixtures of experts."""
    sampling_defaults: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    """How its makers sample it (generation_config.json): nothing of ours uses it, others do."""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InvalidConfig(f"family is {self.family!r}; expected one of {', '.join(FAMILIES)}")
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidConfig(f"{name} is {value!r}; expected an integer in [{low}, {high}]")
        if self.num_heads % self.num_kv_heads:
            raise InvalidConfig(
                f"num_heads = {self.num_heads} is not a multiple of num_kv_heads = {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise InvalidConfig(f"head_dim = {self.head_dim} is odd; rotary embedding needs pairs")
        if not (0 < self.norm_epsilon < 1 and 0 < self.rope_theta < 1e12):
            raise InvalidConfig(
                f"norm_epsilon = {self.norm_epsilon}, rope_theta = {self.rope_theta}: out of range"
            )
        self._check_traits()
        for token_id in (self.bos_token_id, self.pad_token_id, *self.eos_token_ids):
            if token_id is not None and not 0 <= token_id < self.vocab_size:
                raise InvalidConfig(
                    f"special token id {token_id} is outside the vocabulary of {self.vocab_size}"
                )

    def _check_traits(self) -> None:
        for name in _MULTIPLIERS:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 < value < 1e6):
                raise InvalidConfig(f"{name} is {value!r}; expected a positive number")
        if not all(0 <= layer < self.num_layers for layer in self.unrotated):
            raise InvalidConfig(
                f"layers without positions are {self.unrotated!r:.60}: no such layers"
            )
        if (self.experts is not None) != self.traits.has_experts:
            raise InvalidConfig(
                f"experts are {self.experts}; expected some in {', '.join(_with_experts())} and nowhere else"
            )

    @property
    def traits(self) -> Traits:
        """In what the family differs from others."""
        return TRAITS[self.family]

    @property
    def qkv_bias(self) -> bool:
        """Whether the query, key and value projections have a bias."""
        return self.traits.qkv_bias

    @property
    def qk_norm(self) -> Literal["none", "head", "full"]:
        """RMSNorm on queries and keys: per head (Qwen3) or over all heads (OLMo 2)."""
        return self.traits.qk_norm

    @property
    def norm_placement(self) -> Literal["pre", "post"]:
        """Norm before each block, or after it inside the residual branch (OLMo 2)."""
        return self.traits.norm_placement

    @property
    def attention_scale(self) -> float:
        """What scores of queries and keys are multiplied by."""
        given = self.attention_multiplier
        return float(self.head_dim**-0.5) if given is None else given

    @classmethod
    def from_section(cls, section: ModelSection, tokenizer: Tokenizer) -> Self:
        """The architecture that a recipe asks for, with the tokenizer's vocabulary."""
        return cls(
            family=section.family,
            vocab_size=tokenizer.vocab_size,
            hidden_size=section.hidden_size,
            num_layers=section.num_layers,
            num_heads=section.num_heads,
            num_kv_heads=section.num_kv_heads,
            head_dim=section.head_dim or section.hidden_size // section.num_heads,
            intermediate_size=section.intermediate_size,
            max_position_embeddings=section.max_position_embeddings,
            rope_theta=section.rope_theta,
            tie_embeddings=section.tie_embeddings,
            bos_token_id=tokenizer.bos_id,
            eos_token_ids=tokenizer.stop_ids,
            pad_token_id=tokenizer.pad_id,
            unrotated=every_fourth(section.num_layers) if section.family == "smollm3" else (),
            experts=_experts_of(section),
        )

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any]) -> Self:
        """Translate the contents of a Hugging Face `config.json`.

        Raises:
            InvalidConfig: another architecture, a missing or malformed field, or a setting
                that this network does not implement.
        """
        given = fields_from_hf(fields)
        try:
            return cls(**given)
        except InvalidConfig:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise InvalidConfig(f"config.json has a malformed field: {error}") from None

    def to_hf(self) -> dict[str, Any]:
        """The contents of `config.json` for this decoder; `from_hf` reads them back unchanged."""
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": self.rope_theta}
        if self.rope_scaling is not None:
            rope |= {"rope_type": "llama3"} | asdict(self.rope_scaling)
        eos = self.eos_token_ids
        fields = {
            "model_type": self.family,
            "architectures": [self.traits.architecture],
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.norm_epsilon,
            "rope_parameters": rope,
            # Readers older than `rope_parameters` look for these two.
            "rope_theta": self.rope_theta,
            "rope_scaling": None if self.rope_scaling is None else rope,
            "tie_word_embeddings": self.tie_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": None if not eos else eos[0] if len(eos) == 1 else list(eos),
            "pad_token_id": self.pad_token_id,
            "hidden_act": "silu",
        }
        return fields | self._of_the_family()

    def _of_the_family(self) -> dict[str, Any]:
        """What only some families' files say."""
        fields: dict[str, Any] = {} if self.qkv_bias else {"attention_bias": False}
        if self.family in ("mistral", "mixtral", "phi3"):
            fields["sliding_window"] = None
        if self.family == "smollm3":
            turned = [int(layer not in self.unrotated) for layer in range(self.num_layers)]
            fields["no_rope_layers"] = turned
        if self.family == "granite":
            fields |= {name: getattr(self, name) for name in _MULTIPLIERS}
            fields["attention_multiplier"] = self.attention_scale
        if self.experts is not None:
            fields |= experts_to_hf(self.family, self.experts)
        return fields


def _experts_of(section: ModelSection) -> Experts | None:
    if not TRAITS[section.family].has_experts:
        return None
    return Experts(
        count=section.num_experts,
        chosen=section.experts_per_token,
        width=section.intermediate_size,
        normalised=section.normalises_experts,
    )


def _with_experts() -> list[Family]:
    return [family for family, traits in TRAITS.items() if traits.has_experts]
