"""Where the bytes that a work needs come from: from beside its lease, the cache, or the lab.

Law: bytes are known by their hash alone. What came beside a lease and is not asked for is never written.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.node.client import LabReader
from archipel.node.mirrors import Mirrors
from archipel.node.peers import Peers
from archipel.node.sharing import Shared
from archipel.records.canonical import sha256_digest
from archipel.records.documents import BLOB_MARK_DIGITS, MAX_BLOBS_TOLD
from archipel.records.fields import BlobRef
from archipel.records.parcel import SMALL_BLOB_BYTES
from archipel.records.sources import BlobSources


class Supply:
    """Brings blobs into one store."""

    def __init__(self, lab: LabReader, store: BlobStore, mirrors: Iterable[str] = ()) -> None:
        """mirrors: addresses that are asked before the lab."""
        self._lab = lab
        self._store = store
        self.mirrors = Mirrors(mirrors, store)
        self.shared = Shared(store)
        """What may be passed on to other nodes."""
        self.peers = Peers(lab, store, self.shared)
        self.at_hand: dict[str, int] = {}
        """Digest -> bytes of all that was asked for since the lease at hand came."""
        self._beside: dict[str, bytes] = {}
        self._latest: OrderedDict[str, None] = OrderedDict()
        """Digests of the small blobs used last, oldest first."""

    def lay(self, blobs: Iterable[bytes], sources: Iterable[BlobSources] = ()) -> None:
        """These came beside the lease at hand, and where larger ones lie; the lease before's are forgotten."""
        self.peers.lay(sources)
        self._beside = {sha256_digest(data): data for data in blobs}
        self.at_hand.clear()

    def forget(self) -> None:
        """The lab is another one: nothing of what lies here was its."""
        self._beside.clear()
        self._latest.clear()
        self.shared.forget()
        self.peers.forget()

    async def fetch_published(self, *blobs: BlobRef) -> list[Path]:
        """As `fetch`, of what a verified publication names: others may have it from here."""
        for blob in blobs:
            self.shared.publish(blob.digest, blob.size)
        return await self.fetch(*blobs)

    async def fetch(self, *blobs: BlobRef) -> list[Path]:
        """The blobs' files, in order; what came beside the lease is written in one go.

        Raises:
            LabUnreachable, LabRefused: from the lab.
            StorageFull, OSError: from this machine's disk.
        """
        self.at_hand.update((blob.digest, blob.size) for blob in blobs)
        beside = [
            data for blob in blobs if (data := self._beside.pop(blob.digest, None)) is not None
        ]
        if beside:
            await asyncio.to_thread(self._keep, beside)
            self._lab.bytes_down += sum(map(len, beside))
        return [await self._fetched(blob) for blob in blobs]

    def _keep(self, beside: Iterable[bytes]) -> None:
        for data in beside:
            self._store.put_bytes(data)

    async def _fetched(self, blob: BlobRef) -> Path:
        if not self._store.is_at_hand(blob.digest):  # an earlier agent may have left gigabytes
            await asyncio.to_thread(self._store.exists, blob.digest)
        await self.peers.fetch(blob)
        await self.mirrors.fetch(blob)
        path = await self._lab.fetch(blob, self._store)
        if blob.size <= SMALL_BLOB_BYTES:
            self._latest[blob.digest] = None
            self._latest.move_to_end(blob.digest)
            while len(self._latest) > MAX_BLOBS_TOLD:
                self._latest.popitem(last=False)
        return path

    @property
    def bytes_at_hand(self) -> int:
        """What the lease at hand needs on this machine's disk at once, as far as it was asked for."""
        return sum(self.at_hand.values())

    @property
    def marks(self) -> tuple[str, ...]:
        """What to tell the lab of the small blobs that came last; one that is gone is fetched again."""
        return tuple(digest.removeprefix("sha256:")[:BLOB_MARK_DIGITS] for digest in self._latest)
