"""Labs that hand on cards, and whoever asks them: over real sockets, within bounds."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from archipel.directory import asking
from archipel.directory.asking import Asker, NoSource, cards_at, cards_in, own_card
from archipel.directory.gossip import MAX_OFFERS, Gossip, Setting
from archipel.directory.known import Source, took
from archipel.directory.lines import to_lines
from archipel.directory.own import CardWords, renewed, set_words
from archipel.directory.shelf import loaded, save
from archipel.lab.directory_routes import directory_routes
from archipel.lab.lab import Lab
from archipel.node.exchange import authorities
from labcards import NOW_MS, card, head, lab_identity

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def gossip(home: Path, word: str, *sources: str) -> Gossip:
    setting = Setting(home, sources, 1.0, authorities())
    return Gossip(setting, lab_identity(word), lambda: head(word), lambda: NOW_MS, random.Random(7))


def api_of(told: Gossip) -> FastAPI:
    api = FastAPI()
    directory_routes(api, cast("Lab", SimpleNamespace(clock_ms=lambda: NOW_MS)), told)
    return api


@asynccontextmanager
async def served(told: Gossip, listener: socket.socket) -> AsyncIterator[None]:
    """Its routes, on a socket that listens."""
    server = uvicorn.Server(uvicorn.Config(api_of(told), log_level="critical"))
    serving = asyncio.create_task(server._serve([listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def listening() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def say(home: Path, address: str) -> Path:
    home.mkdir()
    set_words(home, CardWords(addresses=(address,)))
    return home


def test_three_labs_learn_of_each_other_from_one_address(tmp_path: Path) -> None:
    async def story() -> None:
        doors = {word: listening() for word in "abc"}
        first = doors["a"][1]
        labs = {
            word: gossip(say(tmp_path / word, url), word, *(() if word == "a" else (first,)))
            for word, (_, url) in doors.items()
        }
        for each in labs.values():
            each.begin()
        async with (
            served(labs["a"], doors["a"][0]),
            served(labs["b"], doors["b"][0]),
            served(labs["c"], doors["c"][0]),
        ):
            for word in "bcabc":
                await labs[word].turn()
        everyone = {lab_identity(word).did for word in "abc"}
        for word, each in labs.items():
            assert set(each.directory.labs) == everyone - {lab_identity(word).did}
            assert loaded(tmp_path / word).labs == each.directory.labs
        reached = labs["a"].directory.labs.values()
        assert [lab.reached_ms for lab in reached] == [NOW_MS, NOW_MS]
        card_of_a = labs["a"].card
        assert card_of_a is not None
        assert card_of_a.head is not None

    asyncio.run(story())


def test_a_lab_hands_on_every_card_that_it_knows_by_pages(tmp_path: Path) -> None:
    cards = [card(f"lab-{each}") for each in range(55)]
    save(tmp_path, took(took_nothing(), cards, Source("https://s.example"), NOW_MS))
    told = gossip(tmp_path, "own")
    told.begin()

    async def story() -> None:
        listener, url = listening()
        async with served(told, listener), Asker(authorities()) as asker:
            heard: list[int] = []
            taken = await cards_at(asker, url, {}, note=heard.append)
            assert {each.sealed for each in taken.cards} == {each.sealed for each in cards}
            assert heard == [50, 55]
            with pytest.raises(NoSource, match="status"):
                await asker.get(f"{url}/labs", 10**6, limit=51)

    asyncio.run(story())


def took_nothing() -> Any:
    return loaded(Path("/nonexistent"))


def test_a_lab_that_says_nothing_has_no_card_and_takes_no_offers(tmp_path: Path) -> None:
    told = gossip(tmp_path, "own")
    told.begin()
    told.offer("https://lab.example")
    assert not told._addresses()

    async def ask() -> None:
        transport = httpx.ASGITransport(api_of(told))
        async with httpx.AsyncClient(transport=transport, base_url="http://lab.test") as http:
            assert (await http.get("/card")).status_code == 204
            assert (await http.get("/labs")).content == b""

    asyncio.run(ask())


def test_offers_are_bounded_and_of_other_machines_unless_the_lab_is_on_this_one_alone(
    tmp_path: Path,
) -> None:
    far = gossip(say(tmp_path / "far", "https://far.example"), "far")
    near = gossip(say(tmp_path / "near", "http://127.0.0.1:1"), "near")
    for told in (far, near):
        told.begin()
        for address in ("http://127.0.0.1:22", "no address", "http://far.example"):
            told.offer(address)
    assert far._addresses() == []
    assert near._addresses() == ["http://127.0.0.1:22"]
    for each in range(MAX_OFFERS + 9):
        far.offer(f"https://lab{each}.example")
    assert len(far._addresses()) == MAX_OFFERS
    assert far._addresses() == [], "each is asked once"


def test_one_network_address_offers_few(tmp_path: Path) -> None:
    told = gossip(say(tmp_path / "lab", "https://lab.example"), "lab")
    told.begin()

    async def ask() -> None:
        transport = httpx.ASGITransport(api_of(told))
        async with httpx.AsyncClient(transport=transport, base_url="http://lab.test") as http:
            for each in range(9):
                assert (
                    await http.get("/labs", params={"of": f"https://x{each}.example"})
                ).is_success

    asyncio.run(ask())
    assert len(told._addresses()) == 4


@asynccontextmanager
async def wild(serve: Serve) -> AsyncIterator[str]:
    """A server that does as it likes, and leaves nothing open at its end."""
    at_work: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait(at_work, timeout=5)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n"


async def _endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    with suppress(OSError):
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 9\r\n\r\n")
    while await reader.read(4096):  # until whoever asks hangs up
        pass


async def _elsewhere(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    )


async def _nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff nothing like HTTP\r\n\r\n")


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (_endless, "more than"),
        (_silent, "in 0 s"),
        (_elsewhere, "status 302"),
        (_nonsense, "http://127"),
    ],
)
def test_a_source_that_floods_stalls_or_sends_elsewhere_is_a_sentence(
    serve: Serve, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if serve is _silent:
        monkeypatch.setattr(asking, "SOURCE_LIMIT_S", 0.2)
        monkeypatch.setattr(asking, "CARD_LIMIT_S", 0.2)

    async def story() -> None:
        async with wild(serve) as url, Asker(authorities()) as asker:
            with pytest.raises(NoSource, match=why):
                await cards_at(asker, url, {})
            with pytest.raises(NoSource, match=why):
                await own_card(asker, url)

    asyncio.run(story())


def test_cards_lie_in_files_and_folders_too(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(to_lines([card("a").sealed]))
    (tmp_path / "two.jsonl").write_bytes(to_lines([card("b").sealed, b"nonsense"]))
    (tmp_path / "other.txt").write_bytes(b"nothing")
    assert len(cards_in(tmp_path, {}).cards) == 2
    assert cards_in(tmp_path, {}).num_refused == 1
    assert cards_in(tmp_path / "one.jsonl", {}).cards == (card("a"),)
    for nowhere in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(NoSource):
            cards_in(nowhere, {})


def test_a_lab_that_runs_shows_what_its_operator_set_or_took_back_without_a_turn(
    tmp_path: Path,
) -> None:
    told = gossip(tmp_path, "a")
    told.begin()
    told.look()
    assert told.sealed_card() is None
    for words in (CardWords(addresses=("https://a.example",)), CardWords(is_withdrawn=True)):
        set_words(tmp_path, words)
        set_now = renewed(tmp_path, lab_identity("a"), None, NOW_MS)
        assert set_now is not None
        told.look()
        assert told.sealed_card() == set_now.sealed
        assert told.page(0, 50) == (set_now.sealed,)
