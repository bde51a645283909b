"""What the head is fed by the exact contract, as it travels: integers of two bytes, and the scale of each row."""

import torch
from torch import Tensor

from archipel.serve.pool.messages import Rows, packed, unpacked


def packed_integers(q: Tensor, scale: Tensor) -> tuple[Rows, bytes]:
    """Integers (N, width) held as f32, and their scales (N, 1) f32, as they are sent: two bytes each, and four."""
    scales = scale.detach().cpu().contiguous().view(torch.int16)
    return packed(torch.cat((q.detach().cpu().to(torch.int16), scales), dim=1))


def unpacked_integers(rows: Rows, payload: bytes, width: int) -> Tensor:
    """(N, width + 1) f32: the integers, and behind them the scale of each row.

    Raises:
        LinkLost: see `unpacked`.
    """
    sent = unpacked(rows, payload, width + 2, torch.int16)
    scale = sent[:, width:].contiguous().view(torch.float32)
    return torch.cat((sent[:, :width].float(), scale), dim=1)
