"""Where files of a release are read from: a folder, or an address that speaks HTTP.

Laws: a folder's links are not followed; an address is asked for the bytes that are missing and may answer from the
start; every wait for a byte has a deadline. What comes is not believed here.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote, urlsplit

import httpx

PIECE_BYTES = 256 * 1024
MAX_REDIRECTS = 5
MAX_RANGE_CHARACTERS = 100
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
SAFE = "/@+=,"
"""Stand for themselves in a path; so do letters, digits and _.-~."""
Sign = Callable[[str, str, dict[str, str]], dict[str, str]]
"""(method, url, headers) -> headers with whatever shows who asks."""


class NotThere(Exception):
    """The file is not at this origin."""


class Cut(Exception):
    """What came ended before its end; it can go on from there."""


class TooLong(Exception):
    """There are more bytes here already than this origin has of the file."""


class Unusable(Exception):
    """Nothing more is asked of this origin; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of a file from `start` on."""

    start: int
    pieces: Iterator[bytes]


class Origin(Protocol):
    """One place that says that it has the release."""

    @property
    def name(self) -> str:
        """As it was given."""

    @property
    def at_once(self) -> int:
        """How many files are read from it at a time."""

    def read(self, path: str, start: int) -> AbstractContextManager[Answer]:
        """The file from byte `start`, or from the beginning if it cannot.

        Raises:
            NotThere, Cut, Unusable.
        """


@dataclass(frozen=True, slots=True)
class FolderOrigin:
    """A folder on this machine."""

    folder: Path
    at_once: int = 1

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.folder)

    @contextmanager
    def read(self, path: str, start: int) -> Iterator[Answer]:
        """As Origin has it."""
        try:
            file = open_plain(self.folder, path)
        except (FileNotFoundError, NotADirectoryError):
            raise NotThere(path) from None
        except OSError as error:
            raise Unusable(f"{path:.200}: {error.strerror or error}") from None
        with file:
            file.seek(start)
            yield Answer(start, _pieces(file, path))


def _pieces(file: BinaryIO, path: str) -> Iterator[bytes]:
    try:
        while piece := file.read(PIECE_BYTES):
            yield piece
    except OSError as error:
        raise Unusable(f"{path:.200}: {error.strerror or error}") from None


def open_plain(folder: Path, path: str) -> BinaryIO:
    """A regular file below `folder`, opened for reading; no link on the way to it is followed.

    Raises:
        OSError: it is not there, or is something else.
    """
    where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *above, last = path.split("/")
        for part in above:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            where, before = os.open(part, flags, dir_fd=where), where
            os.close(before)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(last, flags, dir_fd=where)
    finally:
        os.close(where)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{path:.200} is no regular file")
    return os.fdopen(file, "rb")


@dataclass(frozen=True, slots=True)
class HttpOrigin:
    """An address below which the files lie by their paths."""

    url: str
    client: httpx.Client
    name: str
    sign: Sign | None = None
    at_once: int = 4

    @contextmanager
    def read(self, path: str, start: int) -> Iterator[Answer]:
        """As Origin has it."""
        url = f"{self.url}/{quote(path, safe=SAFE)}"
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        if self.sign is not None:
            headers = self.sign("GET", url, headers)
        try:
            with self.client.stream("GET", url, headers=headers) as response:
                yield Answer(_start(response, path, start), response.iter_raw())
        except httpx.TimeoutException as error:
            raise Unusable(
                f"no byte of {path:.200} came in time ({type(error).__name__})"
            ) from None
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise Cut(f"{path:.200}: {error!s:.200}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unusable(f"{path:.200}: {str(error) or type(error).__name__:.200}") from None


def _start(response: httpx.Response, path: str, asked: int) -> int:
    """The byte from which the answer goes on."""
    status = response.status_code
    if status in (404, 410):
        raise NotThere(path)
    if status == 200:
        return 0
    if status == 416 and asked:
        raise TooLong(path)
    if status in (429, 503):
        raise Cut(f"it answered {status}")
    if status != 206 or not asked:
        raise Unusable(f"it answered {status} when asked for {path:.200}; expected 200, or 206")
    start = range_start(response.headers.get("content-range", ""))
    if start != asked:
        raise Unusable(f"asked for {path:.200} from byte {asked}, it answered from byte {start}")
    return start


def range_start(text: str) -> int:
    """First byte of a Content-Range header (RFC 9110 section 14.4).

    Raises:
        Unusable: it is none.
    """
    found = _RANGE.fullmatch(text[: MAX_RANGE_CHARACTERS + 1])
    if found is None or int(found[1]) > int(found[2]):
        raise Unusable(f"its Content-Range is {text!r:.100}; expected bytes FIRST-LAST/SIZE")
    return int(found[1])


def http_origin(url: str, stall_s: float) -> HttpOrigin:
    """An address of a release; the caller closes its client.

    Raises:
        ValueError: it is no plain address of http or https.
    """
    return HttpOrigin(plain_address(url), client_of(stall_s), url)


def plain_address(url: str) -> str:
    """Without / at its end.

    Raises:
        ValueError: another scheme, no host, a password, a query.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r:.200} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r:.200} is no address of http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"an address on {parts.hostname} has a name or password in it; leave them out"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r:.200} has a query; files are read below a plain address")
    return url.rstrip("/")


def client_of(stall_s: float, redirects: bool = True) -> httpx.Client:
    """A client every wait of which ends. redirects: whether it goes where an answer sends it."""
    return httpx.Client(
        timeout=httpx.Timeout(stall_s), follow_redirects=redirects, max_redirects=MAX_REDIRECTS
    )
