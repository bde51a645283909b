"""Fetching from a server that is slow, broken, rude or hostile: what came is kept, and nothing is asked twice."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from archipel.observatory.fetching import asking as asking_module
from archipel.observatory.fetching.asking import AskAgain, Asking, CannotFetch, client
from archipel.observatory.fetching.finishing import source_of, take_pages
from archipel.observatory.fetching.journal import (
    JOURNAL,
    BadJournal,
    Begun,
    Journal,
    name_of,
    opened,
)
from archipel.observatory.fetching.pages import Clock, Fetching
from archipel.observatory.fetching.patience import NoPatience, Patience, asked_s
from archipel.observatory.fetching.sources import PLACES, next_page
from archipel.observatory.importers.aliases import names_of
from archipel.observatory.importers.taking import Taking
from recorded_hub import Fault, Hub, answering, cut_off, dripping, endless, model, serving

DAY = "2026-11-27"
PLACE = PLACES["huggingface"]


@dataclass
class Time:
    """A clock that only sleeping moves."""

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, lambda: 1_000_000.0 + self.now_s, self.sleep)


_http = cache(client)
"""One for all: a client reads the machine's certificates when it is made."""


@pytest.fixture(autouse=True, scope="module")
def _closed() -> Iterator[None]:
    yield
    _http().close()
    _http.cache_clear()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub([model(number) for number in range(10)])) as hub:
        yield hub


def _fetch(
    hub: Hub, folder: Path, time: Time | None = None, limit: int = 100, **changed: object
) -> Journal:
    time = time or Time()
    begun = Begun(what="huggingface", url=f"{hub.url}/api/models?first", limit=limit)
    patience = Patience(attempts=3, deadline_s=1_000)
    with opened(folder, begun) as journal:
        asking = Asking(_http(), frozenset({urlsplit(hub.url).netloc}), most_bytes=1_000_000)
        fetching = Fetching(PLACE, asking, patience, DAY, time.clock)
        replace(fetching, **changed).fill(journal)  # type: ignore[arg-type]
        return journal


def _bodies(journal: Journal) -> list[bytes]:
    return [journal.body(page) for page in journal.pages]


def test_pages_follow_the_cursor_to_the_end_no_faster_than_the_pace(
    hub: Hub, tmp_path: Path
) -> None:
    time = Time()
    journal = _fetch(hub, tmp_path / "a", time)
    assert [page.num_facts for page in journal.pages] == [4, 4, 2]
    assert time.slept == [1.0, 1.0]
    assert len(hub.asked) == 3
    source = source_of(journal, "huggingface-x", "title", "unknown")
    taking = Taking(source, names_of("huggingface", None), is_strict=True)
    take_pages(journal, taking)
    assert len(taking.tables["models"]) == 10
    assert _fetch(hub, tmp_path / "b", limit=5).num_facts == 8, "enough after two pages"


def test_time_that_a_page_took_is_not_waited_for_again(hub: Hub, tmp_path: Path) -> None:
    time = Time()

    def passing(said: str) -> None:
        time.now_s += 0.25

    _fetch(hub, tmp_path / "a", time, tell=passing)
    assert time.slept == [0.75, 0.75]


FAULTS: dict[str, tuple[Fault, str, float | None]] = {
    "429 with Retry-After": (answering(429, Retry_After="7"), "429", 7.0),
    "429 with RateLimit": (answering(429, RateLimit='"api";r=0;t=55'), "429", 56.0),
    "a server's defect": (answering(500), "500", 1.0),
    "rubbish": (answering(200, b"<html>sorry</html>"), "no JSON", 1.0),
    "a changed shape": (answering(200, b'{"models": []}'), "dict where a list", 1.0),
    "no ids": (answering(200, b'[{"name": "x"}]'), "the form has changed", 1.0),
    "NaN": (answering(200, b'[{"id": "a/b", "likes": NaN}]'), "NaN is no number", 1.0),
    "a body cut off": (cut_off, "", 1.0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_passes_is_asked_again_and_what_stays_ends_with_a_sentence(
    name: str, hub: Hub, tmp_path: Path
) -> None:
    fault, words, pause_s = FAULTS[name]
    sound = _bodies(_fetch(hub, tmp_path / "sound"))
    time = Time()
    hub.faults = [None, fault]
    assert _bodies(_fetch(hub, tmp_path / "mended", time)) == sound
    assert pause_s in time.slept
    hub.faults = [None, fault, fault, fault]
    with pytest.raises(NoPatience, match="the same command goes on") as caught:
        _fetch(hub, tmp_path / "left")
    assert words in str(caught.value)
    hub.asked.clear()
    assert _bodies(_fetch(hub, tmp_path / "left")) == sound
    assert len(hub.asked) == 2, "the page that came is not asked for again"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (endless, "more than 1000000 bytes"),
        (answering(404), "answered 404; expected 200"),
        (answering(302, Location="http://elsewhere.example/api"), "leads to elsewhere.example"),
        (answering(302, Location="ftp://127.0.0.1/x"), "no plain address"),
        (answering(302), "without a place to go"),
        (answering(304), "named no copy"),
        (answering(200, b"[]", Content_Encoding="gzip"), "identity was asked for"),
        (answering(200, b'[{"id":"a/b"}]', Link='</api/models?first>; rel="next"'), "in a circle"),
    ],
)
def test_what_never_passes_is_asked_once(
    fault: Fault, words: str, hub: Hub, tmp_path: Path
) -> None:
    hub.faults = [fault]
    with pytest.raises(CannotFetch, match=words):
        _fetch(hub, tmp_path / "a")
    assert len(hub.asked) == 1


