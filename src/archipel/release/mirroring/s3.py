"""Buckets of S3 and of what speaks like it: requests signed by AWS Signature Version 4, a mirror kept in a bucket.

Laws: keys are arguments, and stand in no message; each object is put with its SHA-256 in the signature, so that the
store refuses other bytes. An object counts as there if its own metadata names the digest that is signed: readers do
not believe it, they hash. Source: AWS, Signature Version 4 (single chunk); Amazon S3 API, GetObject, HeadObject, PutObject.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx

from archipel.blobs.s3_signing import Asked, Credentials, Signer
from archipel.release import places
from archipel.release.mirroring.origins import HttpOrigin, plain_address
from archipel.release.mirroring.signed import CannotMirror
from archipel.release.oms.statement import SignedFiles

EMPTY = hashlib.sha256(b"").hexdigest()
MAX_PUT_BYTES = 5 * 10**9
"""Of one request, by S3's own limit."""
DIGEST = "x-amz-meta-sha256"
Tell = Callable[[str], None]
Now = Callable[[], datetime]
_PLACE = re.compile(
    r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9_@+=,./-]*))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, and where the buckets are."""

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    endpoint: str | None = None
    """Address of a store that is not Amazon's; buckets lie below it by their names."""


def address_of(place: str, access: Access) -> str:
    """Of `s3://BUCKET/PREFIX`, as plain HTTP has it.

    Raises:
        ValueError: it names no bucket.
    """
    found = _PLACE.fullmatch(place)
    parts = (found[2] or "").strip("/").split("/") if found else []
    if found is None or {".", ".."} & set(parts):
        raise ValueError(f"{place!r:.200} is no place in a bucket, like s3://bucket/prefix")
    if access.endpoint is not None:
        root = f"{plain_address(access.endpoint)}/{found[1]}"
    else:
        root = f"https://{found[1]}.s3.{access.region}.amazonaws.com"
    return "/".join([root, *filter(None, parts)])


def signed(
    request: tuple[str, str, Mapping[str, str]], payload: str, access: Access, at: datetime
) -> dict[str, str]:
    """The headers of a request without a query, and what shows who asks.

    request: (method, url, headers). payload: SHA-256 of its body, 64 hexadecimal digits.
    """
    method, url, given = request
    parts = urlsplit(url)
    own = {name.lower(): value for name, value in given.items()}
    asked = Asked(method, parts.netloc, unquote(parts.path) or "/", headers=own)
    signer = Signer(Credentials(access.key, access.secret, access.token), access.region)
    headers = signer.headers(asked, payload, at.timestamp())
    return headers | {"Authorization": headers.pop("authorization")}


def s3_origin(place: str, access: Access, client: httpx.Client, now: Now) -> HttpOrigin:
    """A bucket that a release is read from."""

    def sign(method: str, url: str, headers: dict[str, str]) -> dict[str, str]:
        return signed((method, url, headers), EMPTY, access, now())

    return HttpOrigin(address_of(place, access), client, place, sign)


class Bucket:
    """A mirror in a bucket; what is not there yet gathers in a folder on this machine."""

    def __init__(
        self, place: str, access: Access, client: httpx.Client, now: Now, staging: Path
    ) -> None:
        self.place, self._access, self._client, self._now = place, access, client, now
        self._url = address_of(place, access)
        self._staging = staging
        staging.mkdir(parents=True, exist_ok=True)

    def require_same(self, signature: bytes) -> None:
        """Raises CannotMirror: another release lies here."""
        there = self._digest(places.SIGNATURE)
        if there not in (None, hashlib.sha256(signature).hexdigest()):
            raise CannotMirror(f"{self.place} holds another release; name another prefix")

    def lacking(self, files: SignedFiles, tell: Tell) -> dict[str, list[str]]:
        """Digest -> paths that do not have these bytes yet."""
        found: dict[str, list[str]] = {}
        for number, (path, digest) in enumerate(files.digests.items()):
            tell(f"asking for file {number + 1} of {len(files.digests)}: {path}")
            if self._digest(path) != digest:
                found.setdefault(digest, []).append(path)
        return found

    def part(self, digest: str) -> Path:
        """Where these bytes gather."""
        return self._staging / digest

    def place_at(self, digest: str, paths: tuple[str, ...]) -> None:
        """The part is whole: put it where it belongs.

        Raises:
            CannotMirror: the store refuses it, or it is larger than a request may be.
        """
        part = self.part(digest)
        size = part.stat().st_size
        if size > MAX_PUT_BYTES:
            raise CannotMirror(
                f"{paths[0]} has {size} bytes; a bucket takes {MAX_PUT_BYTES} at once here"
            )
        for path in paths:
            with part.open("rb") as file:
                self._asked("PUT", path, digest, file, size)
        part.unlink()

    def sign(self, signature: bytes) -> None:
        """Everything is there: so is the signature now."""
        digest = hashlib.sha256(signature).hexdigest()
        self._asked("PUT", places.SIGNATURE, digest, signature, len(signature))

    def read(self, path: str, most: int) -> bytes:
        """The beginning of an object."""
        url, data = self._url_of(path), bytearray()
        headers = signed(("GET", url, {}), EMPTY, self._access, self._now())
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                if response.status_code != 200:
                    raise CannotMirror(f"{self.place}: {path} answered {response.status_code}")
                for piece in response.iter_raw():
                    data += piece
                    if len(data) >= most:
                        break
        except httpx.HTTPError as error:
            raise CannotMirror(
                f"{self.place}: {path}: {str(error) or type(error).__name__:.200}"
            ) from None
        return bytes(data[:most])

    def strangers(self, files: SignedFiles) -> list[str]:
        """A bucket is not listed: whatever else lies there is in nobody's mirror of it."""
        return []

    def _url_of(self, path: str) -> str:
        return f"{self._url}/{quote(path, safe='/')}"

    def _digest(self, path: str) -> str | None:
        """What an object says that it is; None: it is not there, or says nothing."""
        response = self._asked("HEAD", path, EMPTY, None, 0)
        return None if response.status_code == 404 else response.headers.get(DIGEST)

    def _asked(
        self, method: str, path: str, payload: str, body: object, size: int
    ) -> httpx.Response:
        url = self._url_of(path)
        own = {DIGEST: payload, "Content-Length": str(size)} if method == "PUT" else {}
        headers = signed((method, url, own), payload, self._access, self._now())
        try:
            response = self._client.request(method, url, headers=headers, content=body)  # type: ignore[arg-type]  # bytes or a file
        except httpx.HTTPError as error:
            raise CannotMirror(
                f"{self.place}: {path}: {str(error) or type(error).__name__:.200}"
            ) from None
        if response.status_code not in ((200, 404) if method == "HEAD" else (200,)):
            raise CannotMirror(
                f"{self.place}: {path} answered {response.status_code}: {response.text[:200]!r}"
            )
        return response


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)
