"""What this machine can do at best: bytes per second from memory, operations per second in products.

Both are measured in the process that is benchmarked, with its number of threads. The roofline of a
decode step is the larger of reading every weight once and doing every multiplication once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from archipel.engine.projection import Projection

_READ_BYTES = 256 * 1024**2
"""Far beyond any cache."""
_SIDE = 1024
"""Of the square product; larger ones are not faster here."""
_REPETITIONS = 7


@dataclass(frozen=True)
class Roofline:
    """Measured limits of this process on this machine."""

    read_bytes_per_s: float
    float32_flops: float
    bfloat16_flops: float

    def tokens_per_s(self, num_weights: int, batch_size: int, dtype: str) -> float:
        """Upper bound for decoding: no attention, no sampling, no prompt, weights from memory."""
        width = 4 if dtype == "float32" else 2
        peak = self.float32_flops if dtype == "float32" else self.bfloat16_flops
        seconds = max(
            num_weights * width / self.read_bytes_per_s, 2 * num_weights * batch_size / peak
        )
        return batch_size / seconds


@torch.inference_mode()
def measure_roofline() -> Roofline:
    """Best of a few repetitions: a limit, not a mean."""
    data = torch.ones(_READ_BYTES // 4)
    flops = {}
    for dtype in (torch.float32, torch.bfloat16):
        product = Projection(torch.randn(_SIDE, _SIDE).to(dtype))
        x = torch.randn(_SIDE, _SIDE).to(dtype)
        flops[dtype] = 2 * _SIDE**3 / _best_seconds(partial(product, x))
    return Roofline(
        read_bytes_per_s=_READ_BYTES / _best_seconds(data.sum),
        float32_flops=flops[torch.float32],
        bfloat16_flops=flops[torch.bfloat16],
    )


def _best_seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
