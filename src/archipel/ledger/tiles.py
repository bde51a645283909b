"""The files of a log that any web server can hand out: C2SP tiles of hashes, and bundles of entries. Pure.

A tile of level L holds up to 256 hashes of the tree's level 8·L; a full one never changes, a partial one says in its
name how many hashes it has. Entries stand in bundles cut at the same places, each entry after its 16-bit length.
Source: c2sp.org/tlog-tiles.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from archipel.ledger.merkle import HASH_BYTES, NodeHashes, node_hash, nodes_from_leaves

TILE_WIDTH = 256
HEIGHT = 8
"""Levels of the tree from one level of tiles to the next."""
MAX_LEVEL = 7
"""Of tiles: 256^8 leaves are more than a signed size counts."""
MAX_ENTRY_BYTES = 65_535
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_BUNDLE_BYTES = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
ENTRIES = -1
"""The "level" of bundles of entries."""

_PATH = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class BadTile(ValueError):
    """Bytes that are no tile or bundle of this width."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which tile, and how much of it there is."""

    level: int
    """`ENTRIES` for a bundle of entries."""
    index: int
    width: int
    """Hashes or entries in it, 1 to 256."""

    @property
    def path(self) -> str:
        """Where it stands, relative to the log's root."""
        kind = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.index % 1000:03d}"
        rest = self.index // 1000
        while rest:
            digits, rest = f"x{rest % 1000:03d}/{digits}", rest // 1000
        part = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{digits}{part}"


def place_at(path: str) -> Place | None:
    """The place that has this path; None when none has."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    kind, digits, width = found.groups()
    index = int(digits.replace("x", "").replace("/", ""))
    place = Place(ENTRIES if kind == "entries" else int(kind), index, int(width or TILE_WIDTH))
    return place if place.path == path else None


def places(size: int) -> Iterator[Place]:
    """Every tile and bundle of a log of `size` entries: bundles first, then level by level."""
    for level in range(ENTRIES, MAX_LEVEL + 1):
        count = size >> (HEIGHT * max(level, 0))
        for index in range(-(-count // TILE_WIDTH)):
            yield Place(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))


def grown(old_size: int, new_size: int) -> Iterator[Place]:
    """The tiles and bundles that a log of `new_size` has and one of `old_size` had not, in the order of `places`."""
    for level in range(ENTRIES, MAX_LEVEL + 1):
        before, count = (size >> (HEIGHT * max(level, 0)) for size in (old_size, new_size))
        if count > before:
            for index in range(before // TILE_WIDTH, -(-count // TILE_WIDTH)):
                yield Place(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))


def places_at_end(size: int) -> Iterator[Place]:
    """The last place of each level: all that may be partial."""
    last: dict[int, Place] = {}
    for level in range(ENTRIES, HEIGHT):
        count = size >> (HEIGHT * max(level, 0))
        if count:
            index = (count - 1) // TILE_WIDTH
            last[level] = Place(level, index, count - index * TILE_WIDTH)
    yield from last.values()


def hashes_of(tile: bytes, width: int) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        BadTile: not as many as its width says.
    """
    if len(tile) != width * HASH_BYTES:
        raise BadTile(f"{len(tile)} bytes; a tile of {width} hashes has {width * HASH_BYTES}")
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries as one file.

    Raises:
        BadTile: one is empty or longer than 65,535 bytes, or there are more than 256.
    """
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise BadTile(f"{len(entries)} entries; a bundle has 1 to {TILE_WIDTH}")
    for entry in entries:
        if not 1 <= len(entry) <= MAX_ENTRY_BYTES:
            raise BadTile(f"an entry of {len(entry)} bytes; expected 1 to {MAX_ENTRY_BYTES}")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def entries_of(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        BadTile: not as many as its width says, one is empty, or bytes are left over or missing.
    """
    entries, start = [], 0
    for number in range(width):
        length = int.from_bytes(data[start : start + 2], "big")
        entry = data[start + 2 : start + 2 + length]
        if not length or len(entry) != length:
            raise BadTile(f"the bundle breaks off in entry {number} of {width}")
        entries.append(entry)
        start += 2 + length
    if start != len(data):
        raise BadTile(f"{len(data) - start} bytes after the last of {width} entries")
    return entries


def root_of_tile(hashes: Sequence[bytes]) -> bytes:
    """The one hash that a full tile stands for, a level of tiles up."""
    if len(hashes) != TILE_WIDTH:
        raise BadTile(f"a tile of {len(hashes)} hashes stands for nothing yet")
    nodes = list(hashes)
    while len(nodes) > 1:
        nodes = [
            node_hash(left, right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    return nodes[0]


def nodes_of_tiles(size: int, read: Callable[[Place], bytes]) -> NodeHashes:
    """Node hashes of a log of `size` entries out of its tiles, each read once.

    read: the bytes of a place; a hash that is wrong there leads to another root, which its reader compares.
    """
    inner: dict[tuple[int, int], NodeHashes] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        first = index << height
        tile = first // TILE_WIDTH
        if (tile_level, tile) not in inner:
            count = size >> (HEIGHT * tile_level)
            place = Place(tile_level, tile, min(TILE_WIDTH, count - tile * TILE_WIDTH))
            inner[tile_level, tile] = nodes_from_leaves(hashes_of(read(place), place.width))
        return inner[tile_level, tile](height, (first % TILE_WIDTH) >> height)

    return node
