"""Fetching a version in parts: its documents, and then the parts that are wanted, several at a time.

Parts: `Wanted` (which), `read_parts` (the documents), `fetch_parts`, `in_parts` (a link of a chain). Laws: a document is
believed under the digest in a signed record, a part under its digest in a document; what is here already is not fetched
again, and a transfer that was cut goes on where it stopped, so that the same call again finishes what one began.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.node.exchange import LabRefused
from archipel.node.side_by_side import side_by_side
from archipel.records.chain import Publication
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import MAX_PART_MANIFEST_BYTES
from archipel.records.weight_parts import (
    MAX_INDEX_BYTES,
    MAX_LIST_BYTES,
    BadParts,
    InParts,
    PartBlobs,
    PartIndex,
    read_blobs,
    read_index,
)
from archipel.work.messages import LinkMessage, PartFiles

AT_ONCE = 4
"""Parts on their way to one machine: one of them waits for its last chunk while others fill the line."""

Fetch = Callable[..., Awaitable[list[Path]]]
"""Files of blobs, in order."""
Told = Callable[[int, int], None]
"""Heard after each part: bytes of the parts that are here, and of all that are wanted."""


def tell_nobody(here: int, wanted: int) -> None:
    """Of whoever does not ask."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What a version in parts says of itself."""

    index: PartIndex
    blobs: PartBlobs
    """Anchors or deltas."""
    files: tuple[Path, Path]
    """Where the two documents lie."""


async def read_parts(entry: Publication, step: str, fetch: Fetch) -> Documents:
    """The documents of a version in parts, for this step of a chain ("anchor" or "delta").

    Raises:
        LabRefused: `bad-parts`, they are none, or of another version; also from the lab, as LabUnreachable.
    """
    blob = entry.anchor if step == "anchor" else entry.delta
    if blob is None or not isinstance(entry.manifest, InParts):
        raise LabRefused("broken-chain", f"version {entry.version} has no {step} in parts", 200)
    try:
        for each, most in ((entry.manifest, MAX_INDEX_BYTES), (blob, MAX_LIST_BYTES)):
            if each.size > most:
                raise BadParts(f"a document of {each.size} bytes; at most {most} are read")
        first, second = await fetch(entry.manifest, blob)
        index = await asyncio.to_thread(lambda: read_index(first.read_bytes()))
        if (index.version, index.state, len(index.parts)) != (
            entry.version,
            entry.policy,
            entry.manifest.parts,
        ):
            raise BadParts(
                f"an index of version {index.version}, {index.state}, where {entry.version}, {entry.policy}, was published"
            )
        of = "anchor" if step == "anchor" else "delta"
        blobs = await asyncio.to_thread(lambda: read_blobs(second.read_bytes(), index, of))  # type: ignore[arg-type]  # one of the two words
    except BadParts as error:
        raise LabRefused("bad-parts", f"version {entry.version}: {error}", 200) from None
    return Documents(index, blobs, (first, second))


async def fetch_parts(
    documents: Documents, numbers: Sequence[int], fetch: Fetch, told: Told = tell_nobody
) -> list[PartFiles]:
    """Files of these parts, in order, AT_ONCE at a time.

    Raises:
        LabUnreachable, LabRefused: a part is nowhere to be had; what came stays, and the others are let go.
        StorageFull, OSError: this machine's disk.
    """
    pairs = [(documents.index.parts[n].manifest, documents.blobs.blobs[n]) for n in numbers]
    all_bytes, here = sum(one.size + other.size for one, other in pairs), 0

    async def one(pair: tuple[BlobRef, BlobRef]) -> PartFiles:
        nonlocal here
        if pair[0].size > MAX_PART_MANIFEST_BYTES:
            raise LabRefused("bad-parts", f"a part's manifest of {pair[0].size} bytes", 200)
        manifest, weights = await fetch(*pair)
        here += sum(each.size for each in pair)
        told(here, all_bytes)
        return manifest, weights

    return await side_by_side(one, pairs, AT_ONCE)


async def in_parts(
    entry: Publication, step: str, fetch: Fetch, told: Told = tell_nobody
) -> LinkMessage:
    """A whole version in parts as a link of a chain. Raises as `read_parts` and `fetch_parts`."""
    documents = await read_parts(entry, step, fetch)
    parts = await fetch_parts(documents, range(len(documents.index.parts)), fetch, told)
    manifest, listed = documents.files
    return LinkMessage(
        version=entry.version,
        policy=entry.policy,
        manifest=manifest,
        anchor=listed if step == "anchor" else None,
        delta=listed if step == "delta" else None,
        parts=tuple(parts),
    )
