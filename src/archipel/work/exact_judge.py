"""The judge of a merge's loss gate: losses by the exact contract, so that everybody with the text finds the same.

Weights are rounded to bf16 once (nearest, ties to even), which is what the contract quantises; both weights that a score
compares are.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.text_loss import text_loss
from archipel.engine.exact.variants import variant_of
from archipel.engine.fused import FusedDecoder
from archipel.engine.protocol import NonFiniteLogits, WrongWeights
from archipel.model.config import DecoderConfig
from archipel.training.exchange.codec import Tensors
from archipel.training.merging.commitment import GateText
from archipel.training.merging.contributions import Contribution
from archipel.training.merging.loss_gate import Judge, Unmeasurable

Windows = Sequence[Sequence[int]]


def exact_loss(config: DecoderConfig, tensors: Tensors, windows: Windows, variant: str) -> int:
    """Units of 2^-20 nats of all tokens but each window's first (clause 11 of the exact contract).

    tensors: float32 by the names of the architecture's state.

    Raises:
        Unmeasurable: what the weights compute is not finite.
        UnknownVariant, InvalidConfig: the contract has no such variant, or does not describe this family.
        ValueError: windows that are not of this model.
    """
    arithmetic = ExactArithmetic(config, variant_of(variant), torch.device("cpu"))
    state = {
        name: torch.from_numpy(np.ascontiguousarray(each)).to(torch.bfloat16)
        for name, each in tensors.items()
    }
    broken = sorted(name for name, each in state.items() if not bool(each.isfinite().all()))
    if broken:
        raise Unmeasurable(f"{', '.join(broken):.200}: not finite as bf16")
    try:
        return text_loss(FusedDecoder(config, state, arithmetic), windows)
    except (NonFiniteLogits, WrongWeights) as error:
        raise Unmeasurable(str(error)) from error


def exact_judge(
    config: DecoderConfig,
    held_out: GateText,
    variant: str,
    assigned: Callable[[Contribution], Windows] | None = None,
) -> Judge:
    """Of one merge. assigned: some windows of what a contribution was to be trained on; None: they are not looked at."""
    windows = held_out.windows.tolist()

    def of_own(weights: Tensors, contribution: Contribution) -> int:
        own = assigned(contribution) if assigned is not None else ()
        return exact_loss(config, weights, own, variant)

    return Judge(
        lambda weights: exact_loss(config, weights, windows, variant),
        None if assigned is None else of_own,
    )
