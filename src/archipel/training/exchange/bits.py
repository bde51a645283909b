"""Small integers next to each other, so many bits each, the first in the lowest bits.

Law: what stands behind the last one is zero, and is refused where it is not.
"""

import numpy as np

from archipel.training.exchange.codec import BadContribution


def num_bytes(count: int, bits: int) -> int:
    """Bytes of `count` integers of so many bits."""
    return -(-count * bits // 8)


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers (count,) below 2^bits as uint8."""
    ones = values[:, None] >> np.arange(bits, dtype=values.dtype) & values.dtype.type(1)
    return np.packbits(ones.astype(np.uint8).reshape(-1), bitorder="little")


def unpacked(data: np.ndarray, count: int, bits: int) -> np.ndarray:
    """What `packed` packed, uint16 (count,), of 16 bits at most.

    Raises:
        BadContribution: something stands behind them.
    """
    refuse_padding(data, count * bits)
    ones = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    return (ones.astype(np.uint16) << np.arange(bits, dtype=np.uint16)).sum(axis=1, dtype=np.uint16)


def refuse_padding(data: np.ndarray, bits: int) -> None:
    """Nothing stands behind the first `bits` in the last byte.

    Raises:
        BadContribution: something does.
    """
    used = bits % 8
    if used and int(data[-1]) >> used:
        raise BadContribution(f"bits behind the last value are {int(data[-1]) >> used}, expected 0")


def packed_nibbles(values: np.ndarray) -> np.ndarray:
    """Uint8 below 16, two in a byte: as `packed` would, and faster."""
    if values.size % 2:
        values = np.concatenate((values, np.zeros(1, np.uint8)))
    return values[0::2] | values[1::2] << np.uint8(4)
