"""The form of a low-rank adapter: all of it but its numbers and the weights that it lies over.

Sources: LoRA, arXiv 2106.09685; rsLoRA (rank_stabilised), arXiv 2312.03732.
"""

import math
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, Field

from archipel.records.fields import Closed

FILES = ("adapter_config.json", "adapter_model.safetensors")
"""Of an adapter as a directory in the PEFT layout: its form, its tensors."""
MAX_ADAPTER_RANK = 1024
MICRO = 1_000_000

InsideTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HeadTarget = Literal["lm_head"]
Target = InsideTarget | HeadTarget
TARGETS: tuple[InsideTarget, ...] = get_args(InsideTarget)
"""The linear layers inside a decoder's layers, in the order in which they are listed everywhere."""
HEAD: HeadTarget = "lm_head"
"""The layer that gives the logits; an adapter of a door may lie beside it."""
ALL_TARGETS: tuple[Target, ...] = (*TARGETS, HEAD)

T = TypeVar("T", bound=Target)


def in_order(targets: tuple[T, ...]) -> tuple[T, ...]:
    """The same, each once, in the order of `ALL_TARGETS`: one set, one encoding.

    Raises:
        ValueError: one is there twice.
    """
    if len(set(targets)) < len(targets):
        raise ValueError(f"{', '.join(targets)}: a layer is there twice; name each once")
    return tuple(sorted(targets, key=ALL_TARGETS.index))


def _is_in_order(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    if targets != in_order(targets):
        raise ValueError(f"the targets are {targets}; expected the order {in_order(targets)}")
    return targets


AdapterRank = Annotated[int, Field(ge=1, le=MAX_ADAPTER_RANK)]


class AdapterForm(Closed):
    """Which layers have a low-rank product beside their weight, and how it is scaled."""

    rank: AdapterRank
    """r: A is (r, in) and B is (out, r)."""
    alpha_micro: Annotated[int, Field(ge=1, le=10**12)]
    """Millionths of alpha."""
    targets: Annotated[
        tuple[Target, ...],
        Field(min_length=1, max_length=len(ALL_TARGETS)),
        AfterValidator(_is_in_order),
    ]
    """Layers of every decoder layer, and the head, in the order of `ALL_TARGETS`."""
    rank_stabilised: bool

    @property
    def alpha(self) -> float:
        """What PEFT calls lora_alpha."""
        return self.alpha_micro / MICRO

    @property
    def scale(self) -> float:
        """S of y = xW^T + s (xA^T)B^T: alpha / r, or alpha / sqrt(r) if rank-stabilised."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def __str__(self) -> str:
        layers = "all linear layers" if self.targets == TARGETS else ", ".join(self.targets)
        kind = "rsLoRA" if self.rank_stabilised else "LoRA"
        return f"{kind} of rank {self.rank}, alpha {self.alpha:g}, on {layers}"
