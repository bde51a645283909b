"""The steps of the contract as two parties can commit to them: one row of numbers for each step and position.

Steps stand in the order in which they are computed, position after position; whatever a step depends on
stands before it. docs/reference/exact-disputes.md names them.
"""

from dataclasses import dataclass
from typing import Literal

from archipel.model.config import DecoderConfig

Kind = Literal["embedded", "sum", "fed", "product", "seen", "mixed", "quantised", "wide", "sampled"]
_PER_LAYER = 13


@dataclass(frozen=True)
class Step:
    """One of the steps that each position goes through."""

    layer: int
    """-1 after the last layer."""
    name: str
    kind: Kind
    width: int
    """Numbers in its row."""
    inputs: tuple[int, ...]
    """Steps of the same position that it is computed from; `mixed` also from those of all before."""
    late: bool = False
    """Only after the prompt: its row is empty at the prompt's tokens but the last."""

    def __str__(self) -> str:
        return self.name if self.layer < 0 else f"layer {self.layer} {self.name}"


def steps_of(config: DecoderConfig) -> tuple[Step, ...]:
    """All steps of one position, in order."""
    made: list[Step] = []
    for layer in range(config.num_layers):
        made += _layer(config, layer)
    end, d = len(made), config.hidden_size
    made.append(Step(-1, "x", "sum", d, (end - 1, end - 6), late=True))
    made.append(Step(-1, "h", "fed", d + 1, (end,), late=True))
    made.append(Step(-1, "logits", "product", config.vocab_size, (end + 1,), late=True))
    made.append(Step(-1, "sample", "sampled", 2, (end + 2,), late=True))
    return tuple(made)


def _layer(config: DecoderConfig, layer: int) -> list[Step]:
    d, wide = config.hidden_size, config.intermediate_size
    heads, kept, size = config.num_heads, config.num_kv_heads, config.head_dim
    at = layer * _PER_LAYER
    begin = Step(layer, "x", "sum", d, (at - 1, at - 6))
    if layer == 0:
        begin = Step(layer, "x", "embedded", d, ())
    return [
        begin,
        Step(layer, "h", "fed", d + 1, (at,)),
        Step(layer, "qkv", "product", (heads + 2 * kept) * size, (at + 1,)),
        Step(layer, "seen", "seen", (heads + 2 * kept) * (size + 1), (at + 2,)),
        Step(layer, "mixed", "mixed", heads * size, (at + 3,)),
        Step(layer, "mixed quantised", "quantised", heads * size + 1, (at + 4,)),
        Step(layer, "out", "product", d, (at + 5,)),
        Step(layer, "x after attention", "sum", d, (at + 6, at)),
        Step(layer, "h after attention", "fed", d + 1, (at + 7,)),
        Step(layer, "gate", "product", wide, (at + 8,)),
        Step(layer, "up", "product", wide, (at + 8,)),
        Step(layer, "wide quantised", "wide", wide + 1, (at + 9, at + 10)),
        Step(layer, "down", "product", d, (at + 11,)),
    ]


def seen_parts(config: DecoderConfig) -> tuple[tuple[int, int], ...]:
    """In a row `seen`: where integers and where scales begin, of queries, of keys and of values."""
    parts, at = [], 0
    for heads in (config.num_heads, config.num_kv_heads, config.num_kv_heads):
        parts.append((at, at + heads * config.head_dim))
        at += heads * (config.head_dim + 1)
    return tuple(parts)
