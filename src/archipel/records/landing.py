"""How a blob's bytes go straight into the store of a lab, as lab and node tell each other. Nothing of this is signed by a
key: the lab believes what it finds there, by its hash.
"""

from typing import Annotated

from pydantic import Field

from archipel.records.document import Document
from archipel.records.fields import Count

FOLLOWS = "Archipel-Follows"
"""Header of whoever follows a lab to its store: a download may be answered with 307."""
MAX_LANDING_PARTS = 256
MAX_URL_CHARACTERS = 8192
"""Of a signed address, with the token of credentials that expire."""
MAX_TAG_CHARACTERS = 128
DIRECT_BYTES = 1024 * 1024
"""Smaller blobs pass the lab: asking where else they may go takes longer."""

Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS)]


class LandingPart(Document):
    """Bytes [start, stop) of a blob, and the signed address that takes them by PUT."""

    url: Annotated[str, Field(max_length=MAX_URL_CHARACTERS)]
    start: Count
    stop: Count


class Landing(Document):
    """Where one sender may put one blob, and until when."""

    name: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    parts: Annotated[tuple[LandingPart, ...], Field(min_length=1, max_length=MAX_LANDING_PARTS)]
    """In order: all of the blob."""
    is_hashed: bool
    """The request says the blob's SHA-256 in base64 as `x-amz-checksum-sha256`; the store refuses other bytes."""
    left_ms: Count
    """Until it ends."""


class Landed(Document):
    """The bytes are there."""

    tags: Annotated[tuple[Tag, ...], Field(max_length=MAX_LANDING_PARTS)] = ()
    """What the store called each part (`ETag`), if there are several or `is_hashed` is false."""
