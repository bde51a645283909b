"""Whose a bucket's prefix is: an object `<prefix>lab.did` names the one lab that keeps its blobs there.

Law: two labs under one prefix would sweep each other's blobs, so the second is refused; labs that share one ledger, and so
one key, are one lab. A prefix without the object belongs to whoever starts there first.
"""

from archipel.blobs.errors import BlobError, BlobMissing
from archipel.blobs.s3_bucket import sent_of
from archipel.blobs.s3_direct import DirectBucket

NAME = "lab.did"
MAX_BYTES = 256


class OwnedByAnother(BlobError):
    """The prefix is another lab's."""


def claim(bucket: DirectBucket, did: str, *, dry: bool = False) -> None:
    """Make sure that the prefix is this lab's.

    Args:
        bucket: names the prefix.
        did: the lab's key.
        dry: leave a prefix that is nobody's as it is.

    Raises:
        OwnedByAnother: it is not. StorageFailed: the store is down, or refuses.
    """
    owner = _owner(bucket)
    if not owner and not dry:
        bucket.put(bucket.place.prefix + NAME, sent_of(did.encode("ascii")))
        owner = _owner(bucket)  # of two that start at the same time one finds the other's
    if owner and owner != did:
        raise OwnedByAnother(
            f"s3://{bucket.place.bucket}/{bucket.place.prefix} holds the blobs of {owner!a:.100}, and this lab is {did}; "
            f"give each lab a prefix of its own, or delete the object {NAME} there if that lab is gone for good"
        )


def _owner(bucket: DirectBucket) -> str:
    """Empty: nobody."""
    try:
        return bucket.read(bucket.place.prefix + NAME, MAX_BYTES).decode("utf-8", "replace").strip()
    except BlobMissing:
        return ""
