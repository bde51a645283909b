"""One node at several labs: shares by weight, and nothing that one lab does reaches another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agents import LIMIT_S, complete, learning, num_groups_of, until
from archipel.node.earnings import accounts
from archipel.node.home import ready_home
from archipel.node.labs_file import Labs, Served
from archipel.node.patience import NodeFailed
from archipel.node.settings import NodeSettings
from archipel.node.several import FOLDER, Several
from live import live
from people import identity
from stub_worker import StubWorker
from world import World

pytestmark = pytest.mark.usefixtures("stub")
EASY = {"versions": 1, "groups_per_update": 4, "max_groups_per_lease": 1}
LONG = {"versions": 1, "groups_per_update": 400, "max_groups_per_lease": 1}


@pytest.fixture
def worlds(folder: Path) -> Iterator[list[World]]:
    made = []
    for name in ("lab", "another lab"):
        (folder / name).mkdir()
        made.append(World(folder / name, ledger_on_disk=False, lab=name))
    yield made
    for each in made:
        each.close()


def _settings(folder: Path) -> NodeSettings:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return NodeSettings(lab_url="", home=home, poll_s=5.0)


def _several(folder: Path, served: list[Served]) -> Several:
    return Several(Labs(labs=tuple(served)), _settings(folder), identity("node"))


@asynccontextmanager
async def _dripping() -> AsyncIterator[str]:
    """Something that takes every connection, and says one byte now and then."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
            while True:
                writer.write(b"[")
                await writer.drain()
                await asyncio.sleep(0.05)
        except (OSError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def _serve(
    worlds: list[World],
    folder: Path,
    make: Callable[[list[str]], Several],
    story: Callable[[Several], Awaitable[None]],
) -> Several:
    made: list[Several] = []

    async def whole() -> None:
        async with AsyncExitStack() as stack:
            urls = [await stack.enter_async_context(live(each)) for each in worlds]
            urls.append(await stack.enter_async_context(_dripping()))
            made.append(make(urls))
            running = asyncio.create_task(made[0].run())
            telling = asyncio.ensure_future(story(made[0]))
            await asyncio.wait({running, telling}, return_when=asyncio.FIRST_COMPLETED)
            made[0].stop()
            made[0].stop()
            await asyncio.wait_for(running, LIMIT_S)
            await telling

    worlds[0].await_(whole())
    return made[0]


@pytest.mark.slow
def test_labs_that_always_have_work_share_the_machine_by_weight(
    worlds: list[World], folder: Path
) -> None:
    for each in worlds:
        each.started(**LONG)
    StubWorker.pause_s = 0.01

    async def story(node: Several) -> None:
        await until(lambda: sum(map(num_groups_of, worlds)) >= 32)

    node = _serve(
        worlds,
        folder,
        lambda urls: _several(folder, [Served(at=urls[0], weight=3.0), Served(at=urls[1])]),
        story,
    )
    first, second = map(num_groups_of, worlds)
    assert first > second > 0
    assert {each.lab for each in accounts(node.home)} == {each.state.lab for each in worlds}
    for each in worlds:
        assert identity("node").did in each.state.nodes
        each.check()
        each.check_replay()


def test_a_lab_that_hangs_and_one_that_is_no_lab_disturb_nobody(
    worlds: list[World], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.divided.ASK_LIMIT_S", 0.2)
    good = worlds[0]
    good.started(**EASY)
    nobody = "http://127.0.0.1:9"

    async def story(node: Several) -> None:
        await until(complete(good), learning(good))

    node = _serve(
        [good],
        folder,
        lambda urls: _several(folder, [Served(at=each) for each in (nobody, urls[1], urls[0])]),
        story,
    )
    assert num_groups_of(good) == 4
    assert not node.failed


def test_a_lab_with_another_key_than_named_is_left_and_the_others_are_served(
    worlds: list[World], folder: Path
) -> None:
    first, second = worlds
    for each in worlds:
        each.started(**EASY)
    wrong = identity("nobody").did

    async def story(node: Several) -> None:
        await until(lambda: bool(node.failed))
        await until(complete(second), learning(second))

    node = _serve(
        worlds,
        folder,
        lambda urls: _several(folder, [Served(at=urls[0], key=wrong), Served(at=urls[1])]),
        story,
    )
    (why,) = node.failed.values()
    assert wrong in why
    assert not first.state.nodes.get(identity("node").did)


def test_one_lab_under_two_names_is_served_once(worlds: list[World], folder: Path) -> None:
    good = worlds[0]
    good.started(**EASY)

    async def story(node: Several) -> None:
        await until(lambda: bool(node.failed))
        await until(complete(good), learning(good))

    node = _serve(
        [good],
        folder,
        lambda urls: _several(
            folder, [Served(at=urls[0]), Served(at=urls[0].replace("127.0.0.1", "localhost"))]
        ),
        story,
    )
    assert "with a comma" in " ".join(node.failed.values())


def test_no_lab_s_work_process_reads_or_writes_what_is_another_s(folder: Path) -> None:
    node = _several(folder, [Served(at="http://a.example"), Served(at="http://b.example")])
    setups = [ready_home(agent.settings, ()) for agent in node.agents.values()]
    homes = [agent.settings.home for agent in node.agents.values()]
    for setup, other in zip(setups, reversed(homes), strict=True):
        seen = (*setup.readable, setup.scratch, setup.memory)
        assert all(each is not None for each in seen)
        for each in seen:
            assert not other.is_relative_to(each)
            assert not each.is_relative_to(other)
            assert not (node.home / "node.key").is_relative_to(each)
    assert {home.parent for home in homes} == {node.home / FOLDER}
    whole = _settings(folder)
    assert sum(setup.max_lasting_bytes or 0 for setup in setups) <= whole.lasting_bytes


def test_a_node_that_no_lab_takes_ends_with_a_sentence(worlds: list[World], folder: Path) -> None:
    async def story(node: Several) -> None:
        await asyncio.sleep(0)

    with pytest.raises(NodeFailed, match="expected"):
        _serve(
            worlds[:1],
            folder,
            lambda urls: _several(folder, [Served(at=urls[0], key=identity("nobody").did)]),
            lambda node: until(lambda: bool(node.failed)),
        )
