"""Requests to one bucket of an S3-compatible server: each signed, bounded, repeated while its trouble may pass.

Law: whoever runs the store is believed in nothing but that it keeps bytes; what comes back is hashed by who asked.
A request that is repeated changes nothing that the first has not: keys are digests.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import httpx

from archipel.blobs.errors import BlobError, BlobMissing, StorageFailed, StorageFull
from archipel.blobs.s3_listing import (
    MAX_PAGE_BYTES,
    BadListing,
    Listed,
    code_of,
    read_page,
    read_upload_id,
    read_uploads,
)
from archipel.blobs.s3_place import Place
from archipel.blobs.s3_signing import (
    NO_BYTES,
    Asked,
    Credentials,
    Signer,
    spelled_path,
    spelled_query,
)

CONNECT_LIMIT_S = 5.0
SILENCE_LIMIT_S = 30.0
"""A store that is silent for longer counts as down."""
ATTEMPTS = 4
FIRST_PAUSE_S = 0.2
"""Between attempts, doubling."""
PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may pass."""
WITHOUT_ROOM = frozenset(
    {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "ServiceQuotaExceeded"}
)
MAX_PAGES = 100_000
"""Of a listing: a server that repeats itself must not hold a lab for ever."""

T = TypeVar("T")
Body = bytes | Callable[[], Iterator[bytes]]
"""Made anew for each attempt."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes with a request."""

    body: Body = b""
    size: int = 0
    sha256: str = NO_BYTES
    """Hex; the store itself refuses a body with another."""
    headers: Mapping[str, str] = field(default_factory=dict)


NOTHING = Sent()


class NotOffered(StorageFailed):
    """The store does not know this request."""


class _Passing(Exception):
    """Trying again may help."""


