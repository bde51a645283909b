"""The blobs that whoever continues a mirrored lab would need: fetched within a quota, swept when no longer needed.

Law: what `garbage` calls needed is kept and nothing else, the newest first, and beside it what the newest head needs of which
everything is here, unless the newest alone would fit; what is there stays through a kill, and half a
blob goes on where it stopped; a lab that lost one, or drips, keeps no other blob from coming.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from archipel.blobs import BlobStore, StorageFull
from archipel.blobs.errors import BlobMissing
from archipel.lab.garbage import needed_blobs, versions_in_parts
from archipel.lab.parted import Parted
from archipel.lab.state import LabState
from archipel.records.fields import BlobRef
from archipel.records.mirror_documents import MirrorBlobs
from archipel.records.weight_parts import BadParts

GRACE_S = 3600.0
"""A blob that is needed no more stays so long: the ledger may say otherwise in a moment."""
GONE_S = 600.0
"""After so long somebody may have what nobody had."""
MAX_LATE = 3
"""Blobs that do not come, in one round: the next round asks again."""
Fetch = Callable[[BlobRef, BlobStore], None]
"""Brings one in. Raises NotThere, NotNow, StorageFull."""


class NotThere(Exception):
    """The lab has it no more."""


class NotNow(Exception):
    """It did not come: later, perhaps."""


class KeptBlobs:
    """In one mirror's folder."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        """Raises OSError: the folder cannot be made or read."""
        self._store = BlobStore(folder, quota_bytes=quota_bytes, is_lasting=False)
        self._quota = quota_bytes
        self._parted = Parted(self._store)
        self._gone: set[str] = set()
        self._asked_again_s = 0.0

    def keep_up(
        self,
        state: LabState,
        fetch: Fetch,
        now_s: float,
        goes_on: Callable[[int, int], bool],
        complete: LabState | None = None,
    ) -> MirrorBlobs:
        """Fetch what is missing, sweep what is needed no more; what is kept then.

        goes_on: asked before each blob: (blobs looked at, of how many) -> whether there is time.
        complete: an earlier state of which everything is here, and stays.

        Raises:
            BlobError, OSError: the disk.
        """
        wanted = list(dict.fromkeys((*needed_blobs(state), *self._parts(state))))
        live = {blob.digest for blob in wanted}
        self._gone &= live
        if now_s - self._asked_again_s > GONE_S:
            self._asked_again_s, self._gone = now_s, set()
        both = live if complete is None else live | (self._needed(complete) or set())
        self._sweep(both, now_s, GRACE_S)
        fits = sum(blob.size for blob in wanted) <= self._quota
        lives = [both, live] if both != live and fits else [both]
        unfit = late = 0
        for number, blob in enumerate(wanted):
            if not goes_on(number, len(wanted)):
                break
            if blob.digest in self._gone or self._store.exists(blob.digest):
                continue
            try:
                self._bring(blob, fetch, lives, now_s)
            except NotThere:
                self._gone.add(blob.digest)
            except StorageFull:
                unfit += 1
            except NotNow:
                late += 1
                if late == MAX_LATE:
                    break
        return self._counted(wanted, unfit)

    def is_whole(self, state: LabState) -> bool:
        """Whether every blob is here that is needed in this state."""
        needed = self._needed(state)
        return needed is not None and all(map(self._store.exists, needed))

    def _needed(self, state: LabState) -> set[str] | None:
        """Digests; None: a document that names parts is not here."""
        found = {blob.digest for blob in needed_blobs(state)}
        try:
            for version in versions_in_parts(state):
                found |= {blob.digest for blob in self._parted.blobs_of(version)}
        except (BlobMissing, BadParts):
            return None
        return found

    def _parts(self, state: LabState) -> Iterator[BlobRef]:
        """What versions in parts need besides, as far as the documents that name it are here."""
        for version in versions_in_parts(state):
            with contextlib.suppress(
                BlobMissing, BadParts
            ):  # fetched in this round, or the lab's fault
                yield from self._parted.blobs_of(version)

    def _bring(self, blob: BlobRef, fetch: Fetch, lives: list[set[str]], now_s: float) -> None:
        """Where there is no room, what is needed no more goes at once. lives: what stays, less and less of it."""
        for live in lives:
            try:
                return fetch(blob, self._store)
            except StorageFull:
                self._sweep(live, now_s, 0.0)
        return fetch(blob, self._store)

    def _sweep(self, live: set[str], now_s: float, grace_s: float) -> None:
        self._store.sweep(live, now_s=now_s, older_than_s=grace_s, idle_s=GRACE_S)

    def _counted(self, wanted: list[BlobRef], unfit: int) -> MirrorBlobs:
        here = [blob for blob in wanted if self._store.exists(blob.digest)]
        return MirrorBlobs(
            wanted=len(wanted),
            wanted_bytes=sum(blob.size for blob in wanted),
            kept=len(here),
            kept_bytes=sum(blob.size for blob in here),
            gone=len(self._gone),
            unfit=unfit,
        )
