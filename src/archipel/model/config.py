"""What a decoder looks like: one frozen description for four families of open models.

Parts: `DecoderConfig`, `Llama3Scaling`; translation from and to a Hugging Face `config.json`.
Law: a setting that this network does not implement is refused, never ignored.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import ModelSection

Family = Literal["llama", "qwen2", "qwen3", "olmo2"]
FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "olmo2")

_ARCHITECTURES: dict[Family, str] = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
}
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

# Hugging Face classes fall back on these when the file is silent.
_DEFAULT_EPSILON: dict[Family, float] = {"llama": 1e-6, "qwen2": 1e-6, "qwen3": 1e-6, "olmo2": 1e-5}
_ONLY_VALUES: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "mlp_bias": (False,),
    "attention_bias": (False,),
    "use_sliding_window": (False,),
    "quantization_config": (),
    "compression_config": (),
    "partial_rotary_factor": (1.0,),
    "is_causal": (True,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "use_bidirectional_attention": (False,),
}
"""Settings of other architectures; present with another value, they mean another network."""


class InvalidConfig(ValueError):
    """The description is not one of a decoder that this network implements."""


@dataclass(frozen=True)
class Llama3Scaling:
    """Rotary frequencies stretched for long context (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def __post_init__(self) -> None:
        if not (self.factor >= 1 and 0 < self.low_freq_factor < self.high_freq_factor):
            raise InvalidConfig(
                f"llama3 rope scaling got {self}; expected factor >= 1 and 0 < low < high"
            )
        if self.original_max_position_embeddings < 1:
            raise InvalidConfig("llama3 rope scaling: original_max_position_embeddings < 1")


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
        for token_id in (self.bos_token_id, self.pad_token_id, *self.eos_token_ids):
            if token_id is not None and not 0 <= token_id < self.vocab_size:
                raise InvalidConfig(
                    f"special token id {token_id} is outside the vocabulary of {self.vocab_size}"
                )

    @property
    def qkv_bias(self) -> bool:
        """Whether the query, key and value projections have a bias."""
        return self.family == "qwen2"

    @property
    def qk_norm(self) -> Literal["none", "head", "full"]:
        """RMSNorm on queries and keys: per head (Qwen3) or over all heads (OLMo 2)."""
        kinds: dict[Family, Literal["head", "full"]] = {"qwen3": "head", "olmo2": "full"}
        return kinds.get(self.family, "none")

    @property
    def norm_placement(self) -> Literal["pre", "post"]:
        """Norm before each block, or after it inside the residual branch (OLMo 2)."""
        return "post" if self.family == "olmo2" else "pre"

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
        )

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any]) -> Self:
        """Translate the contents of a Hugging Face `config.json`.

        Raises:
            InvalidConfig: another architecture, a missing or malformed field, or a setting
                that this network does not implement.
        """
        family = fields.get("model_type")
        if family not in FAMILIES:
            raise InvalidConfig(
                f"model_type is {family!r:.60}; expected one of {', '.join(FAMILIES)}"
            )
        _refuse_other_networks(fields)
        try:
            theta, scaling = _rope_from_hf(fields)
            return cls(
                family=family,
                vocab_size=fields["vocab_size"],
                hidden_size=fields["hidden_size"],
                num_layers=fields["num_hidden_layers"],
                num_heads=fields["num_attention_heads"],
                num_kv_heads=fields.get("num_key_value_heads") or fields["num_attention_heads"],
                head_dim=fields.get("head_dim") or _default_head_dim(family, fields),
                intermediate_size=fields["intermediate_size"],
                max_position_embeddings=fields["max_position_embeddings"],
                norm_epsilon=float(fields.get("rms_norm_eps", _DEFAULT_EPSILON[family])),
                rope_theta=theta,
                rope_scaling=scaling,
                tie_embeddings=bool(fields.get("tie_word_embeddings", False)),
                bos_token_id=fields.get("bos_token_id"),
                eos_token_ids=_as_ids(fields.get("eos_token_id")),
                pad_token_id=fields.get("pad_token_id"),
            )
        except KeyError as error:
            raise InvalidConfig(f"config.json lacks {error}; add it") from None
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
            "architectures": [_ARCHITECTURES[self.family]],
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
        if self.family != "qwen2":
            fields["attention_bias"] = False
        return fields


def _refuse_other_networks(fields: Mapping[str, Any]) -> None:
    for key, allowed in _ONLY_VALUES.items():
        # Null is the default everywhere but here, where it reads as false.
        is_silent = fields.get(key) is None and not (key == "is_causal" and key in fields)
        if not is_silent and fields[key] not in allowed:
            only = f"only {allowed[0]!r}" if allowed else "models without it"
            raise InvalidConfig(f"{key} is {fields[key]!r:.60}; this network implements {only}")
    kinds = fields.get("layer_types") or []
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise InvalidConfig(
            f"layer_types is {kinds!r:.60}; this network implements only full_attention"
        )
    hidden: Any = fields.get("hidden_size")
    heads: Any = fields.get("num_attention_heads")
    are_numbers = type(hidden) is type(heads) is int
    if fields["model_type"] == "llama" and are_numbers and heads and hidden % heads:
        raise InvalidConfig(
            f"hidden_size = {hidden} is not a multiple of num_attention_heads = {heads}, which "
            "other readers of llama refuse"
        )


def _default_head_dim(family: Family, fields: Mapping[str, Any]) -> int:
    # Qwen3's own class falls back on a constant, not on the quotient.
    return 128 if family == "qwen3" else fields["hidden_size"] // fields["num_attention_heads"]


def _rope_from_hf(fields: Mapping[str, Any]) -> tuple[float, Llama3Scaling | None]:
    """Read either spelling; where both stand, `rope_scaling` counts, as in `transformers`."""
    rope = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    if not isinstance(rope, Mapping):
        raise InvalidConfig(f"rope settings are {rope!r:.60}; expected an object")
    if nested := [key for key, value in rope.items() if isinstance(value, Mapping)]:
        raise InvalidConfig(
            f"rope settings differ by layer ({nested[0]!r:.40}); expected one for all"
        )
    if rope.get("partial_rotary_factor") not in (None, 1.0):
        raise InvalidConfig(
            f"partial_rotary_factor is {rope['partial_rotary_factor']!r:.40}; "
            "this network implements only 1.0"
        )
    theta = float(rope.get("rope_theta", fields.get("rope_theta", 10_000.0)))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise InvalidConfig(f"rope type is {kind!r:.60}; expected default or llama3")
    return theta, Llama3Scaling(
        factor=float(rope["factor"]),
        low_freq_factor=float(rope["low_freq_factor"]),
        high_freq_factor=float(rope["high_freq_factor"]),
        original_max_position_embeddings=int(
            rope.get("original_max_position_embeddings", fields["max_position_embeddings"])
        ),
    )


def _as_ids(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
