"""Bytes named by their hash, never believed until hashed.

`port` says what a store of blobs can do, `store` has the local folder (`BlobStore`), `writer` takes a
stream in, `sweep` removes what nobody needs, `account` says how much fits, `layout` which file is which,
and `errors` names what can go wrong. `s3` is a store in an S3-compatible server (`S3Blobs`) over
`s3_bucket` (its requests), `s3_index` (what is there), `s3_reading` and `s3_writing`; `s3_place`,
`s3_signing` and `s3_listing` are its forms. `landing` says how bytes pass by the lab; `s3_direct` and
`s3_landings` do it.
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
