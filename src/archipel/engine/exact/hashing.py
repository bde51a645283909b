"""Commitments to rows of numbers: a tree over chunks of each row, and a tree over all rows; and to single numbers.

Law: the shape of a tree is public and fixed by how many leaves it has, so a path means one place.
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

CHUNK = 64
"""Numbers in a leaf of a row's tree: 256 bytes."""
DIGEST_BYTES = 32
NUMBER_BYTES = 8
"""Of a number of a working."""
EMPTY = bytes(DIGEST_BYTES)
"""Stands where there is no leaf, up to a power of two."""

Row = NDArray[np.float32]


def node(left: bytes, right: bytes) -> bytes:
    """Of two children."""
    return sha256(b"\x01" + left + right).digest()


def depth_of(num_leaves: int) -> int:
    """Levels above the leaves."""
    return max(num_leaves - 1, 0).bit_length()


class Tree:
    """All nodes over some leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.depth = depth_of(len(leaves))
        level = [*leaves, *([EMPTY] * ((1 << self.depth) - len(leaves)))]
        self.levels = [level]
        for _ in range(self.depth):
            pairs = zip(level[::2], level[1::2], strict=True)
            level = [
                EMPTY if left == EMPTY == right else node(left, right) for left, right in pairs
            ]
            self.levels.append(level)

    @property
    def root(self) -> bytes:
        """What is committed to."""
        return self.levels[-1][0]

    def children(self, level: int, index: int) -> bytes:
        """Both, side by side, of the node `index` at `level` (leaves are level 0).

        Raises:
            IndexError: there is no such node.
        """
        below = self.levels[level - 1]
        if not (1 <= level <= self.depth and 0 <= index < len(below) // 2):
            raise IndexError("no such node")
        return below[2 * index] + below[2 * index + 1]

    def path(self, leaf: int, levels: int) -> bytes:
        """Siblings from `leaf` upwards, `levels` of them."""
        return b"".join(self.levels[level][(leaf >> level) ^ 1] for level in range(levels))


def is_node(digest: bytes, children: bytes) -> bool:
    """Whether these are the children of that node."""
    if len(children) != 2 * DIGEST_BYTES:
        return False
    left, right = children[:DIGEST_BYTES], children[DIGEST_BYTES:]
    return digest == (EMPTY if left == EMPTY == right else node(left, right))


def climbed(leaf: int, digest: bytes, path: bytes) -> bytes:
    """Where a path leads from a leaf."""
    for level, start in enumerate(range(0, len(path), DIGEST_BYTES)):
        sibling = path[start : start + DIGEST_BYTES]
        digest = node(sibling, digest) if leaf >> level & 1 else node(digest, sibling)
    return digest


def row_bytes(row: Row) -> bytes:
    """Little-endian f32; the contract knows no sign of a zero, and one number that is none."""
    return _plain(row).astype("<f4").tobytes()


def row_of(data: bytes) -> Row:
    """Back."""
    return np.frombuffer(data, "<f4").astype(np.float32)


def number_bytes(numbers: np.float64 | NDArray[np.float64]) -> bytes:
    """As a row's, in f64: of one number, or of many."""
    return _plain(np.array(numbers, np.float64, ndmin=1)).astype("<f8").tobytes()


def number_of(data: bytes) -> np.float64:
    """Back."""
    return np.float64(np.frombuffer(data, "<f8")[0])


def is_plain(data: bytes) -> bool:
    """Whether a row's bytes are those that its numbers have."""
    return row_bytes(row_of(data)) == data


def _plain(numbers: NDArray) -> NDArray:
    numbers = numbers + numbers.dtype.type(0)
    numbers[np.isnan(numbers)] = np.nan
    return numbers


def chunk_hash(data: bytes) -> bytes:
    """Of the bytes of one chunk."""
    return sha256(b"\x00" + data).digest()


def row_tree(data: bytes) -> Tree:
    """Over the chunks of a row; a row without numbers has one empty chunk."""
    size = 4 * CHUNK
    starts = range(0, max(len(data), 1), size)
    return Tree([chunk_hash(data[start : start + size]) for start in starts])
