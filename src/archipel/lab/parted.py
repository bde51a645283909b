"""Versions in parts as a lab keeps them: which blobs their documents name, and whether all of them are here.

Parts: `Parted`. Law: a document lies under its digest, so what was read of one holds for ever; what is remembered of
them is bounded, and one that is gone names nothing: its parts are of no use without it.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from archipel.blobs.errors import BlobMissing
from archipel.lab import refusals
from archipel.lab.garbage import needed, versions_in_parts
from archipel.lab.state import LabState
from archipel.records.chain import Publication
from archipel.records.fields import BlobRef
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

logger = logging.getLogger("archipel.lab")

MAX_REMEMBERED = 16
"""Versions whose parts are at hand with sizes."""
MAX_PACKED = 1024
"""Versions whose parts are remembered by their digests alone, 32 bytes each."""

V = TypeVar("V")
Read = Callable[[BlobRef], bytes]


class Store(Protocol):
    """Where documents are read."""

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again."""


class Parted:
    """What a lab knows of versions in parts; asked from any thread."""

    def __init__(self, blobs: Store | None = None) -> None:
        """blobs: None where every question says how documents are read."""
        self._blobs = blobs
        self._named: OrderedDict[tuple[str, ...], tuple[BlobRef, ...]] = OrderedDict()
        self._packed: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._remembering = threading.Lock()

    def blobs_of(self, made: Publication, read: Read | None = None) -> tuple[BlobRef, ...]:
        """All blobs of a version's parts: manifests, then anchors, then deltas; none of one that is whole.

        read: where the documents are; None: the lab's own store.

        Raises:
            BadParts: a document is none, or of another version. BlobError: it is not to be had.
        """
        if not isinstance(made.manifest, InParts):
            return ()
        key = _key(made)
        named = self._named.get(key)
        if named is None:
            named = tuple(blob for group in _groups(made, read or self._stored) for blob in group)
            self._remember(self._named, key, named, MAX_REMEMBERED)
        return named

    def known(self, made: Publication) -> tuple[BlobRef, ...]:
        """As `blobs_of`, of one that was asked about lately, as whoever admits it does; nothing is read."""
        return self._named.get(_key(made), ())

    def weights_of(self, made: Publication, step: str) -> tuple[BlobRef, ...]:
        """Of a version's parts what a chain takes: their manifests, and their anchors or their deltas. Raises as
        `blobs_of`.
        """
        named = self.blobs_of(made)
        if not isinstance(made.manifest, InParts):
            return ()
        count = made.manifest.parts
        has_both = step == "delta" and made.anchor is not None
        start = 2 * count if has_both else count
        return (*named[:count], *named[start : start + count])

    def needed(self, *states: LabState) -> set[str]:
        """Digests of all blobs that may still be asked for in any of these states, those of parts among them.

        Raises:
            BlobError: the store does not answer now; what is needed is not known.
        """
        versions = versions_in_parts(*states)
        return needed(*states).union(*(self._digests(made) for made in versions))

    def require(
        self, made: Publication, read: Read, is_here: Callable[[BlobRef], bool], most: int
    ) -> None:
        """Refuse a version in parts whose parts are not all here; of one that is whole nothing is asked.

        most: bytes that all its parts may have.

        Raises:
            Refused: a document is none, or of another version; a part is missing.
        """
        if not isinstance(made.manifest, InParts):
            return
        try:
            named = self.blobs_of(made, read)
        except BadParts as error:
            raise refusals.BadResult(f"version {made.version}: {error}") from None
        if sum(blob.size for blob in named) > most:
            raise refusals.TooLarge(f"the parts of version {made.version} have over {most} bytes")
        for blob in named:
            refusals.require_blob(is_here(blob), blob)

    def _digests(self, made: Publication) -> Iterator[str]:
        key = _key(made)
        packed = self._packed.get(key)
        if packed is None:
            try:
                packed = b"".join(bytes.fromhex(each.digest[7:]) for each in self.blobs_of(made))
            except (BadParts, BlobMissing) as error:
                logger.warning("a version's parts are not known", extra={"reason": str(error)})
                return
            self._remember(self._packed, key, packed, MAX_PACKED)
        for start in range(0, len(packed), 32):
            yield f"sha256:{packed[start : start + 32].hex()}"

    def _remember(
        self, held: OrderedDict[tuple[str, ...], V], key: tuple[str, ...], value: V, most: int
    ) -> None:
        with self._remembering:
            held[key] = value
            while len(held) > most:
                held.popitem(last=False)

    def _stored(self, blob: BlobRef) -> bytes:
        if self._blobs is None:
            raise BadParts(f"nobody said where {blob.digest} lies")
        return self._blobs.read_bytes(blob.digest, blob.size)


def _key(made: Publication) -> tuple[str, ...]:
    return tuple(
        "" if each is None else each.digest for each in (made.manifest, made.anchor, made.delta)
    )


def _groups(made: Publication, read: Read) -> Iterator[Iterable[BlobRef]]:
    index = read_index(_bounded(made.manifest, MAX_INDEX_BYTES, read))
    if (index.version, index.state) != (made.version, made.policy) or (
        len(index.parts) != getattr(made.manifest, "parts", None)
    ):
        raise BadParts(
            f"an index of {len(index.parts)} parts of version {index.version}, {index.state}, where version "
            f"{made.version}, {made.policy}, was expected"
        )
    yield (part.manifest for part in index.parts)
    if made.anchor is not None:
        yield _listed(made.anchor, index, "anchor", read).blobs
    if made.delta is not None:
        yield _listed(made.delta, index, "delta", read).blobs


def _listed(blob: BlobRef, index: PartIndex, of: str, read: Read) -> PartBlobs:
    data = _bounded(blob, MAX_LIST_BYTES, read)
    return read_blobs(data, index, "anchor" if of == "anchor" else "delta")


def _bounded(blob: BlobRef, most: int, read: Read) -> bytes:
    if blob.size > most:
        raise BadParts(f"a document of {blob.size} bytes; at most {most} are read")
    return read(blob)
