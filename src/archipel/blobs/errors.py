"""What can go wrong with a blob, each by its own name."""


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
