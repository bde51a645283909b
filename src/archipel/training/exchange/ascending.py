"""Which values of each tile are sent, in about 8 bits each: ascending numbers as Elias and Fano write them.

Of 64 numbers below 4096 the low 6 bits stand as they are; the high parts, which ascend, are a row of bits with a one
for each number, and before it a zero for each step of the high part: 127 bits. Together 511 bits a tile, where the
64-subsets of 4096 need at least 472, and 12 bits a number are 768.
Law: so many bits whatever the numbers are; what is read has exactly so many numbers, ascending, below the limit.
(P. Elias, Efficient storage and retrieval by content and address of static files, J. ACM 21(2), 1974.)
"""

import numpy as np

from archipel.training.exchange.bits import num_bytes, packed, refuse_padding, unpacked
from archipel.training.exchange.codec import BadContribution


def num_index_bytes(count: int, kept: int, below: int) -> int:
    """Bytes of `count` times `kept` numbers below `below`."""
    low, row = _widths(kept, below)
    return num_bytes(count * kept, low) + num_bytes(count, row)


def packed_indices(indices: np.ndarray, below: int) -> np.ndarray:
    """Integers (count, kept), each row ascending, as uint8: all low parts, then all rows of bits."""
    count, kept = indices.shape
    low, row = _widths(kept, below)
    ones = np.zeros((count, row), np.uint8)
    np.put_along_axis(ones, (indices >> low).astype(np.intp) + np.arange(kept), 1, axis=1)
    lows = indices.reshape(-1) & indices.dtype.type(2**low - 1)
    return np.concatenate((packed(lows, low), np.packbits(ones.reshape(-1), bitorder="little")))


def unpacked_indices(data: np.ndarray, count: int, kept: int, below: int) -> np.ndarray:
    """What `packed_indices` packed, int64 (count, kept).

    Raises:
        BadContribution: another number of ones, numbers that do not ascend, or one that is not below the limit.
    """
    low, row = _widths(kept, below)
    end = num_bytes(count * kept, low)
    lows = unpacked(data[:end], count * kept, low).reshape(count, kept)
    refuse_padding(data[end:], count * row)
    ones = np.unpackbits(data[end:], count=count * row, bitorder="little").reshape(count, row)
    numbers = np.count_nonzero(ones, axis=1)
    if (numbers != kept).any():
        wrong = int(np.flatnonzero(numbers != kept)[0])
        raise BadContribution(f"tile {wrong} has {int(numbers[wrong])} indices, expected {kept}")
    highs = np.flatnonzero(ones).reshape(count, kept) - np.arange(count)[:, None] * row
    indices = (highs - np.arange(kept) << low) + lows
    if int(indices.max()) >= below:
        raise BadContribution(f"index {int(indices.max())} in a tile of {below} values")
    if not (indices[:, 1:] > indices[:, :-1]).all():
        raise BadContribution("the indices of a tile do not ascend")
    return indices


def _widths(kept: int, below: int) -> tuple[int, int]:
    """Low bits of each number, and bits of a row that says the high parts of `kept` of them."""
    low = (below // kept).bit_length() - 1
    return low, kept + ((below - 1) >> low)
