"""One node at several labs: shares by weight, and nothing that one lab does reaches another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agents import LIMIT_S, complete, learning, num_groups_of, until
from archipel.node.agent import Agent
from archipel.node.earnings import accounts
from archipel.node.home import alone_in, ready_home
from archipel.node.lab_part import FOLDER, folder_of
from archipel.node.labs_file import BadLabs, Labs, Served, Weighing
from archipel.node.labs_watch import LabsWatch
from archipel.node.patience import NodeFailed
from archipel.node.settings import NodeSettings
from archipel.node.several import Several
from archipel.node.standing import Doing
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


def _alone(
    folder: Path,
    addresses: list[str],
    script: list[Labs | BadLabs],
    story: Callable[[Several], Awaitable[None]],
) -> Several:
    """A node at labs that are not there, whose file says one thing after the other, each when the one before is done."""

    def changed() -> Labs | None:
        said = script.pop(0) if script else None
        if isinstance(said, BadLabs):
            raise said
        return said

    async def whole() -> Several:
        labs = Labs(labs=tuple(Served(at=each) for each in addresses))
        node = Several(labs, _settings(folder), identity("node"), changed)
        running = asyncio.create_task(node.run())
        await asyncio.wait_for(story(node), LIMIT_S)
        node.stop()
        node.stop()
        await asyncio.wait_for(running, LIMIT_S)
        return node

    return asyncio.run(whole())


A, B, C = (f"http://127.0.0.1:{port}" for port in (7, 9, 11))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.node.several.LOOK_S", 0.01)
    monkeypatch.setattr("archipel.node.divided.ASK_LIMIT_S", 0.05)


@pytest.mark.usefixtures("quick")
def test_what_the_file_says_anew_holds_at_once_or_between_leases_and_what_is_no_file_changes_nothing(
    folder: Path,
) -> None:
    heavy = Labs(labs=(Served(at=A, weight=5.0), Served(at=B)), rules=Weighing(longest_minutes=7))
    script: list[Labs | BadLabs] = []

    async def story(node: Several) -> None:
        before = dict(node.agents)
        script.append(heavy)
        await until(lambda: node.machine.account.places[A].weight == 5.0)
        assert node.machine.longest_s == 420.0
        script.append(BadLabs("labs.0.weight: wrong"))
        await until(lambda: any("labs.0.weight: wrong" in each for each in node.news))
        assert node.agents == before, "a weight restarts nobody, and a broken file neither"
        before[B].stop = lambda: None  # type: ignore[method-assign]  # it has a lease to finish
        script.append(Labs(labs=(Served(at=A, weight=6.0), Served(at=C, weight=2.0))))
        await until(lambda: node.machine.account.places[A].weight == 6.0)
        assert set(node.agents) == {A, B}, "nobody comes before all parts are free"
        assert B in node.labs
        assert B in node.machine.account.places
        Agent.stop(before[B])
        await until(lambda: C in node.agents)
        assert set(node.agents) == set(node.labs) == set(node.machine.account.places) == {A, C}
        assert node.agents[A] is before[A], "its part of the machine is the same"
        assert before[B].standing.stopping
        script.append(Labs(labs=(Served(at=A),)))
        await until(lambda: set(node.agents) == {A} and node.agents[A] is not before[A])
        assert node.agents[A].settings.lasting_bytes == 2 * before[A].settings.lasting_bytes
        await until(lambda: node.agents[A].standing.doing is not Doing.STARTING)

    node = _alone(folder, [A, B], script, story)
    told = list(node.news)
    assert sum("is not taken, the labs before it are served on" in each for each in told) == 1
    assert [each for each in told if " is left. " in each] == [f"{B} is left. ", f"{C} is left. "]
    assert not node.failed


@pytest.mark.usefixtures("quick")
def test_a_lab_that_failed_is_tried_again_when_the_file_changes(folder: Path) -> None:
    script: list[Labs | BadLabs] = []
    taken = _settings(folder).home / FOLDER / folder_of(B)
    taken.mkdir(parents=True)

    async def story(node: Several) -> None:
        await until(lambda: B in node.failed)
        lock.close()
        first = node.agents[B]
        script.append(Labs(labs=(Served(at=A, weight=2.0), Served(at=B))))
        await until(lambda: not node.failed and node.agents[B] is not first)
        await until(lambda: node.agents[B].standing.doing is not Doing.STARTING)

    with ExitStack() as lock:
        lock.enter_context(alone_in(taken))
        node = _alone(folder, [A, B], script, story)
    assert any(each.startswith(f"{B} is served no more: another node runs") for each in node.news)
    assert not node.failed


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("doing", [Doing.DELIVERING, Doing.WORKING])
def test_a_lab_that_never_lets_its_agent_end_keeps_the_others_waiting_within_bounds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, doing: Doing
) -> None:
    """It says for how long it lends, and whether it takes an answer."""
    monkeypatch.setattr("archipel.node.labs_ending.DELIVERED_S", 0.05)
    script: list[Labs | BadLabs] = []

    async def story(node: Several) -> None:
        held, presses = node.agents[B], list[str]()

        def stop() -> None:
            presses.append(B)
            if len(presses) > 1:
                Agent.stop(held)

        held.stop = stop  # type: ignore[method-assign]
        held.standing.at = lambda *_: None  # type: ignore[method-assign]
        held.standing.doing = doing
        node.machine.longest_s = 3600.0 if doing is Doing.DELIVERING else 0.1
        script.append(Labs(labs=(Served(at=A), Served(at=C))))
        await until(lambda: C in node.agents)
        assert (presses, node.presses) == ([B, B], 0), "nobody told the node itself"
        script.append(Labs(labs=(Served(at=A), Served(at=B))))
        await until(lambda: node.agents.get(B) not in {None, held})

    node = _alone(folder, [A, B], script, story)
    told = [each for each in node.news if "not done in time" in each]
    assert told == [f"{B} was not done in time: what its agent owes it is given up"]


@pytest.mark.slow
def test_a_changed_labs_file_holds_without_a_restart_and_a_broken_one_changes_nothing(
    worlds: list[World], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.several.LOOK_S", 0.02)
    monkeypatch.setattr("archipel.node.divided.ASK_LIMIT_S", 0.2)
    first, second = worlds
    for each in worlds:
        each.started(**EASY)
    addresses: list[str] = []
    told: list[str] = []

    def write(text: str) -> None:
        (folder / "partial").write_text(text)
        (folder / "partial").replace(_settings(folder).home / "labs.toml")

    def make(urls: list[str]) -> Several:
        addresses.extend(urls)
        write(f'[[labs]]\nat = "{urls[0]}"\n[[labs]]\nat = "http://127.0.0.1:9"')
        watch = LabsWatch(_settings(folder).home)
        return Several(watch.labs, _settings(folder), identity("node"), watch.look)

    async def story(node: Several) -> None:
        one, other = addresses[:2]
        agents = dict(node.agents)
        await until(complete(first), learning(first))
        write(f'[[labs]]\nat = "{one}"\nweight = 5\n[[labs]]\nat = "http://127.0.0.1:9"')
        await until(lambda: node.machine.account.places[one].weight == 5.0)
        assert node.agents == agents, "a weight restarts nobody"
        write(f'[[labs]]\nat = "{one}"\nweight = 0')
        await until(lambda: any("is not taken" in each for each in node.news))
        assert node.agents == agents
        write(
            f'[rules]\nlongest_minutes = 7\n[[labs]]\nat = "{one}"\n[[labs]]\nat = "{other}"\nweight = 3'
        )
        await until(lambda: set(node.agents) == {one, other})
        assert node.agents[one] is agents[one], "its part is the same"
        assert set(node.labs) == set(node.machine.account.places) == {one, other}
        assert node.machine.longest_s == 420.0
        assert node.machine.account.places[other].weight == 3.0
        await until(complete(second), learning(second))
        told.extend(node.news)

    node = _serve(worlds, folder, make, story)
    assert [num_groups_of(each) for each in worlds] == [4, 4]
    assert not node.failed
    assert sum("is not taken, the labs before it are served on" in each for each in told) == 1
    assert f"{addresses[1]} is served, too" in " ".join(told)
    assert any(each.startswith("http://127.0.0.1:9 is left") for each in told)
    for each in worlds:
        each.check_replay()


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
