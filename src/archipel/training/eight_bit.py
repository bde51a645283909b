"""AdamW whose two moments are kept in a byte each, a scale to a block (arXiv 2110.02861), for matrices.

A few rows at a time are made float32, moved as AdamW moves them, and rounded again; the step is taken from what they
were before the rounding. Of the second moment the root is kept, which is what a step is divided by: squares span twice
as many powers of ten as a byte does. Law: the same numbers whatever the rows taken at a time, and however many share them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from archipel.training.blockwise import Quantised, block_of, dequantise, quantise
from archipel.training.sharding import fill, own_part, zeros_beside

MAX_NUMBERS = 2**22
"""Numbers that are float32 at a time."""
_IS_SIGNED = {"exp_avg": True, "exp_avg_root": False}


def is_fit(shape: tuple[int, ...]) -> bool:
    """Whether a parameter's moments can be kept so."""
    return block_of(shape) is not None


def kept_of(shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """What is kept of a parameter's moments: key -> shape and type."""
    block = block_of(shape)
    if block is None:
        raise ValueError(f"shape {shape} has no blocks; its moments stay float32")
    scales = (*shape[:-1], shape[-1] // block)
    kept: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    for moment in _IS_SIGNED:
        kept |= {
            f"{moment}_codes": (shape, torch.uint8),
            f"{moment}_scales": (scales, torch.float32),
        }
    return kept


class EightBitMoments:
    """The moments of some masters, and the steps taken with them."""

    def __init__(
        self, masters: Mapping[str, Tensor], betas: tuple[float, float], epsilon: float
    ) -> None:
        """masters: by name, each `is_fit`; the moments are zero."""
        self._masters, self._betas, self._epsilon = masters, betas, epsilon
        self._kept = {name: _nothing(master) for name, master in masters.items()}

    @torch.no_grad()
    def step(self, number: int, learning_rate: float, weight_decay: float) -> None:
        """Step `number`, from 1 on, of every master that has a gradient, which stays as it is."""
        for name, master in self._masters.items():
            if master.grad is not None:
                pair = _rows(own_part(master)), _rows(own_part(master.grad))
                self._move(name, pair, number, (learning_rate, weight_decay))

    def _move(
        self, name: str, pair: tuple[Tensor, Tensor], number: int, rates: tuple[float, float]
    ) -> None:
        """pair: master and gradient. rates: of learning and of decay."""
        (numbers, gradients), (learning_rate, weight_decay) = pair, rates
        parts = {key: _rows(own_part(each)) for key, each in self._kept[name].items()}
        block = block_of(self._masters[name].shape)
        if block is None or not numbers.numel():
            return
        beta1, beta2 = self._betas
        size, root = learning_rate / (1.0 - beta1**number), (1.0 - beta2**number) ** 0.5
        at_once = max(1, MAX_NUMBERS // numbers.shape[1])
        for start in range(0, numbers.shape[0], at_once):
            rows = slice(start, start + at_once)
            gradient = gradients[rows]
            first, second = (_read(parts, moment, rows, block) for moment in _IS_SIGNED)
            first.lerp_(gradient, 1.0 - beta1)
            second.square_().mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2).sqrt_()
            below = (second / root).add_(self._epsilon)
            numbers[rows].mul_(1.0 - learning_rate * weight_decay).addcdiv_(
                first, below, value=-size
            )
            del below
            for moment, moved in zip(_IS_SIGNED, (first, second), strict=True):
                _write(parts, moment, rows, quantise(moved, block, signed=_IS_SIGNED[moment]))

    def of(self, name: str) -> dict[str, Tensor]:
        """What is kept of one master's moments, by key."""
        return self._kept[name]

    @torch.no_grad()
    def load(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `of` gave, whole."""
        for key, kept in self._kept[name].items():
            fill(kept, tensors[key])


def _nothing(master: Tensor) -> dict[str, Tensor]:
    """Moments of zero."""
    kept = {key: zeros_beside(master, *form) for key, form in kept_of(tuple(master.shape)).items()}
    block = block_of(master.shape)
    for moment, is_signed in _IS_SIGNED.items():
        zero = quantise(torch.zeros(1, block or 1), block or 1, signed=is_signed).codes[0, 0]
        own_part(kept[f"{moment}_codes"]).fill_(zero)
    return kept


def _rows(tensor: Tensor) -> Tensor:
    """The same storage as a matrix."""
    return tensor.view(-1, tensor.shape[-1])


def _read(parts: Mapping[str, Tensor], moment: str, rows: slice, block: int) -> Tensor:
    stored = Quantised(parts[f"{moment}_codes"][rows], parts[f"{moment}_scales"][rows])
    return dequantise(stored, block, signed=_IS_SIGNED[moment])


def _write(parts: Mapping[str, Tensor], moment: str, rows: slice, stored: Quantised) -> None:
    parts[f"{moment}_codes"][rows] = stored.codes
    parts[f"{moment}_scales"][rows] = stored.scales
