"""Where a large blob lies besides at the lab, and how one came: what lab and nodes tell each other of passing versions on.

Law: nothing here is believed. A chunk that hashes to what the lab said is passed on, and only the whole blob's own
digest says what it is; a peer's address is judged by whoever dials it (`node.addresses`).
"""

from typing import Annotated

from pydantic import Field

from archipel.records.document import Document
from archipel.records.fields import Did, Digest

MAX_CHUNKS = 256
"""Of one blob, so that their digests fit beside a lease."""
MIN_CHUNK_BYTES = 256 * 1024
MAX_PEERS_TOLD = 4
MAX_SOURCES_TOLD = 8
MAX_FETCHES_TOLD = 32
FIRST_PORT = 1024
"""Peers listen above the ports of a system's own services."""
MAX_RATE = 2**40
"""Bytes a second that anybody may claim."""
MAX_LIMIT_MS = 60_000
"""What one chunk may take."""

ChunkDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0, le=2**53 - 1)]
Rate = Annotated[int, Field(ge=1, le=MAX_RATE)]
"""Bytes a second."""


class Serving(Document):
    """A node passes versions on, at the address that the lab sees it under."""

    port: Annotated[int, Field(ge=FIRST_PORT, le=65_535)]
    rate: Rate
    """What it gives to all together, at most."""


class Fetched(Document):
    """What one source gave of one blob, as whoever fetched it saw it."""

    digest: Digest
    source: Did
    """A node, or the lab."""
    bytes: Bytes
    ms: Bytes
    is_whole: bool
    """The node has the blob now."""
    is_bad: bool = False
    """The source was dropped: other bytes than asked for, or none in time."""


class Peer(Document):
    """A node that may have the blob, or be about to."""

    node: Did
    address: Annotated[str, Field(max_length=64)]
    """Numbers and a port: `192.0.2.1:8441`, `[2001:db8::1]:8441`."""


class BlobSources(Document):
    """Of one blob."""

    digest: Digest
    chunks: Annotated[tuple[ChunkDigest, ...], Field(min_length=1, max_length=MAX_CHUNKS)]
    """SHA-256 of each `chunk_bytes(size)` bytes of it, in order."""
    peers: Annotated[tuple[Peer, ...], Field(max_length=MAX_PEERS_TOLD)] = ()
    """To be tried in this order, the lab last."""
    limit_ms: Annotated[int, Field(ge=1, le=MAX_LIMIT_MS)] = MAX_LIMIT_MS
    """A peer that takes longer for a chunk is too slow."""


def chunk_bytes(size: int) -> int:
    """The power of two, from MIN_CHUNK_BYTES on, of which a blob of `size` bytes has at most MAX_CHUNKS."""
    least = max(-(-size // MAX_CHUNKS), MIN_CHUNK_BYTES)
    return 1 << (least - 1).bit_length()


def num_chunks(size: int) -> int:
    """How many chunks a blob of `size` bytes has."""
    return -(-size // chunk_bytes(size))
