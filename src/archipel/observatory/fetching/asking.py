"""One request to a public interface, every part of it bounded.

Laws: a body has a most of bytes, of seconds and a least pace, and so has all that comes before and after it; a redirect is followed to hosts that are named and never
from https to http; nothing is decompressed. What comes is bytes: whoever asked says whether they are a page.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from archipel.observatory.fetching.ending import Ending
from archipel.observatory.fetching.patience import AGAIN

MAX_PAGE_BYTES = 32 * 1024 * 1024
MAX_REDIRECTS = 5
MAX_URL_CHARACTERS = 4_000
PAGE_S = 120.0
"""For one page, all redirects together."""
SILENCE_S = 20.0
"""For one byte."""
LEAST_BYTES_PER_S = 512
_LATE_S = 1.0
"""After a page's time, before its connection is shut: a body is left with better words."""
_SETTLING_S = 5.0
"""A body may be slower than the least for so long."""
USER_AGENT = "archipel-observe/1 (an observatory of open models; one request a second)"


class AskAgain(Exception):
    """Nothing came of an attempt; another may bring it. The message says what came."""

    def __init__(self, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.headers = headers or {}


class CannotFetch(Exception):
    """No attempt will bring it; the message says got, expected and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent."""

    url: str
    """Where it came from in the end."""
    body: bytes | None
    """None: unchanged since the tag that was named."""
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asking:
    """Requests to the hosts that one source may send us to."""

    client: httpx.Client
    hosts: frozenset[str]
    """host:port, beside the one that is asked."""
    clock: Callable[[], float] = field(default=time.monotonic)
    page_s: float = PAGE_S
    most_bytes: int = MAX_PAGE_BYTES
    ending: Ending = field(default_factory=Ending)

    def ask(self, url: str, tag: str | None = None) -> Answer:
        """GET `url`. tag: the ETag of a copy that is kept.

        Raises:
            AskAgain: it failed in a way that passes.
            CannotFetch: it failed for good.
        """
        with self.ending.within(self.page_s + _LATE_S) as is_over:
            return self._asked(url, tag, is_over)

    def _asked(self, url: str, tag: str | None, is_over: threading.Event) -> Answer:
        """As `ask`. is_over: set when the connections were shut."""
        asked, until_s = url, self.clock() + self.page_s
        more = {"trace": self.ending.trace}
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"If-None-Match": tag} if tag else {}
            try:
                with self.client.stream("GET", url, headers=headers, extensions=more) as response:
                    target = _target(response, url)
                    if target is None:
                        return Answer(url, self._body(response, url, until_s), response.headers)
            except httpx.TimeoutException as error:
                raise AskAgain(f"{_short(url)}: no byte in time ({type(error).__name__})") from None
            except httpx.HTTPError as error:
                if is_over.is_set():
                    raise AskAgain(
                        f"{_short(url)}: no whole answer in {self.page_s:.0f} s; it is left"
                    ) from None
                said = str(error) or type(error).__name__
                raise AskAgain(f"{_short(url)}: {said:.200}") from None
            except httpx.InvalidURL as error:
                raise CannotFetch(f"{_short(url)} is no address: {error!s:.200}") from None
            url = self._followed(asked, url, target)
        raise CannotFetch(f"{_short(asked)} leads on more than {MAX_REDIRECTS} times")

    def _followed(self, asked: str, url: str, target: str) -> str:
        was, now = urlsplit(asked), address(target)
        if now.netloc != was.netloc and now.netloc not in self.hosts:
            raise CannotFetch(
                f"{_short(url)} leads to {now.netloc:.100}; expected {was.netloc}"
                f"{''.join(f' or {each}' for each in sorted(self.hosts))}: name another place by --base"
            )
        if was.scheme == "https" and now.scheme != "https":
            raise CannotFetch(f"{_short(url)} leads from https to {now.scheme:.20}; it is left")
        return target

    def _body(self, response: httpx.Response, url: str, until_s: float) -> bytes | None:
        status = response.status_code
        if status == 304:
            return None
        if status in AGAIN:
            raise AskAgain(f"{_short(url)} answered {status}", response.headers)
        if status != 200:
            raise CannotFetch(
                f"{_short(url)} answered {status}; expected 200: the address or its parameters have changed"
            )
        coding = response.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise CannotFetch(f"{_short(url)} came as {coding:.40}; identity was asked for")
        body, began_s = bytearray(), self.clock()
        for piece in response.iter_raw():
            body += piece
            if len(body) > self.most_bytes:
                raise CannotFetch(f"{_short(url)} sends more than {self.most_bytes} bytes")
            self._see_pace(len(body), self.clock(), began_s, until_s, url)
        return bytes(body)

    def _see_pace(
        self, num_bytes: int, now_s: float, began_s: float, until_s: float, url: str
    ) -> None:
        passed_s = now_s - began_s
        if now_s > until_s:
            raise AskAgain(f"{_short(url)}: {num_bytes} bytes, not all, in {self.page_s:.0f} s")
        if passed_s > _SETTLING_S and num_bytes < LEAST_BYTES_PER_S * passed_s:
            raise AskAgain(f"{_short(url)}: {num_bytes} bytes in {passed_s:.0f} s; it is left")


def address(url: str) -> SplitResult:
    """The parts of `url`.

    Raises:
        CannotFetch: no plain address of http or https.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise CannotFetch(f"{_short(url)} is no address: {error}") from None
    plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if not plain or len(url) > MAX_URL_CHARACTERS:
        raise CannotFetch(
            f"{_short(url)} is no plain address of http or https of at most {MAX_URL_CHARACTERS} characters"
        )
    return parts


def client() -> httpx.Client:
    """One every wait of which ends, without a word from the environment; the caller closes it."""
    return httpx.Client(
        timeout=httpx.Timeout(SILENCE_S),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
    )


def _target(response: httpx.Response, url: str) -> str | None:
    """Where a redirect leads."""
    if response.status_code not in (301, 302, 303, 307, 308):
        return None
    location = response.headers.get("location", "")
    if not location:
        raise CannotFetch(f"{_short(url)} answered {response.status_code} without a place to go")
    target: str = urljoin(url, location[: MAX_URL_CHARACTERS + 1])
    return target


def _short(url: str) -> str:
    return f"{url:.160}"