class Bucket:
    """One bucket, safe for several threads."""

    def __init__(
        self,
        place: Place,
        credentials: Credentials,
        clock_s: Callable[[], float] = time.time,
        *,
        silence_limit_s: float = SILENCE_LIMIT_S,
    ) -> None:
        self.place = place
        self._signer = Signer(credentials, place.region)
        self._clock_s = clock_s
        limits = httpx.Timeout(silence_limit_s, connect=CONNECT_LIMIT_S)
        self._http = httpx.Client(
            timeout=limits, trust_env=False, headers={"accept-encoding": "identity"}
        )
        self._closing = threading.Event()

    def close(self) -> None:
        """Drop the connections; no request is repeated any more."""
        self._closing.set()
        self._http.close()

    def size(self, key: str) -> int:
        """Bytes of an object; raises BlobMissing."""
        with self._answered("HEAD", key) as answer:
            return length_of(answer)

    def put(self, key: str, sent: Sent) -> None:
        """Keep an object; the store refuses bytes that are not of the digest that `sent` names."""
        self._done("PUT", key, sent)

    def delete(self, key: str, query: Mapping[str, str] | None = None) -> None:
        """Remove an object, or end an upload in parts; one that is not there is no trouble."""
        try:
            self._done("DELETE", key, NOTHING, query)
        except BlobMissing:
            return

    def listed(self, prefix: str) -> Iterator[Listed]:
        """All objects whose keys begin so."""
        following = ""
        for _ in range(MAX_PAGES):
            asked = {"list-type": "2", "prefix": prefix}
            if following:
                asked["continuation-token"] = following
            page = self._read(read_page, "GET", "", asked)
            yield from page.entries
            if not page.following:
                return
            following = page.following
        raise StorageFailed(f"cannot list {self.place.bucket}: more than {MAX_PAGES} pages")

    def uploads(self, prefix: str) -> tuple[Listed, ...]:
        """Uploads in parts that have not ended, the first thousand; none where the store cannot say."""
        try:
            return self._read(read_uploads, "GET", "", {"uploads": "", "prefix": prefix})
        except NotOffered:
            return ()

    def begin_parts(self, key: str) -> str:
        """Begin an upload in parts; its name."""
        return self._read(read_upload_id, "POST", key, {"uploads": ""})

    def put_part(self, key: str, upload: str, number: int, sent: Sent) -> str:
        """One part; what the store calls it."""
        query = {"partNumber": str(number), "uploadId": upload}
        with self._answered("PUT", key, sent, query) as answer:
            tag = answer.headers.get("etag", "")
            if not tag or len(tag) > 128 or not tag.strip('"').isalnum():
                raise StorageFailed(f"the store gave part {number} of {key} no name")
            return str(tag)

    def end_parts(self, key: str, upload: str, tags: list[str]) -> None:
        """Make an object of all parts."""
        each = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{each}</CompleteMultipartUpload>".encode()
        data = self._done("POST", key, sent_of(body), {"uploadId": upload})
        if (
            code_of(data) and b"<Error" in data
        ):  # said with status 200, once the store has begun to answer
            raise StorageFailed(f"the store did not put the parts together: {code_of(data)}")

    @contextmanager
    def reading(self, key: str, start: int, size: int) -> Iterator[Iterator[bytes]]:
        """Bytes [start, size) of an object; raises BlobMissing."""
        sent = Sent(headers={"range": f"bytes={start}-{size - 1}"}) if start else NOTHING
        with self._answered("GET", key, sent) as answer:
            if start and answer.status_code != httpx.codes.PARTIAL_CONTENT:
                raise StorageFailed(f"the store gave all of {key}, not the rest that was asked for")
            # No size: a cut must not lose a buffer.
            yield _named(answer.iter_raw(), f"cannot read {key}")

    def _read(
        self, reader: Callable[[bytes], T], method: str, key: str, query: Mapping[str, str]
    ) -> T:
        try:
            return reader(self._done(method, key, NOTHING, query))
        except BadListing as error:
            raise StorageFailed(f"{self.place.endpoint}: {error}; see to the endpoint") from None

    def _done(
        self, method: str, key: str, sent: Sent, query: Mapping[str, str] | None = None
    ) -> bytes:
        with self._answered(method, key, sent, query) as answer:
            return b"".join(_bounded(answer))

    @contextmanager
    def _answered(
        self, method: str, key: str, sent: Sent = NOTHING, query: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """The answer, whose status is one of success.

        Raises:
            BlobMissing, StorageFull, StorageFailed: accordingly.
        """
        for attempt in range(ATTEMPTS):
            try:
                answer = self._ask(method, key, sent, query or {})
                break
            except _Passing as error:
                if attempt == ATTEMPTS - 1 or self._closing.wait(FIRST_PAUSE_S * 2**attempt):
                    raise StorageFailed(
                        f"{self.place.endpoint}: {error} ({attempt + 1} attempts); see to the store, then try again"
                    ) from None
        try:
            yield answer
        finally:
            answer.close()

    def _ask(self, method: str, key: str, sent: Sent, query: Mapping[str, str]) -> httpx.Response:
        asked = Asked(method, self.place.host, self.place.path(key), query, sent.headers)
        headers = self._signer.headers(asked, sent.sha256, self._clock_s())
        if method in ("PUT", "POST"):
            headers["content-length"] = str(sent.size)
        told = f"?{spelled_query(query)}" if query else ""
        url = f"{self.place.endpoint}{spelled_path(asked.path)}{told}"
        body = sent.body if isinstance(sent.body, bytes) else sent.body()
        request = self._http.build_request(method, url, headers=headers, content=body or None)
        try:
            answer = self._http.send(request, stream=True)
            if answer.is_success:
                return answer
            try:
                data = b"".join(_bounded(answer))
            finally:
                answer.close()
        except (httpx.HTTPError, BlobError) as error:
            raise _Passing(_why(error)) from None
        raise self._refused(answer.status_code, code_of(data), key)

    def _refused(self, status: int, code: str, key: str) -> NoReturn:
        said = f"{self.place.endpoint} answered {status_words(status, code)}"
        if code in WITHOUT_ROOM or status == httpx.codes.INSUFFICIENT_STORAGE:
            raise StorageFull(f"{said}: the store is full; make room there or raise its quota")
        if status in PASSING:
            raise _Passing(f"it answered {status_words(status, code)}")
        if status == httpx.codes.NOT_FOUND and code != "NoSuchBucket":
            raise BlobMissing(f"there is no {key} in {self.place.bucket}")
        if status == httpx.codes.NOT_IMPLEMENTED:
            raise NotOffered(f"{said} for {key or self.place.bucket}; see to the store")
        advice = {
            401: "see to the credentials",
            403: "see to the credentials, to what they may do with this bucket, and to this machine's clock",
            404: "make the bucket first",
            301: "name the bucket's region",
        }.get(status, "see to the store")
        raise StorageFailed(f"{said} for {key or self.place.bucket}; {advice}")


def sent_of(data: bytes) -> Sent:
    """Bytes at hand, with their hash."""
    return Sent(data, len(data), hashlib.sha256(data).hexdigest())


def status_words(status: int, code: str) -> str:
    """A status, and what it calls itself."""
    return f"{status} {code}".strip()


def _bounded(answer: httpx.Response) -> Iterator[bytes]:
    came = 0
    for data in answer.iter_raw():
        came += len(data)
        if came > MAX_PAGE_BYTES:
            raise StorageFailed(f"more than {MAX_PAGE_BYTES} bytes came; no store says so much")
        yield data


def _named(chunks: Iterator[bytes], doing: str) -> Iterator[bytes]:
    try:
        yield from chunks
    except httpx.HTTPError as error:
        raise StorageFailed(f"{doing}: {_why(error)}") from None


def length_of(answer: httpx.Response) -> int:
    """Bytes that a header tells."""
    text = answer.headers.get("content-length", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise StorageFailed(f"the store tells a size of {text!a:.40}; expected bytes")
    return int(text)


def _why(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "silent for too long"
    return str(error).strip() or type(error).__name__
