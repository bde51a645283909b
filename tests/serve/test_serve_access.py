"""Who may ask: rebound names, other sites' pages and files of keys, attacked as browsers and strangers would."""

from pathlib import Path

import pytest
from starlette.requests import Request

from archipel.serve.access import Access, InvalidKeys, keys_of, read_keys
from archipel.serve.question import NoKey, NotFromHere

OWN = "127.0.0.1:8450"
LONG = "sk-0123456789abcdef"


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


@pytest.mark.parametrize(
    "host",
    [OWN, "127.0.0.1", "LOCALHOST:8450", "localhost.:8450", "localhost", "[::1]:8450", "[::1]"],
)
def test_this_machines_own_names_are_let_in_however_they_are_spelled(host: str) -> None:
    assert Access().caller(request(("host", host))) == "local"


@pytest.mark.parametrize(
    "hosts",
    [
        (), ("",), (".",), ("rebound.example",), ("rebound.example:8450",), ("127.0.0.1.rebound.example",),
        ("localhost.rebound.example:8450",), ("rebound.example:127.0.0.1",), ("127.0.0.1:8450.rebound.example",),
        ("user@127.0.0.1",), ("127.0.0.1@rebound.example",), ("::1",), ("[::1",), ("[::ffff:127.0.0.1]",), ("2130706433",),
        ("0x7f.1",), ("0.0.0.0:8450",), ("127.0.0.1:\xb2",), ("127.0.0.1 rebound.example",), ("localhost..",),
        (OWN, "rebound.example"), ("rebound.example", OWN), (OWN, OWN),
    ],
)  # fmt: skip
def test_every_other_name_is_sent_away(hosts: tuple[str, ...]) -> None:
    with pytest.raises(NotFromHere, match="does not go by"):
        Access().caller(request(*(("host", host) for host in hosts)))


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "https://other.example", "http://127.0.0.1", "http://127.0.0.1:8451", "http://localhost:8450",
        "http://127.0.0.1:8450.other.example", "file://127.0.0.1:8450", "chrome-extension://127.0.0.1:8450",
        "http://127.0.0.1:8450/", "http://x@127.0.0.1:8450", "//127.0.0.1:8450",
    ],
)  # fmt: skip
def test_another_sites_page_is_sent_away_with_and_without_keys(origin: str) -> None:
    for access in (Access(), Access(frozenset(), (LONG,))):
        with pytest.raises(NotFromHere, match="page of"):
            access.caller(request(("host", OWN), ("origin", origin)))
        both = (("origin", f"http://{OWN}"), ("origin", origin))
        with pytest.raises(NotFromHere, match="page of"):
            access.caller(request(("host", OWN), *both))


def test_a_page_without_origin_is_known_by_what_its_browser_says_of_it() -> None:
    """Pictures and scripts are asked for without Origin; another port of this machine is the same site."""
    for site in ("cross-site", "same-site", "strange"):
        with pytest.raises(NotFromHere):
            Access().caller(request(("host", OWN), ("sec-fetch-site", site)))
        picture = request(("host", OWN), ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors"))
        with pytest.raises(NotFromHere):
            Access().check_origin(picture, is_page=True)
        link = request(("host", OWN), ("sec-fetch-site", site), ("sec-fetch-mode", "navigate"))
        Access().check_origin(link, is_page=True)
        with pytest.raises(NotFromHere):
            Access().caller(link)
    for site in ("same-origin", "none"):
        own = (("host", OWN), ("sec-fetch-site", site), ("origin", f"http://{OWN}"))
        assert Access().caller(request(*own)) == "local"


def test_a_page_that_was_let_in_by_name_may_ask() -> None:
    access = Access(origins=frozenset({"https://mine.example"}))
    asked = (("host", OWN), ("origin", "https://mine.example"), ("sec-fetch-site", "cross-site"))
    assert access.caller(request(*asked)) == "local"


def test_each_key_is_another_caller_and_nothing_else_is_one() -> None:
    access = Access(frozenset(), (LONG, LONG[::-1]))
    for said in (f"Bearer {LONG[::-1]}", f"bearer {LONG[::-1]}"):
        assert access.caller(request(("authorization", said))) == "key 1"
    assert access.caller(request(("x-api-key", LONG))) == "key 0"
    for said in ("", LONG, f"Basic {LONG}", "Bearer ", f"Bearer {LONG} ", f"Bearer {LONG}\xff"):
        with pytest.raises(NoKey):
            access.caller(request(("authorization", said)))


def test_a_file_of_keys_gives_each_user_its_own(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# users\n\nann {LONG}\n{LONG[::-1]}\n")
    path.chmod(0o600)
    assert keys_of(path) == (LONG, LONG[::-1])
    path.chmod(0o640)
    with pytest.raises(InvalidKeys, match="chmod 600"):
        keys_of(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 keys"),
        (b"ann short\n", "line 1"),
        (f"ann bob {LONG}".encode(), "line 1"),
        (f"{LONG}\nann {LONG}".encode(), "lines 1 and 2 are one key"),
        (b"\xff", "no text"),
        (b"x" * 300_000, "no text"),
        ("\n".join(f"{LONG}{n}" for n in range(1025)).encode(), "1025 keys"),
    ],
)
def test_what_is_no_file_of_keys_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidKeys, match=words):
        read_keys(data)
