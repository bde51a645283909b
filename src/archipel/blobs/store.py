"""The local folder that implements the ports of `port`."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import ClassVar

from archipel.blobs.account import Account, Usage
from archipel.blobs.errors import (
    BlobIncomplete,
    BlobMissing,
    BlobTooLarge,
    DigestMismatch,
    StorageFull,
    named_errors,
)
from archipel.blobs.layout import Layout, hexadecimal
from archipel.blobs.sweep import Live, SweepReport, sweep
from archipel.blobs.writer import BlobWriter
from archipel.records.canonical import sha256_digest

MAX_BLOB_BYTES = 64 * 2**30
"""Default cap on one blob."""
MAX_STORE_BYTES = 512 * 2**30
"""Default quota of a store, partial blobs included."""
CHUNK_BYTES = 2**20


class BlobStore:
    """Blobs in the folder `root`, made if missing. Safe for several threads and processes.

    A store that does not last is for what can be fetched again: nothing waits for the disk, and what
    another process left, which a power cut may have damaged, is hashed before it counts as here.
    Quota and room are those of this process's view: one process should own a store's growth.
    Every method may raise StorageFailed (the folder is gone, read-only or broken) and
    TooManyOpenFiles.
    """

    is_near: ClassVar[bool] = True
    """No question waits for a network."""
    direct: ClassVar[None] = None
    """All bytes pass this process."""

    def __init__(
        self,
        root: Path,
        max_blob_bytes: int = MAX_BLOB_BYTES,
        quota_bytes: int = MAX_STORE_BYTES,
        reserve_bytes: int = 0,
        *,
        is_lasting: bool = True,
    ) -> None:
        """Walk what is there and remove what killed writers left behind.

        Args:
            root: the folder.
            max_blob_bytes: cap on one blob.
            quota_bytes: cap on all files together.
            reserve_bytes: the part of the quota that only privileged uploads may use.
            is_lasting: a power cut takes away or damages nothing that was put.

        Raises:
            OSError: the folder cannot be made or read. ValueError: the reserve exceeds the quota.
        """
        self._layout = Layout(root)
        self._account = Account(self._layout, quota_bytes, reserve_bytes, is_lasting=is_lasting)
        for path, _ in self._layout.partial_files():
            if "." in path.name:  # private, and no writer that lives will resume it
                self._account.remove_partial(path)
        self._max_blob_bytes = max_blob_bytes

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""
        with suppress(BlobMissing):
            self._require_sound(digest)
            return self.size(digest) >= 0
        return False

    def is_at_hand(self, digest: str) -> bool:
        """Whether `exists` answers at once: it has nothing to hash."""
        hashed = self._account.hashed
        return hashed is None or self._layout.final(digest) in hashed

    def keep(self, digest: str) -> bool:
        """Whether the whole blob is here; if so, it is as young as one that was put just now.

        For whoever is told not to send what is here already: a sweep must not take it away before
        the record that names it has come.
        """
        with suppress(BlobMissing), self._layout.expecting(digest):
            self._require_sound(digest)
            self._account.renew(self._layout.final(digest))
            return True
        return False

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises BlobMissing."""
        with self._layout.expecting(digest):
            return self._layout.final(digest).stat().st_size

    def path(self, digest: str) -> Path:
        """The blob's file, to be read only; raises BlobMissing. A sweep may remove it: see `open`."""
        self._require_sound(digest)
        self.size(digest)
        return self._layout.final(digest)

    def digests(self) -> list[str]:
        """Every whole blob here, sorted."""
        with named_errors("cannot list the blobs"):
            return sorted(digest for digest, _ in self._layout.whole_files())

    def used(self) -> Usage:
        """Bytes on the disk now, of whole and of partial blobs; counted, not walked."""
        return self._account.used()

    def room(self, *, privileged: bool = False) -> int:
        """Bytes that may come now: what quota, reserve and disk leave."""
        with named_errors("cannot look for room"):
            return self._account.room(privileged=privileged)

    def capacity(self, *, privileged: bool = False) -> int:
        """Bytes that this store would hold if it were empty: what quota and disk leave."""
        with named_errors("cannot look for room"):
            return self._account.capacity(privileged=privileged)

    def require_room(self, num_bytes: int, *, privileged: bool = False) -> None:
        """Raise StorageFull, with sizes, when so many bytes cannot come: ask before a transfer."""
        room = self.room(privileged=privileged)
        if num_bytes > room:
            raise StorageFull(
                f"{num_bytes} bytes are to come and {room} fit into {self._layout.root}; make room "
                "on its disk or raise the quota"
            )

    def put_bytes(self, data: bytes, *, privileged: bool = False) -> str:
        """Keep `data`; return its digest. A blob that is here is kept as `keep` does.

        Raises:
            BlobTooLarge: over the cap. StorageFull: no room; nothing is left behind.
        """
        digest = sha256_digest(data)
        if not self.keep(digest):
            self._check_size(digest, len(data))
            with self._writer(digest, len(data), None, privileged) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def writer(
        self, digest: str, size: int, offset: int = 0, *, privileged: bool = False
    ) -> BlobWriter:
        """A stream for a blob of `size` bytes, from `offset` on.

        Args:
            digest: what the bytes must hash to.
            size: bytes of the whole blob as announced; more is refused, fewer is incomplete.
            offset: 0 to begin anew, or `partial_offset(digest)` to go on.
            privileged: the sender may use the reserve.

        Raises:
            BadDigest: no digest. BlobTooLarge: announced over the cap. StorageFull: no room in the
            quota or on the disk. BlobBusy: the partial blob does not end at `offset`, or is being
            written.
        """
        self._check_size(digest, size)
        return self._writer(digest, size, offset, privileged)

    def partial_offset(self, digest: str) -> int:
        """How many bytes of an interrupted blob are here: a resumed stream starts there."""
        with suppress(BlobMissing), self._layout.expecting(digest):
            return self._layout.partial(digest).stat().st_size
        return 0

    def discard(self, digest: str) -> int:
        """Remove a blob, whole or partial; returns the bytes freed.

        A partial one that a writer is filling is left to it.
        """
        final, partial = self._layout.final(digest), self._layout.partial(digest)
        with named_errors(f"cannot remove {digest}"):
            whole = self._account.remove_whole(final) or 0
            return whole + (self._account.remove_partial(partial) or 0)

    def sweep(
        self,
        live: Live,
        *,
        now_s: float,
        older_than_s: float,
        idle_s: float,
        dry: bool = False,
    ) -> SweepReport:
        """Remove what nobody needs any more. Reads the whole folder: call it now and then, in a thread.

        Args:
            live: digests of whole blobs that must stay, or whether one must. What becomes live
                after this was collected is safe as long as it is younger than the grace.
            now_s: Unix time.
            older_than_s: the grace; a whole blob put or offered since then stays.
            idle_s: a partial blob that grew since then stays, and one that a writer holds.
            dry: remove nothing, and report what would have been.
        """
        with named_errors("cannot sweep the blobs"):
            ages = {"now_s": now_s, "older_than_s": older_than_s, "idle_s": idle_s}
            return sweep(self._account, live, **ages, dry=dry)

    def open(self, digest: str) -> FileIO:
        """The blob as a file, for whoever hashes what it reads; raises BlobMissing."""
        with self._layout.expecting(digest):
            return FileIO(self._layout.final(digest))

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop), at most CHUNK_BYTES at a time: the answer to a range request.

        Raises:
            BlobMissing: there is none. ValueError: the range is not inside the blob.
        """
        size = self.size(digest)
        end = size if stop is None else stop
        if not 0 <= start <= end <= size:
            raise ValueError(f"range {start} to {end} is not inside a blob of {size} bytes")
        return _read_chunks(self.open(digest), start, end)

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again.

        Raises:
            BlobMissing: there is none. BlobTooLarge: over `max_bytes`.
            DigestMismatch: it rotted on the disk; it is removed.
        """
        size = self.size(digest)
        if size > max_bytes:
            raise BlobTooLarge(f"{digest} has {size} bytes; the limit is {max_bytes}")
        data = b"".join(self.chunks(digest))
        if sha256_digest(data) != digest:
            self.discard(digest)
            raise DigestMismatch(f"{digest} rotted on the disk; it was removed, fetch it again")
        return data

    def verify_all(self) -> list[str]:
        """Hash every blob; remove those that rotted and return their digests."""
        rotten = []
        for digest in self.digests():
            with suppress(BlobMissing), self.open(digest) as file:  # else removed meanwhile
                if hashlib.file_digest(file, "sha256").hexdigest() != hexadecimal(digest):
                    self.discard(digest)
                    rotten.append(digest)
        return rotten

    def _require_sound(self, digest: str) -> None:
        """Where a power cut may have damaged it. Raises BlobMissing: so it was, and is removed; or it is not here."""
        hashed, final = self._account.hashed, self._layout.final(digest)
        if hashed is None or final in hashed:
            return
        with self.open(digest) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != hexadecimal(digest):
            self.discard(digest)
            raise BlobMissing(f"{digest} was damaged on the disk; it was removed, fetch it again")
        hashed.add(final)

    def _writer(self, digest: str, size: int, offset: int | None, privileged: bool) -> BlobWriter:
        return BlobWriter(self._account, digest, size, offset=offset, privileged=privileged)

    def _check_size(self, digest: str, size: int) -> None:
        if not 0 <= size <= self._max_blob_bytes:
            raise BlobTooLarge(f"{digest} has {size} bytes; a blob has 0 to {self._max_blob_bytes}")


def _read_chunks(file: FileIO, start: int, end: int) -> Iterator[bytes]:
    with file, named_errors("cannot read the blob"):
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise BlobIncomplete(f"the file ended at {start} of {end} bytes")
            yield chunk
            start += len(chunk)
