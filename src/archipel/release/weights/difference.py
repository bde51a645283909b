"""One block of a delta decoded in plain Python: what `model.difference` codes, from its description alone.

Weights are bf16 bit patterns. They are ordered by the eight bits of their old exponent, and among equals as they
lie; a block says which places of that order changed, and by how many units in the last place.
Law: a frame is decompressed to the exact size that the block implies, and to nothing before that is known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

import zstandard

BLOCK_WEIGHTS = 2**24
GAPS, BITMAP = 0, 1
MAX_GAP_PLANES, MAX_UNIT_PLANES = 4, 2
_BYTE = 256
_WIDTH = 2


class BadDifference(ValueError):
    """A coded block contradicts itself."""


@dataclass(frozen=True, slots=True)
class Block:
    """The coded difference of one block of weights."""

    num_changed: int
    positions: int
    gap_planes: int
    unit_planes: int
    where: bytes
    amount: bytes


def decoded(old: bytes, block: Block) -> bytes:
    """The bytes after, of the weights `old` before: little-endian bf16, at most BLOCK_WEIGHTS of them.

    Raises:
        BadDifference: sizes, counts or frames that do not fit together.
    """
    num = len(old) // _WIDTH
    if block == Block(0, GAPS, 0, 0, b"", b""):
        return old
    if not 0 < block.num_changed <= num:
        raise BadDifference(f"{block.num_changed} changes among {num} weights")
    amounts = _numbers(block.amount, block.num_changed, block.unit_planes, MAX_UNIT_PLANES)
    if max(amounts) == 0xFFFF:
        raise BadDifference("a difference is out of range")
    new = bytearray(old)
    for place, less_one in zip(_places(old, list(_ranks(block, num))), amounts, strict=True):
        at = _WIDTH * place
        moved = _moved(int.from_bytes(old[at : at + _WIDTH], "little"), less_one + 1)
        new[at : at + _WIDTH] = moved.to_bytes(_WIDTH, "little")
    return bytes(new)


def inflate(frame: bytes, least: int, most: int) -> bytes:
    """Decompress one zstd frame that states a size in [least, most] and has nothing after it.

    Raises:
        BadDifference: another size, or not one whole frame.
    """
    try:
        size = zstandard.frame_content_size(frame)
        if not least <= size <= most:
            raise BadDifference(f"a frame states {size} bytes; expected {least} to {most}")
        return zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=max(size, 1), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise BadDifference(f"not one zstd frame: {error}") from None


def _ranks(block: Block, num: int) -> Iterator[int]:
    """Places in the order of exponents that changed, ascending."""
    if block.positions == GAPS:
        gaps = _numbers(block.where, block.num_changed, block.gap_planes, MAX_GAP_PLANES)
        places = list(accumulate((gap + 1 for gap in gaps), initial=-1))[1:]
    elif block.positions == BITMAP and block.gap_planes == 0:
        places = _marked(inflate(block.where, -(-num // 8), -(-num // 8)))
    else:
        raise BadDifference("a block with places of no kind")
    if len(places) != block.num_changed or places[-1] >= num:
        raise BadDifference("the positions do not fit the block")
    yield from places


def _marked(bitmap: bytes) -> list[int]:
    """Numbers of the bits that are set, the highest bit of each byte first."""
    return [
        8 * number + bit
        for number, byte in enumerate(bitmap)
        if byte
        for bit in range(8)
        if byte & (0x80 >> bit)
    ]


def _places(old: bytes, ranks: Sequence[int]) -> Iterator[int]:
    """The weights that stand at these places of the order of exponents."""
    exponents = exponents_of(old)
    first, taken = 0, 0
    for exponent in range(_BYTE):
        count = exponents.count(exponent)
        begun = taken
        while taken < len(ranks) and ranks[taken] < first + count:
            taken += 1
        if taken > begun:
            is_here = exponents.translate(_is(exponent))
            here = list(compress(range(len(exponents)), is_here))
            yield from (here[rank - first] for rank in ranks[begun:taken])
        first += count


def exponents_of(weights: bytes) -> bytes:
    """The eight exponent bits of each, as one byte each; all at once, as one large number."""
    num = len(weights) // _WIDTH
    lanes = int.from_bytes(weights, "little") >> 7
    mask = int.from_bytes(b"\xff\x00" * num, "little")
    return (lanes & mask).to_bytes(_WIDTH * num, "little")[::_WIDTH]


def _is(exponent: int) -> bytes:
    return bytes(exponent) + b"\x01" + bytes(_BYTE - 1 - exponent)


def _moved(bits: int, units: int) -> int:
    """The bit pattern that lies so many units away; units: zigzag."""
    step = (units >> 1) ^ -(units & 1)
    signed = _ordered(bits - 0x10000 if bits & 0x8000 else bits)
    after = (signed + step + 0x8000) % 0x10000 - 0x8000
    return _ordered(after) & 0xFFFF


def _ordered(signed: int) -> int:
    """Sign and magnitude as a number that ascends with the value; its own inverse."""
    return signed ^ 0x7FFF if signed < 0 else signed


def _numbers(frame: bytes, count: int, planes: int, most: int) -> list[int]:
    """`count` numbers in byte planes, the least significant first."""
    if not 1 <= planes <= most:
        raise BadDifference(f"{planes} byte planes; expected 1 to {most}")
    data = inflate(frame, planes * count, planes * count)
    columns = [data[number * count : (number + 1) * count] for number in range(planes)]
    return [int.from_bytes(bytes(each), "little") for each in zip(*columns, strict=True)]
