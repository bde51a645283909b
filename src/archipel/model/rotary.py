"""Rotary position embedding: tables built once, then indexed by position.

Source: RoFormer (arXiv 2104.09864); frequency stretching as published with Llama 3.1.
Law: tables and rotation are fp32 whatever the weights are; tables are no part of the state.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from archipel.model.config import DecoderConfig, Llama3Scaling


class RotaryTable:
    """Cosines and signed sines for every position up to the model's maximum.

    A plain object, not a buffer: `Module.to(bfloat16)` must not round it, nor a state dict hold it.
    """

    def __init__(self, config: DecoderConfig) -> None:
        self._config = config
        self._tables: tuple[Tensor, Tensor] | None = None

    def at(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and signed sin, each (B, 1, T, D) fp32, for `rotate`."""
        if self._tables is None or self._tables[0].device != positions_BT.device:
            self._tables = _build(self._config, positions_BT.device)
        cos_PD, sin_PD = self._tables
        return cos_PD[positions_BT].unsqueeze(1), sin_PD[positions_BT].unsqueeze(1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + D/2) of x (B, H, T, D); fp32 inside, result in x's dtype."""
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
    return (x * cos + swapped * sin).to(x.dtype)


# A table first needed while sampling must still serve a later backward pass.
@torch.inference_mode(False)
def _build(config: DecoderConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cos and signed sin, each (max_position_embeddings, D)."""
    positions = torch.arange(config.max_position_embeddings, dtype=torch.float32, device="cpu")
    angles_PF = torch.outer(positions, _frequencies(config))
    cos, sin = angles_PF.cos(), angles_PF.sin()
    # The sign of the rotation lives in the table, which saves a negation per layer.
    cos_PD, sin_PD = torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)
    return cos_PD.to(device), sin_PD.to(device)


def stretching(config: DecoderConfig, scaling: Llama3Scaling) -> Tensor:
    """By what `scaling` divides the frequency of each pair, (D/2,) fp32."""
    plain = _frequencies(replace(config, rope_scaling=None))
    return plain / _stretch(plain, scaling)


def _frequencies(config: DecoderConfig) -> Tensor:
    """Radians per position for each pair, (D/2,) fp32."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device="cpu")
    exponents = exponents / config.head_dim
    frequencies = 1.0 / (config.rope_theta**exponents)
    if config.rope_scaling is None:
        return frequencies
    return _stretch(frequencies, config.rope_scaling)


def _stretch(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Slow long wavelengths by `factor`, keep short ones, blend linearly between."""
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_max_position_embeddings / wavelengths
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies
