"""Where `run verify` reads blobs from: a lab that runs, or a copy of a lab's home, which stays as it is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from archipel.blobs import BlobError, BlobStore, StorageFull
from archipel.blobs.layout import hexadecimal
from archipel.cli.doors import Mendable, mending
from archipel.cli.waited_lab import WaitedLab
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.release.places import blob_place

GIB = 2**30
NOT_FOUND = "not-found"
"""A lab's word for what it does not have."""


class NotKept(Exception):
    """The blob is not to be had; nothing is shown of it. The message is the reason."""


class Altered(Exception):
    """There are bytes under this name, and they do not hash to it."""


class Blobs(Protocol):
    """Blobs by what a record says of them. Every method raises NotKept and Altered."""

    def read(self, blob: BlobRef) -> bytes:
        """The bytes, hashed."""

    def path(self, blob: BlobRef) -> Path:
        """A file that holds them, hashed; not to be changed."""


class LabBlobs(WaitedLab):
    """Fetched from a lab into a folder of our own, which a later call goes on from."""

    def __init__(self, url: str, store: BlobStore) -> None:
        super().__init__(LabReader(url))
        self._store = store

    def read(self, blob: BlobRef) -> bytes:
        """See `Blobs.read`."""
        self.path(blob)
        try:
            return _whole(self._store.read_bytes(blob.digest, blob.size), blob)
        except BlobError:  # rotted in our own folder, and removed: once more
            self.path(blob)
            return _whole(self._store.read_bytes(blob.digest, blob.size), blob)

    def path(self, blob: BlobRef) -> Path:
        """See `Blobs.path`."""
        try:
            return self._runner.run(self._lab.fetch(blob, self._store))
        except StorageFull as error:
            raise NotKept(f"no room for it here (--max-gb): {error}") from None
        except LabRefused as error:
            if error.problem == NOT_FOUND:
                raise NotKept("the lab keeps it no longer") from None
            raise Altered(f"the lab's bytes under {blob.digest} are others: {error}") from None
        except LabUnreachable as error:
            raise Mendable(
                f"no answer from the lab: {error}; the same command goes on where this one ended"
            ) from None


class FolderBlobs:
    """In a folder of blobs as a lab lays them, which stays as it is."""

    _hint = "a backup has all that its lab still had if it was made by `archipel lab backup --all-blobs`"

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, blob: BlobRef) -> bytes:
        """See `Blobs.read`."""
        try:
            # A pipe in its place would be waited for: it is opened without, and is empty.
            with open(self._place(blob), "rb", opener=_at_once) as file:
                data = file.read(blob.size + 1)
        except OSError as error:
            raise NotKept(f"it is not in {self._root} ({error.strerror}); {self._hint}") from None
        return _whole(data, blob)

    def path(self, blob: BlobRef) -> Path:
        """See `Blobs.path`."""
        self.read(blob)
        return self._place(blob)

    def _place(self, blob: BlobRef) -> Path:
        name = hexadecimal(blob.digest)
        return self._root / name[:2] / name[2:]


class ReleaseBlobs(FolderBlobs):
    """In a release, which lays them otherwise."""

    _hint = "`archipel release make` names what a release does not hold"

    def _place(self, blob: BlobRef) -> Path:
        hexadecimal(blob.digest)  # raises of any other text
        return self._root / blob_place(blob.digest)


@contextmanager
def blobs_of(url: str | None, root: Path, kept: Path, max_gb: float) -> Iterator[Blobs]:
    """Of the lab at `url`, fetched into `kept / blobs`, at most so much; without a lab, those in `root`."""
    if url is None:
        yield FolderBlobs(root)
        return
    with mending(OSError):
        store = BlobStore(kept / "blobs", quota_bytes=int(max_gb * GIB))
    with LabBlobs(url, store) as lab:
        yield lab


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _whole(data: bytes, blob: BlobRef) -> bytes:
    if len(data) != blob.size or sha256_digest(data) != blob.digest:
        raise Altered(f"{blob.digest} has other bytes than its name and size say")
    return data
