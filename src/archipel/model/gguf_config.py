"""What a GGUF file says of its network, as a configuration of ours.

Parts: `config_of`. Law: the list of keys is closed. A key of the architecture that is not known here may mean
another network, so it is refused by name; numbers that were rounded to float32 come back as they were written.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from archipel.model.config import DecoderConfig, Experts, InvalidConfig, Llama3Scaling
from archipel.model.gguf import NAMES
from archipel.model.gguf_header import BadGguf, Header
from archipel.model.rotary import stretching

_DEFAULT_THETA = 10_000.0
_KNOWN = {
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count",
    "rope.freq_base",
}  # fmt: skip
_EXPERTS = {"expert_count", "expert_used_count", "expert_feed_forward_length"}
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "attention.sliding_window": (0,),
    "rope.scaling.type": ("none", ""),
}
"""Keys that name another network unless they hold one of these."""
_STRETCHED = ((8.0, 8192), (32.0, 8192), (16.0, 8192), (4.0, 8192))
"""Factors and original contexts that published models use; low and high are 1 and 4 in all of them."""


def config_of(header: Header, special: Mapping[str, Any]) -> DecoderConfig:
    """The decoder that the file holds.

    special: `bos_token_id`, `eos_token_ids` and `pad_token_id`, by the tokenizer's part of the file.

    Raises:
        BadGguf: another architecture, or a key that is missing, malformed or not known here.
    """
    called = header.facts.get("general.architecture")
    family = next((each for each, name in NAMES.items() if name == called), None)
    if family is None:
        raise BadGguf(f"architecture {called!r:.60}; expected one of {', '.join(NAMES.values())}")
    facts = _Facts(header.facts, NAMES[family])
    heads = facts.whole("attention.head_count")
    head_dim = facts.whole("attention.key_length", facts.whole("embedding_length") // max(heads, 1))
    facts.only("attention.value_length", head_dim)
    facts.only("rope.dimension_count", head_dim)
    theta = facts.real("rope.freq_base", _DEFAULT_THETA)
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise BadGguf("the file has no token_embd.weight of two dimensions: not a whole model")
    facts.only("vocab_size", embedding.shape[0])
    try:
        return DecoderConfig(
            family=family,
            vocab_size=embedding.shape[0],
            hidden_size=facts.whole("embedding_length"),
            num_layers=facts.whole("block_count"),
            num_heads=heads,
            num_kv_heads=facts.whole("attention.head_count_kv", heads),
            head_dim=head_dim,
            intermediate_size=facts.whole("feed_forward_length"),
            max_position_embeddings=facts.whole("context_length"),
            norm_epsilon=facts.real("attention.layer_norm_rms_epsilon"),
            rope_theta=theta,
            tie_embeddings="output.weight" not in header.tensors,
            experts=facts.experts() if family == "qwen3_moe" else None,
            **special,
        )
    except InvalidConfig as error:
        raise BadGguf(f"the file describes no decoder of ours: {error}") from None


def scaling_of(factors: np.ndarray | None, config: DecoderConfig) -> Llama3Scaling | None:
    """How rotary frequencies are stretched, from the divisors that the file holds for them.

    Raises:
        BadGguf: no published stretching has these divisors.
    """
    if factors is None:
        return None
    for factor, original in _STRETCHED:
        scaling = Llama3Scaling(factor, 1.0, 4.0, original)
        wanted = stretching(config, scaling).numpy()
        if wanted.shape == factors.shape and np.allclose(wanted, factors, rtol=1e-5, atol=0):
            return scaling
    raise BadGguf(
        "rope_freqs.weight stretches positions in a way that is not known here; get the model's folder "
        "instead, whose config.json names it"
    )


class _Facts:
    """The keys of one architecture, each of an expected kind."""

    def __init__(self, facts: Mapping[str, Any], family: str) -> None:
        start = f"{family}."
        known = _KNOWN | (_EXPERTS if family == NAMES["qwen3_moe"] else set())
        self._family = family
        self._facts = {
            key.removeprefix(start): value for key, value in facts.items() if key.startswith(start)
        }
        for key, value in self._facts.items():
            if key in _HARMLESS and key not in known and value in _HARMLESS[key]:
                continue
            if key not in known:
                raise BadGguf(f"{start}{key} is {value!r:.60}; this network has nothing like it")

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value = self._facts.get(key, default)
        if type(value) is not int:
            raise BadGguf(f"{self._family}.{key} is {value!r:.60}; expected one whole number")
        return value

    def experts(self) -> Experts:
        """Of every layer; llama.cpp lets the weights of a token's experts add up to one."""
        names = ("expert_count", "expert_used_count", "expert_feed_forward_length")
        count, chosen, width = (self.whole(name) for name in names)
        return Experts(count, chosen, width, normalised=True)

    def real(self, key: str, default: float | None = None) -> float:
        """A number, as it was written before float32 rounded it."""
        value = self._facts.get(key, default)
        if type(value) is not float:
            raise BadGguf(f"{self._family}.{key} is {value!r:.60}; expected a number")
        return float(str(np.float32(value)))

    def only(self, key: str, expected: int) -> None:
        """Refuse another value; the key may be missing."""
        if (value := self._facts.get(key, expected)) != expected:
            raise BadGguf(
                f"{self._family}.{key} is {value!r:.60}; this network implements only {expected}"
            )
