"""What can go wrong with a blob, each by its own name."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class BlobError(Exception):
    """A blob cannot be kept or given."""


class BadDigest(BlobError, ValueError):
    """A name that is not `sha256:` and 64 lower-case hexadecimal digits."""


class BlobMissing(BlobError, LookupError):
    """There is no such blob here."""


class DigestMismatch(BlobError):
    """Bytes that are not the ones their name says; they have been removed."""


class BlobTooLarge(BlobError):
    """More bytes than were announced, or than one blob may have."""


class BlobIncomplete(BlobError):
    """The stream ended early; what arrived is kept for a resumed one."""


class BlobBusy(BlobError):
    """Another writer is filling this partial blob, or it does not end where the stream starts."""


class StorageFull(BlobError):
    """The disk or the store's quota is full."""


class StorageFailed(BlobError, OSError):
    """The store's folder is gone, read-only or broken: whoever runs it must mend it."""


class TooManyOpenFiles(BlobError):
    """No further file can be opened now; it passes when others are closed."""


_KINDS: dict[int, tuple[type[BlobError], str]] = {
    errno.ENOSPC: (StorageFull, "the disk is full; make room on it"),
    errno.EDQUOT: (StorageFull, "this user's disk quota is full; make room or raise it"),
    errno.EFBIG: (StorageFull, "the file is larger than this file system or user may have"),
    errno.EMFILE: (TooManyOpenFiles, "too many open files; try again, or raise `ulimit -n`"),
    errno.ENFILE: (TooManyOpenFiles, "this machine has too many open files; try again"),
    errno.ENOENT: (StorageFailed, "the store's folder is gone; mount it again, or restart"),
    errno.EROFS: (StorageFailed, "the disk is read-only; mount it for writing"),
}


@contextmanager
def named_errors(doing: str) -> Iterator[None]:
    """What the operating system says, as one of the kinds above.

    Raises:
        StorageFull, TooManyOpenFiles, StorageFailed: in place of an OSError.
    """
    try:
        yield
    except BlobError:
        raise
    except OSError as error:
        unknown = (StorageFailed, f"{error.strerror or error}; see to the disk")
        kind, reason = _KINDS.get(error.errno or 0, unknown)
        raise kind(f"{doing}: {reason}") from error
