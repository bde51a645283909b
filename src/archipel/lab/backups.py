"""A lab's home copied while the lab runs, and put back: ledger, head, blobs, keys.

    <folder>/ledger.sqlite   the ledger at one moment (SQLite's own backup), ledger.head  its newest head
    <folder>/blobs/          what the state at that moment needs
    <folder>/blobs.list      of a lab whose blobs lie in a bucket: digests of these, a line each, which stay there
    <folder>/*.key           the lab's and the operator's keys, mode 0600

Law: the ledger gets its name last, so a folder with a ledger is a whole copy; the head is that of the copied
ledger, not a newer one, and every blob is hashed on its way.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from archipel.blobs.errors import BlobMissing
from archipel.blobs.layout import Layout, hexadecimal
from archipel.blobs.port import LabBlobs, Reading
from archipel.ledger.head_file import HeadFile
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import LedgerUnavailable
from archipel.ledger.tree_head import TreeHead
from archipel.records.canonical import sha256_digest

LEDGER, HEAD, LISTED = "ledger.sqlite", "ledger.head", "blobs.list"
KEYS = ("lab.key", "operator.key")
CHUNK_BYTES = 1024 * 1024
PAGES_AT_ONCE = 1024
"""Of the database, between which its writer may go on."""


class BadBackup(Exception):
    """A home cannot be copied or put back; the message says why and what to do."""


class Kept:
    """Blobs in a folder that stays as it is: whoever reads it need not be able to write there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, digest: str) -> Reading:
        """Raises FileNotFoundError, OSError."""
        name = hexadecimal(digest)
        return (self._root / name[:2] / name[2:]).open("rb")

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again.

        Raises:
            BlobMissing: it is not there, or is larger. BadBackup: it has other bytes than its name says. OSError: the disk.
        """
        try:
            with self.open(digest) as file:
                data = file.read(max_bytes + 1) or b""
        except FileNotFoundError:
            raise BlobMissing(f"{self._root} holds no {digest}") from None
        if len(data) > max_bytes:
            raise BlobMissing(f"{digest} in {self._root} has more than {max_bytes} bytes")
        if sha256_digest(data) != digest:
            raise BadBackup(f"{digest} rotted: its bytes are others; restore it first")
        return data


@dataclass(frozen=True, slots=True)
class Copied:
    """What came along."""

    blobs: int
    bytes: int
    missing: tuple[str, ...]
    """Digests that the ledger needs and the home does not have."""


def copy_ledger(source: Path, target: Path) -> None:
    """The database as it is at one moment, beside its writer; whole under `target`, or not there.

    Raises:
        LedgerUnavailable: it cannot be read or written.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(partial)) as new,
        ):
            old.backup(new, pages=PAGES_AT_ONCE)
            new.execute("PRAGMA journal_mode = DELETE")  # one file, that can be copied as it is
        _flush(partial)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise LedgerUnavailable(f"cannot copy {source} to {target}: {error}") from None
    partial.replace(target)


def copy_blobs(source: Path, target: Path, digests: Iterable[str]) -> Copied:
    """Those blobs that `target` does not hold yet, each hashed.

    Raises:
        BadBackup: one has other bytes than its name says. OSError: the disk.
    """
    return _copied(Kept(source).open, target, digests)


def lacking(places: Sequence[Path], digests: Iterable[str]) -> tuple[str, ...]:
    """Those blobs that lie in none of these folders."""
    names = {digest: hexadecimal(digest) for digest in digests}
    return tuple(
        digest
        for digest, name in sorted(names.items())
        if not any((place / name[:2] / name[2:]).exists() for place in places)
    )


def copy_stored(store: LabBlobs, target: Path, digests: Iterable[str]) -> Copied:
    """As `copy_blobs`, out of a bucket. Raises BlobError besides: from the store."""

    def opened(digest: str) -> Reading:
        try:
            return store.open(digest)
        except BlobMissing as error:
            raise FileNotFoundError(str(error)) from None

    return _copied(opened, target, digests)


def list_stored(store: LabBlobs, target: Path, digests: Iterable[str]) -> Copied:
    """Which blobs of a bucket a copy of its lab needs: a list in the folder, and what the bucket lacks of it.

    Raises:
        OSError: the disk.
    """
    needs = sorted(digests)
    partial = target / (LISTED + ".partial")
    partial.write_text("".join(f"{digest}\n" for digest in needs), "ascii")
    _flush(partial)
    partial.replace(target / LISTED)
    return Copied(0, 0, tuple(digest for digest in needs if not store.exists(digest)))


def _copied(opened: Callable[[str], Reading], target: Path, digests: Iterable[str]) -> Copied:
    num, size, missing = 0, 0, []
    for digest in sorted(digests):
        name = hexadecimal(digest)
        new = target / name[:2] / name[2:]
        if new.exists():
            continue
        try:
            with opened(digest) as old:
                size += _copy_hashed(old, new, digest)
            num += 1
        except FileNotFoundError:
            missing.append(digest)
    return Copied(num, size, tuple(missing))


def all_digests(home: Path) -> list[str]:
    """Every whole blob in a home."""
    return [digest for digest, _ in Layout(home / "blobs").whole_files()]


def copy_keys(source: Path, target: Path) -> None:
    """Each key file that there is, for its owner alone.

    Raises:
        BadBackup: `target` has another key. OSError: the disk.
    """
    for name in KEYS:
        if not (source / name).is_file():
            continue
        data = (source / name).read_bytes()
        if (target / name).exists():
            if (target / name).read_bytes() != data:
                raise BadBackup(
                    f"{target / name} is another key than {source / name}; name another folder"
                )
            continue
        descriptor = os.open(target / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)


def write_head(path: Path, key: NoteKey, head: TreeHead) -> None:
    """Say outside the database which head is its newest: of a copy, that of the copied entries."""
    path.unlink(missing_ok=True)
    kept = HeadFile(path, key, writable=True)
    try:
        kept.keep(head)
    finally:
        kept.close()


def _copy_hashed(old: Reading, new: Path, digest: str) -> int:
    new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial, size, hasher = new.with_name(new.name + ".partial"), 0, hashlib.sha256()
    try:
        with partial.open("wb") as file:
            while chunk := old.read(CHUNK_BYTES):
                hasher.update(chunk)
                size += file.write(chunk)
        if hasher.hexdigest() != hexadecimal(digest):
            raise BadBackup(f"{digest} rotted: its bytes are others; restore it first")
        partial.chmod(0o444)
        _flush(partial)
        partial.replace(new)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
