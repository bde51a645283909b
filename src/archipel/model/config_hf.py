"""What a Hugging Face `config.json` says of a decoder, as the fields of ours.

Parts: `fields_from_hf`, `fields_to_hf` of what only some families have.
Law: a setting that this network does not implement is refused, never ignored; what a file leaves out is what
`transformers` takes for it.
"""

from collections.abc import Mapping
from typing import Any

from archipel.model.families import FAMILIES, TRAITS, Experts, Family, InvalidConfig, Llama3Scaling

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
    "clip_qkv": (),
    "decoder_sparse_step": (1,),
    "mlp_only_layers": ([],),
    "num_shared_experts": (0,),
}
"""Settings of other architectures; present with another value, they mean another network."""
_WINDOWED: dict[Family, int | None] = {
    "mistral": 4096,
    "mixtral": None,
    "phi3": None,
    "olmoe": None,
}
"""Families whose files may set a sliding window, and the one that a silent file has."""


def fields_from_hf(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `DecoderConfig`, from the contents of a `config.json`.

    Raises:
        InvalidConfig: another architecture, a missing or malformed field, or a setting that this network does
            not implement.
    """
    family = fields.get("model_type")
    if family not in FAMILIES:
        raise InvalidConfig(f"model_type is {family!r:.60}; expected one of {', '.join(FAMILIES)}")
    _refuse_other_networks(fields)
    try:
        return _translated(family, fields)
    except KeyError as error:
        raise InvalidConfig(f"config.json lacks {error}; add it") from None
    except InvalidConfig:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InvalidConfig(f"config.json has a malformed field: {error}") from None


def _translated(family: Family, fields: Mapping[str, Any]) -> dict[str, Any]:
    traits = TRAITS[family]
    theta, scaling = _rope(family, fields)
    return {
        "family": family,
        "vocab_size": fields["vocab_size"],
        "hidden_size": fields["hidden_size"],
        "num_layers": fields["num_hidden_layers"],
        "num_heads": fields["num_attention_heads"],
        "num_kv_heads": fields.get("num_key_value_heads") or fields["num_attention_heads"],
        "head_dim": fields.get("head_dim") or _default_head_dim(family, fields),
        "intermediate_size": fields["intermediate_size"],
        "max_position_embeddings": fields["max_position_embeddings"],
        "norm_epsilon": float(fields.get("rms_norm_eps", traits.epsilon)),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "tie_embeddings": bool(fields.get("tie_word_embeddings", family == "smollm3")),
        "bos_token_id": fields.get("bos_token_id"),
        "eos_token_ids": _as_ids(fields.get("eos_token_id")),
        "pad_token_id": fields.get("pad_token_id"),
        **(_multipliers(fields) if family == "granite" else {}),
        **({"unrotated": _unrotated(fields)} if family == "smollm3" else {}),
        **({"experts": _experts(family, fields)} if traits.has_experts else {}),
    }


def _multipliers(fields: Mapping[str, Any]) -> dict[str, float]:
    """Granite's; where the file is silent, each is 1."""
    names = (
        "embedding_multiplier",
        "residual_multiplier",
        "attention_multiplier",
        "logits_scaling",
    )
    return {name: float(fields.get(name, 1.0)) for name in names}


def _unrotated(fields: Mapping[str, Any]) -> tuple[int, ...]:
    """SmolLM3's layers without positions: a list with 0 for each of them, or every so many."""
    count, listed = fields["num_hidden_layers"], fields.get("no_rope_layers")
    if listed is None:
        return every_fourth(count, int(fields.get("no_rope_layer_interval", 4)))
    if not isinstance(listed, list) or len(listed) != count or set(listed) - {0, 1}:
        raise InvalidConfig(
            f"no_rope_layers is {listed!r:.60}; expected a 1 (positions) or 0 for each of {count} layers"
        )
    return tuple(layer for layer, turns in enumerate(listed) if not turns)


def every_fourth(count: int, every: int = 4) -> tuple[int, ...]:
    """The layers of `count` that a SmolLM3 has without positions, unless its file lists others."""
    return tuple(layer for layer in range(count) if (layer + 1) % every == 0)


def _experts(family: Family, fields: Mapping[str, Any]) -> Experts:
    traits = TRAITS[family]
    count = fields.get(traits.experts_key, fields.get("num_local_experts"))
    normalised = traits.normalises
    return Experts(
        count=fields[traits.experts_key] if count is None else count,
        chosen=fields["num_experts_per_tok"],
        width=fields["moe_intermediate_size" if family == "qwen3_moe" else "intermediate_size"],
        normalised=fields.get("norm_topk_prob", False) if normalised is None else normalised,
    )


def experts_to_hf(family: Family, experts: Experts) -> dict[str, Any]:
    """What `config.json` says of experts."""
    traits = TRAITS[family]
    fields: dict[str, Any] = {
        traits.experts_key: experts.count,
        "num_experts_per_tok": experts.chosen,
    }
    if traits.normalises is None:
        fields["norm_topk_prob"] = experts.normalised
    if family == "qwen3_moe":
        fields |= {
            "moe_intermediate_size": experts.width,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
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
    family: Family = fields["model_type"]
    if family in _WINDOWED:
        _refuse_windows(fields, _WINDOWED[family])
    hidden: Any = fields.get("hidden_size")
    heads: Any = fields.get("num_attention_heads")
    are_numbers = type(hidden) is type(heads) is int
    if family in ("llama", "smollm3", "granite") and are_numbers and heads and hidden % heads:
        raise InvalidConfig(
            f"hidden_size = {hidden} is not a multiple of num_attention_heads = {heads}, which "
            f"other readers of {family} refuse"
        )


def _refuse_windows(fields: Mapping[str, Any], default: int | None) -> None:
    """A window that no sequence is longer than changes nothing."""
    window, longest = fields.get("sliding_window", default), fields.get("max_position_embeddings")
    if window is None or (type(window) is type(longest) is int and window >= longest):
        return
    said = "sliding_window is" if "sliding_window" in fields else "without sliding_window it is"
    raise InvalidConfig(
        f"{said} {window!r:.40}, less than max_position_embeddings = {longest!r:.40}; this network lets each "
        "token see all before it: set sliding_window to null only if the model was trained so"
    )


def _default_head_dim(family: Family, fields: Mapping[str, Any]) -> int:
    # Qwen3's own class falls back on a constant, not on the quotient.
    return 128 if family == "qwen3" else fields["hidden_size"] // fields["num_attention_heads"]


def _rope(family: Family, fields: Mapping[str, Any]) -> tuple[float, Llama3Scaling | None]:
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
    theta = float(rope.get("rope_theta", fields.get("rope_theta", TRAITS[family].rope_theta)))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3" or family == "phi3":
        only = "default" if family == "phi3" else "default or llama3"
        raise InvalidConfig(f"rope type is {kind!r:.60}; expected {only}")
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