def test_a_listing_that_brings_the_same_for_ever_is_left(hub: Hub, tmp_path: Path) -> None:
    hub.faults = [
        answering(200, b'[{"id":"a/b"}]', Link=f'</api/models?cursor={n}>; rel="next"')
        for n in range(100, 200)
    ]
    with pytest.raises(CannotFetch, match="brings nothing new"):
        _fetch(hub, tmp_path / "a")
    assert len(hub.asked) == 4


def test_redirects_in_a_ring_and_drops_of_bytes_end(hub: Hub, tmp_path: Path) -> None:
    hub.faults = [answering(302, Location="/api/models?cursor=0") for _ in range(6)]
    with pytest.raises(CannotFetch, match="more than 5 times"):
        _fetch(hub, tmp_path / "a")
    ticks = iter(range(0, 10_000, 10))
    hub.faults = [dripping] * 3
    asking = Asking(_http(), frozenset(), clock=lambda: float(next(ticks)))
    with pytest.raises(NoPatience, match=r"bytes in \d+ s; it is left|not all"):
        _fetch(hub, tmp_path / "b", asking=asking)


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"y"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"t"),
    ],
)
def test_what_trickles_for_ever_around_a_body_ends(
    head: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_module, "_LATE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_trickle, args=(listener, head, more))
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        with pytest.raises(AskAgain, match="no whole answer in"):
            Asking(_http(), frozenset(), page_s=0.1).ask(url)
        server.join(10)
        assert not server.is_alive()


def _trickle(listener: socket.socket, head: bytes, more: bytes) -> None:
    peer, _ = listener.accept()
    with peer, contextlib.suppress(OSError):
        peer.sendall(head)
        for _ in range(2000):
            peer.sendall(more)
            time.sleep(0.005)


def test_a_wait_longer_than_what_is_left_is_not_begun(hub: Hub, tmp_path: Path) -> None:
    time = Time()
    hub.faults = [answering(429, Retry_After="86400")]
    with pytest.raises(NoPatience, match="86400 s and 1000 s are left"):
        _fetch(hub, tmp_path / "a", time)
    assert time.slept == []


def test_cut_at_any_byte_or_spoilt_in_any_page_a_fetch_goes_on_to_the_same(
    hub: Hub, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    sound = _bodies(_fetch(hub, folder))
    whole = (folder / JOURNAL).read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in {0, 1, *(end + by for end in ends for by in (-1, 0, 1) if end + by < len(whole))}:
        (folder / JOURNAL).write_bytes(whole[:cut])
        assert _bodies(_fetch(hub, folder)) == sound
        assert (folder / JOURNAL).read_bytes() == whole
    for number in (1, 2, 3):
        was = (folder / name_of(number)).read_bytes()
        (folder / name_of(number)).write_bytes(was.replace(b"org", b"gro", 1))
        hub.asked.clear()
        assert _bodies(_fetch(hub, folder)) == sound
        assert len(hub.asked) == 4 - number


def test_a_journal_of_another_fetch_and_one_in_use_are_left_alone(hub: Hub, tmp_path: Path) -> None:
    _fetch(hub, tmp_path / "a")
    before = (tmp_path / "a" / JOURNAL).read_bytes()
    with pytest.raises(BadJournal, match="at most 100"):
        _fetch(hub, tmp_path / "a", limit=7)
    begun = Begun(what="huggingface", url=f"{hub.url}/api/models?first", limit=100)
    with opened(tmp_path / "a", begun), pytest.raises(BadJournal, match="another process"):
        _fetch(hub, tmp_path / "a")
    assert (tmp_path / "a" / JOURNAL).read_bytes() == before
    (tmp_path / "a" / JOURNAL).write_bytes(before.replace(b'"number":2', b'"number":9'))
    with pytest.raises(BadJournal, match="9 where 2"):
        _fetch(hub, tmp_path / "a")


def test_unchanged_pages_of_an_earlier_fetch_do_not_come_again(hub: Hub, tmp_path: Path) -> None:
    first = _fetch(hub, tmp_path / "a")
    lies_there = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    hub.models[9]["likes"] = 77
    hub.tags.clear()
    second = _fetch(hub, tmp_path / "b", earlier=tmp_path / "a")
    assert hub.tags == [page.tag for page in first.pages]
    assert _bodies(second)[:2] == _bodies(first)[:2]
    assert b'"likes": 77' in _bodies(second)[2]
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == lies_there


def test_a_stop_between_pages_loses_none(hub: Hub, tmp_path: Path) -> None:
    left = [True, False]
    stopped = _fetch(hub, tmp_path / "a", may_go_on=lambda: left.pop(0))
    assert len(stopped.pages) == 1
    hub.asked.clear()
    assert _fetch(hub, tmp_path / "a").num_facts == 10
    assert len(hub.asked) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:45 GMT"}, 5.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "9" * 30}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"ratelimit": '"api";r=3;t=55'}, None),
        ({"ratelimit": '"pages";r=2;t=9, "api";r=0;t=55', "retry-after": "3"}, 56.0),
        ({}, None),
    ],
)
def test_what_a_server_says_of_waiting_is_read_or_left(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert asked_s(headers, 1_000.0) == seconds


def test_the_next_page_is_that_of_the_link_named_next() -> None:
    url = "http://h/api/models?limit=2"
    assert (
        next_page({"link": '<http://h/b?cursor=x%3D>; rel="next"'}, url) == "http://h/b?cursor=x%3D"
    )
    assert next_page({"link": '</p>; rel="prev", </n?c=1>; rel="next"'}, url) == "http://h/n?c=1"
    assert next_page({"link": '</p>; rel="prev"'}, url) is None
    assert next_page({"link": "<" * 100_000}, url) is None
    assert "expand=downloadsAllTime" in PLACE.start(None, 10)
    assert PLACE.start("http://127.0.0.1:1/", 10_000).startswith("http://127.0.0.1:1/api/models?")
