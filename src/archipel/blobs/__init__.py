"""Bytes named by their hash, never believed until hashed.

`store` has the port (`Blobs`, which an object store may implement) and the local folder
(`BlobStore`), `writer` takes a stream in, `sweep` removes what nobody needs, `account` says how much
fits, `layout` which file is which, and `errors` names what can go wrong.
"""

from archipel.blobs.errors import (
    BlobBusy,
    BlobError,
    BlobIncomplete,
    BlobTooLarge,
    DigestMismatch,
    StorageFull,
)
from archipel.blobs.store import BlobStore

__all__ = [
    "BlobStore",
    "BlobBusy",
    "BlobError",
    "BlobIncomplete",
    "BlobTooLarge",
    "DigestMismatch",
    "StorageFull",
]
