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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard

LEVEL = 1
"""zstd level. The planes are noise or nearly constant, so searching harder finds nothing: level 9 made
deltas 0 to 2 percent smaller for two to four times the processor time (learning rates 1e-6 to 1e-3)."""
BLOCK_WEIGHTS = 2**24
"""Weights coded together: bounds the memory that sorting takes."""
PIECE_WEIGHTS = 2**17
"""Worked on at a time, a multiple of eight; sets the speed, not the result."""
DENSE = 4
"""Where more than one weight in so many changed, a bitmap is the smaller one, and gaps are not tried: with normal
and with equal steps they are a fifth larger to a few hundred bytes smaller."""

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
    units = _units(old, new)
    is_changed = units != 0
    num_changed = int(np.count_nonzero(is_changed))
    if not num_changed:
        return UNCHANGED
    pieces = _pieces(len(units))
    bitmap = _compress([np.packbits(is_changed)])
    places = [np.flatnonzero(is_changed[piece]) for piece in pieces]
    amounts = [
        units[piece].take(own) - np.uint16(1) for piece, own in zip(pieces, places, strict=True)
    ]
    unit_planes = _planes_needed(amounts)
    amount = _compress(_split(amounts, unit_planes))
    if num_changed * DENSE <= len(units):
        gaps = _gaps(pieces, places)
        gap_planes = _planes_needed(gaps)
        as_gaps = _compress(_split(gaps, gap_planes))
        if len(as_gaps) <= len(bitmap):
            return Block(num_changed, GAPS, gap_planes, unit_planes, as_gaps, amount)
    return Block(num_changed, BITMAP, 0, unit_planes, bitmap, amount)


def _gaps(pieces: Sequence[slice], places: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Unchanged weights before each changed one, from the places within each piece."""
    gaps, last = [], -1
    for piece, own in zip(pieces, places, strict=True):
        if len(own):
            gaps.append((np.diff(own, prepend=last - piece.start) - 1).astype(np.uint32))
            last = piece.start + int(own[-1])
    return gaps


def decode_block(old: np.ndarray, block: Block) -> np.ndarray:
    """The new bit patterns: what `encode_block` was given.

    Raises:
        BadDifference: sizes, counts or frames that do not fit together.
    """
    if block == UNCHANGED:
        return old.copy()
    if not 0 < block.num_changed <= len(old):
        raise BadDifference(f"{block.num_changed} changes among {len(old)} weights")
    raw = _decompress(block.amount, block.num_changed, block.unit_planes, _MAX_UNIT_PLANES)
    raw, done = raw.reshape(block.unit_planes, -1), 0
    units = np.zeros(len(old), dtype=np.uint16)
    for places in _places(block, len(old)):
        amounts = _join(raw[:, done : done + len(places)], np.uint16)
        # 0xffff + 1 would wrap to "unchanged"; encode never writes it.
        if len(amounts) != len(places) or amounts.max() == 0xFFFF:
            raise BadDifference("a difference is missing or out of range")
        units[places] = amounts + np.uint16(1)
        done += len(places)
    if done != block.num_changed:
        raise BadDifference("the positions do not fit the block")
    return _moved(old, units)


def _pieces(num: int) -> list[slice]:
    """Stretches small enough for a cache, and for an allocator to keep."""
    starts = range(0, num, PIECE_WEIGHTS)
    return [slice(start, min(start + PIECE_WEIGHTS, num)) for start in starts]


def _places(block: Block, num_weights: int) -> Iterator[np.ndarray]:
    """Indices of the changed weights, ascending, in exponent order; a piece at a time, none empty."""
    if block.positions == BITMAP:
        if block.gap_planes:
            raise BadDifference("a bitmap has no gap planes")
        bits = _decompress(block.where, (num_weights + 7) // 8, 1, 1)
        if np.unpackbits(bits[-1:])[(num_weights - 1) % 8 + 1 :].any():
            raise BadDifference("the bitmap marks weights beyond the last")
        for piece in _pieces(num_weights):
            flags = np.unpackbits(bits[piece.start // 8 : (piece.stop + 7) // 8]).view(np.bool_)
            places = np.flatnonzero(flags)
            if len(places):
                yield places + piece.start
        return
    if block.positions != GAPS:
        raise BadDifference(f"places of the kind {block.positions}; expected {GAPS} or {BITMAP}")
    raw = _decompress(block.where, block.num_changed, block.gap_planes, _MAX_GAP_PLANES)
    raw, last = raw.reshape(block.gap_planes, -1), -1
    for piece in _pieces(block.num_changed):
        places = np.cumsum(_join(raw[:, piece], np.uint32).astype(np.int64) + 1) + last
        last = int(places[-1])
        if last >= num_weights:
            raise BadDifference("the positions do not fit the block")
        yield places


def _units(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """How far each weight moved, zigzag of units in the last place, in exponent order."""
    units = np.empty(len(old), dtype=np.uint16)
    for piece, order, runs in _ExponentOrder(old):
        moved = _zigzag(_ordered(new[piece]) - _ordered(old[piece]))[order]
        at = 0
        for start, end in runs:
            units[start:end] = moved[at : at + end - start]
            at += end - start
    return units


def _moved(old: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Undo `_units`."""
    new = np.empty_like(old)
    for piece, order, runs in _ExponentOrder(old):
        moved = np.empty(len(order), dtype=np.uint16)
        moved[order] = np.concatenate([units[start:end] for start, end in runs])
        new[piece] = _from_ordered(_ordered(old[piece]) + _unzigzag(moved))
    return new


class _ExponentOrder:
    """The stable order of weights by their eight exponent bits, a piece at a time.

    Of each piece: where it lies, its own order, and where its weights of one exponent after the other
    stand in the order of all.
    """

    def __init__(self, bits: np.ndarray) -> None:
        self._places = _pieces(len(bits))
        self._exponents = [(bits[piece] >> 7).astype(np.uint8) for piece in self._places]
        # (exponent, piece), so that a running sum goes through the order of all.
        counts = np.array([np.bincount(each, minlength=256) for each in self._exponents]).T
        ends = np.cumsum(counts).reshape(counts.shape)
        self._runs = [
            [(end - count, end) for count, end in zip(*column, strict=True) if count]
            for column in zip(counts.T.tolist(), ends.T.tolist(), strict=True)
        ]

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray, list[tuple[int, int]]]]:
        for piece, each, runs in zip(self._places, self._exponents, self._runs, strict=True):
            yield piece, np.argsort(each, kind="stable"), runs


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


def _planes_needed(pieces: Sequence[np.ndarray]) -> int:
    return max(1, (max(int(values.max(initial=0)) for values in pieces).bit_length() + 7) // 8)


def _split(pieces: Sequence[np.ndarray], planes: int) -> list[np.ndarray]:
    """Byte planes, least significant first."""
    return [
        (values >> (8 * plane)).astype(np.uint8) for plane in range(planes) for values in pieces
    ]


def _join(planes: np.ndarray, kind: type[np.unsignedinteger]) -> np.ndarray:
    """Undo `_split` of some columns, as numbers of a kind that holds as many planes."""
    joined = planes[0].astype(kind)
    for number, plane in enumerate(planes[1:], 1):
        joined |= plane.astype(kind) << kind(8 * number)
    return joined


def _compress(pieces: Sequence[np.ndarray]) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(np.concatenate(pieces).tobytes())


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
