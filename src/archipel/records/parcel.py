r"""A parcel: one JSON document and small blobs beside it, in one message.

    magic "APCL1\\n" · u32 number of blobs · u32 bytes of the document · u32 bytes of each blob
    the document · the blobs, one after the other          (little-endian)

It saves a round trip per blob; a blob's name is its digest, computed by whoever receives it.
Law: every length is checked against the bytes at hand before anything is cut out.
"""

import struct
from collections.abc import Sequence

MEDIA_TYPE = "application/vnd.archipel.parcel.v1"
MAGIC = b"APCL1\n"
MAX_PARCEL_BYTES = 2 * 1024 * 1024
MAX_PARCEL_BLOBS = 256
SMALL_BLOB_BYTES = 1024 * 1024
"""A blob up to this size may travel in a parcel."""
_HEAD = struct.Struct("<II")


class BadParcel(ValueError):
    """Bytes that are no parcel."""


def pack_parcel(document: bytes, blobs: Sequence[bytes]) -> bytes:
    """The message.

    Raises:
        BadParcel: too many blobs, or too large together.
    """
    sizes = struct.pack(f"<{len(blobs)}I", *map(len, blobs))
    parcel = b"".join((MAGIC, _HEAD.pack(len(blobs), len(document)), sizes, document, *blobs))
    if len(blobs) > MAX_PARCEL_BLOBS or len(parcel) > MAX_PARCEL_BYTES:
        raise BadParcel(
            f"{len(blobs)} blobs and {len(parcel)} bytes; a parcel holds at most "
            f"{MAX_PARCEL_BLOBS} and {MAX_PARCEL_BYTES}"
        )
    return parcel


def unpack_parcel(data: bytes) -> tuple[bytes, list[bytes]]:
    """(document, blobs).

    Raises:
        BadParcel: the lengths do not add up, or are over the bounds.
    """
    start = len(MAGIC) + _HEAD.size
    if len(data) > MAX_PARCEL_BYTES or len(data) < start or not data.startswith(MAGIC):
        raise BadParcel(f"{len(data)} bytes that do not begin as a parcel")
    number, document_size = _HEAD.unpack_from(data, len(MAGIC))
    if number > MAX_PARCEL_BLOBS or len(data) < start + 4 * number:
        raise BadParcel(f"{number} blobs; at most {MAX_PARCEL_BLOBS}")
    sizes = struct.unpack_from(f"<{number}I", data, start)
    place = start + 4 * number
    if place + document_size + sum(sizes) != len(data):
        raise BadParcel("the lengths of its parts do not add up to the parcel's")
    parts = []
    for size in (document_size, *sizes):
        parts.append(data[place : place + size])
        place += size
    return parts[0], parts[1:]
