"""From one array of bf16 bit patterns to the next, in few bytes, exactly.

An optimiser moves most weights by less than one unit in the last place of bf16, so few bit
patterns change, and those that do move by one or two units. How likely a weight changes depends on
how coarse its own unit is, that is on its exponent, which the receiver knows: both sides order the
weights by their old exponent, and what is alike stands together before zstd sees it. The notes on
what this gains over an exclusive-or stand in docs/experiments.

Per block of weights two frames are written: where (gaps between changed places, or a bitmap,
whichever is smaller) and by how much (zigzag of the difference in units, less one), each split
into byte planes.
Law: integers only; every bit pattern survives, NaN and negative zero included; a frame is
decompressed only to the exact size that the block implies.
"""

from dataclasses import dataclass

import numpy as np
import zstandard

LEVEL = 1
"""zstd level. The planes are noise or nearly constant, so searching harder finds nothing: level 9 made
deltas 0 to 2 percent smaller for two to four times the processor time (learning rates 1e-6 to 1e-3)."""
BLOCK_WEIGHTS = 2**24
"""Weights coded together: bounds the memory that sorting takes."""

GAPS, BITMAP = 0, 1
_MAX_GAP_PLANES, _MAX_UNIT_PLANES = 4, 2


class BadDifference(ValueError):
    """A coded block contradicts itself."""


@dataclass(frozen=True)
class Block:
    """The coded difference of one block of weights."""

    num_changed: int
    positions: int
    """GAPS or BITMAP."""
    gap_planes: int
    """Bytes per gap, 0 for a bitmap."""
    unit_planes: int
    """Bytes per difference."""
    where: bytes
    amount: bytes


UNCHANGED = Block(0, GAPS, 0, 0, b"", b"")


def encode_block(old: np.ndarray, new: np.ndarray) -> Block:
    """Code `new` against `old`, both flat uint16 of the same length, at most BLOCK_WEIGHTS."""
    units = _zigzag(_ordered(new) - _ordered(old))[_by_exponent(old)]
    changed = units != 0
    places = np.flatnonzero(changed)
    if not len(places):
        return UNCHANGED
    amounts = units[places] - np.uint16(1)
    unit_planes = _planes_needed(amounts)
    gaps = np.diff(places, prepend=-1) - 1
    gap_planes = _planes_needed(gaps)
    as_gaps = _compress(_split(gaps, gap_planes))
    as_bitmap = _compress(np.packbits(changed))
    amount = _compress(_split(amounts, unit_planes))
    if len(as_gaps) <= len(as_bitmap):
        return Block(len(places), GAPS, gap_planes, unit_planes, as_gaps, amount)
    return Block(len(places), BITMAP, 0, unit_planes, as_bitmap, amount)


def decode_block(old: np.ndarray, block: Block) -> np.ndarray:
    """The new bit patterns: what `encode_block` was given.

    Raises:
        BadDifference: sizes, counts or frames that do not fit together.
    """
    if block == UNCHANGED:
        return old.copy()
    if not 0 < block.num_changed <= len(old):
        raise BadDifference(f"{block.num_changed} changes among {len(old)} weights")
    places = _places(block, len(old))
    units = np.zeros(len(old), dtype=np.uint16)
    raw = _decompress(block.amount, block.num_changed, block.unit_planes, _MAX_UNIT_PLANES)
    # 0xffff + 1 would wrap to "unchanged"; encode never writes it.
    amounts = _join(raw, block.unit_planes)
    if amounts.max() >= 0xFFFF:
        raise BadDifference("a difference is out of range")
    units[_by_exponent(old)[places]] = (amounts + 1).astype(np.uint16)
    return _from_ordered(_ordered(old) + _unzigzag(units))


def _places(block: Block, num_weights: int) -> np.ndarray:
    """Indices of the changed weights, ascending, in exponent order."""
    if block.positions == BITMAP:
        if block.gap_planes:
            raise BadDifference("a bitmap has no gap planes")
        bits = _decompress(block.where, (num_weights + 7) // 8, 1, 1)
        flags = np.unpackbits(bits)
        if flags[num_weights:].any():
            raise BadDifference("the bitmap marks weights beyond the last")
        places = np.flatnonzero(flags.view(np.bool_))
    else:
        raw = _decompress(block.where, block.num_changed, block.gap_planes, _MAX_GAP_PLANES)
        places = np.cumsum(_join(raw, block.gap_planes).astype(np.int64) + 1) - 1
    if len(places) != block.num_changed or places[-1] >= num_weights:
        raise BadDifference("the positions do not fit the block")
    return places


def _by_exponent(bits: np.ndarray) -> np.ndarray:
    """The stable order of weights by their eight exponent bits."""
    return np.argsort(((bits >> 7) & 0xFF).astype(np.uint8), kind="stable")


def _ordered(bits: np.ndarray) -> np.ndarray:
    """Sign-magnitude bit patterns as int16 that ascend with the value; a bijection."""
    signed = bits.astype(np.uint16, copy=False).view(np.int16)
    return signed ^ ((signed >> 15) & np.int16(0x7FFF))


def _from_ordered(ordered: np.ndarray) -> np.ndarray:
    """Undo `_ordered`, which is its own inverse."""
    return _ordered(ordered.view(np.uint16)).view(np.uint16)


def _zigzag(difference: np.ndarray) -> np.ndarray:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ... in uint16."""
    return ((difference << 1) ^ (difference >> 15)).view(np.uint16)


def _unzigzag(units: np.ndarray) -> np.ndarray:
    return (units >> 1).view(np.int16) ^ -(units & 1).view(np.int16)


def _planes_needed(values: np.ndarray) -> int:
    return max(1, (int(values.max()).bit_length() + 7) // 8)


def _split(values: np.ndarray, planes: int) -> np.ndarray:
    """Byte planes, least significant first."""
    return np.concatenate([(values >> (8 * plane)).astype(np.uint8) for plane in range(planes)])


def _join(raw: np.ndarray, planes: int) -> np.ndarray:
    """Undo `_split`, as uint32."""
    rows = raw.reshape(planes, -1).astype(np.uint32)
    shifts = np.arange(0, 8 * planes, 8, dtype=np.uint32)
    return np.bitwise_or.reduce(rows << shifts[:, None], axis=0)


def _compress(raw: np.ndarray) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(raw.tobytes())


def _decompress(frame: bytes, length: int, planes: int, max_planes: int) -> np.ndarray:
    """Exactly `length * planes` bytes, or a refusal before anything is allocated."""
    if not 1 <= planes <= max_planes:
        raise BadDifference(f"{planes} byte planes; expected 1 to {max_planes}")
    return np.frombuffer(inflate(frame, length * planes, length * planes), dtype=np.uint8)


def inflate(frame: bytes, least: int, most: int) -> bytes:
    """Decompress one zstd frame that states a size in [least, most] and has nothing after it.

    Raises:
        BadDifference: another size, or not one whole frame.
    """
    try:
        size = zstandard.frame_content_size(frame)
        if not least <= size <= most:
            raise BadDifference(f"frame states {size} bytes; expected {least} to {most}")
        return zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=max(size, 1), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise BadDifference(f"not one zstd frame: {error}") from None
