"""A bucket whose bytes others fetch and put themselves: signed addresses, what the store says of an object, copies inside it.

Source: AWS, S3 API reference: "Authenticating Requests: Using Query Parameters", HeadObject, CopyObject, UploadPartCopy.
Law: a signed address is for one key, one method and some minutes; who has it needs no credentials and learns none.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from archipel.blobs.errors import BlobError, StorageFailed
from archipel.blobs.s3_bucket import NOTHING, Bucket, Sent, length_of
from archipel.blobs.s3_listing import BadListing, code_of, read_copied
from archipel.blobs.s3_signing import Asked, spelled_path

COPY_AT_ONCE_BYTES = 2**30
"""A larger object is copied in parts: a store may be silent while it copies one."""
COPY_PART_BYTES = 2**29
CHECKSUM = "x-amz-checksum-sha256"


@dataclass(frozen=True, slots=True)
class Head:
    """What a store says of an object."""

    size: int
    sha256: str
    """Hex, as the store computed it; empty: it does not say."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an address is signed for, besides its key."""

    method: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class DirectBucket(Bucket):
    """See the module's text."""

    def address(self, key: str, request: Request, life_s: int) -> str:
        """Where whoever sends the headers of `request` may make it for so long. Pure but for the clock."""
        place = self.place
        host = place.reached.partition("://")[2]
        asked = Asked(request.method, host, place.path(key), request.query, request.headers)
        query = self._signer.query(asked, life_s, self._clock_s())
        return f"{place.reached}{spelled_path(asked.path)}?{query}"

    def head(self, key: str) -> Head:
        """What the store says of an object; raises BlobMissing."""
        asked = Sent(headers={"x-amz-checksum-mode": "ENABLED"})
        with self._answered("HEAD", key, asked) as answer:
            return Head(length_of(answer), sha256_told(answer.headers.get(CHECKSUM, "")))

    def copy(self, source: str, target: str, size: int) -> None:
        """An object of `size` bytes once more, under another key; raises BlobMissing."""
        from_where = {"x-amz-copy-source": spelled_path(self.place.path(source))}
        if size > COPY_AT_ONCE_BYTES:
            self._copy_parts(from_where, target, size)
            return
        self._succeeded(self._done("PUT", target, Sent(headers=from_where)))

    def read(self, key: str, most: int) -> bytes:
        """A small object; raises BlobMissing. StorageFailed: it is larger than `most`."""
        data = self._done("GET", key, NOTHING)
        if len(data) > most:
            raise StorageFailed(f"{key} has {len(data)} bytes; expected at most {most}")
        return data

    def _copy_parts(self, from_where: Mapping[str, str], target: str, size: int) -> None:
        upload = self.begin_parts(target)
        try:
            tags = []
            for number, start in enumerate(range(0, size, COPY_PART_BYTES), 1):
                stop = min(start + COPY_PART_BYTES, size)
                span = {**from_where, "x-amz-copy-source-range": f"bytes={start}-{stop - 1}"}
                query = {"partNumber": str(number), "uploadId": upload}
                data = self._done("PUT", target, Sent(headers=span), query)
                self._succeeded(data)
                tags.append(_tag(data))
            self.end_parts(target, upload, tags)
        except BaseException:
            self.give_up(target, upload)
            raise

    def give_up(self, key: str, upload: str) -> None:
        """End an upload in parts; one that cannot be ended now is ended by a sweep."""
        try:
            self.delete(key, {"uploadId": upload})
        except BlobError:
            return

    def _succeeded(self, data: bytes) -> None:
        """A copy that fails says so with status 200, once the store has begun to answer."""
        if b"<Error" in data[:4096]:
            raise StorageFailed(
                f"{self.place.endpoint} did not copy: {code_of(data) or 'it does not say why'}; see to the store"
            )


def checksum_of(sha256: str) -> dict[str, str]:
    """The header that says the SHA-256 (hex) of a body, so that a store refuses another."""
    return {CHECKSUM: base64.b64encode(bytes.fromhex(sha256)).decode("ascii")}


def sha256_told(text: str) -> str:
    """Hex, of a checksum header; empty: it is none of a whole object."""
    try:
        data = base64.b64decode(text[:64], validate=True)
    except (binascii.Error, ValueError):
        return ""
    return data.hex() if len(data) == 32 else ""


def _tag(data: bytes) -> str:
    try:
        tag = read_copied(data)
    except BadListing as error:
        raise StorageFailed(f"a part was not copied: {error}; see to the store") from None
    if not is_tag(tag):
        raise StorageFailed("the store gave a copied part no name")
    return tag


def is_tag(text: str) -> bool:
    """Whether a store may call a part so; nothing else goes into a request."""
    return 0 < len(text) <= 128 and text.isascii() and text.strip('"').isalnum()
