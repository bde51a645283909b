"""What one lab of several gets, loses or says, and what it is to the others, while the node goes on and when it leaves."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents import LIMIT_S, until
from archipel.node import several as module
from archipel.node.agent import Agent
from archipel.node.lab_part import FOLDER, folder_of
from archipel.node.labs_file import Labs, Served
from archipel.node.patience import NodeFailed
from archipel.node.settings import NodeSettings
from archipel.node.several import Several
from people import identity

pytestmark = pytest.mark.usefixtures("stub", "quick")
A, B, C = (f"http://127.0.0.1:{port}" for port in (7, 9, 11))
LOOKS_S = 0.1
"""Ten looks."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.node.several.LOOK_S", 0.01)
    monkeypatch.setattr("archipel.node.divided.ASK_LIMIT_S", 0.05)


def labs_at(*served: str | Served) -> Labs:
    return Labs(labs=tuple(Served(at=each) if isinstance(each, str) else each for each in served))


def several(
    folder: Path,
    *served: str | Served,
    script: list[Labs] | None = None,
    changed: Callable[[], Labs | None] | None = None,
) -> Several:
    """At labs that are not there, whose file says one thing of the script after the other."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    settings = NodeSettings(lab_url="", home=home, poll_s=5.0)
    said = [] if script is None else script
    changed = changed or (lambda: said.pop(0) if said else None)
    return Several(labs_at(*served), settings, identity("node"), changed)


def serve(node: Several, story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        running = asyncio.create_task(node.run())
        await asyncio.wait_for(story(), LIMIT_S)
        node.stop()
        node.stop()
        await asyncio.wait_for(running, LIMIT_S)

    asyncio.run(whole())


def held(agent: Agent) -> list[str]:
    """It has a lease to finish; each time that it is told to leave."""
    told: list[str] = []
    agent.stop = lambda: told.append("")  # type: ignore[method-assign]
    return told


def test_a_node_that_leaves_while_labs_change_begins_with_nobody_and_hurries_nobody(
    folder: Path,
) -> None:
    script: list[Labs] = []

    async def whole() -> None:
        node = several(folder, A, B, script=script)
        running = asyncio.create_task(node.run())
        first, other = node.agents[A], node.agents[B]
        told = held(other)
        script.append(labs_at(A, C))
        await until(lambda: bool(told))
        script.append(labs_at(A))
        await asyncio.sleep(LOOKS_S)
        assert script, "one change after the other"
        node.stop()
        assert (len(told), first.standing.stopping) == (1, True)
        Agent.stop(other)
        await asyncio.wait_for(running, LIMIT_S)
        assert node.agents == {A: first, B: other}
        assert script, "and none when it leaves"

    asyncio.run(whole())


def test_a_node_that_leaves_reads_no_file_any_more(folder: Path) -> None:
    looks: list[None] = []

    async def whole() -> None:
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def leave() -> None:
            node.stop()
            stopped.set()

        def changed() -> Labs | None:
            looks.append(None)
            loop.call_soon_threadsafe(leave)
            assert stopped.wait(LIMIT_S)
            return None

        node = several(folder, A, changed=changed)
        held(node.agents[A])
        running = asyncio.create_task(node.run())
        await until(stopped.is_set)
        await asyncio.sleep(LOOKS_S)
        Agent.stop(node.agents[A])
        await asyncio.wait_for(running, LIMIT_S)

    asyncio.run(whole())
    assert len(looks) == 1


def test_who_came_back_under_its_name_is_told_when_the_node_leaves(folder: Path) -> None:
    script: list[Labs] = []

    async def whole() -> None:
        node = several(folder, A, B, script=script)
        running = asyncio.create_task(node.run())
        before = node.agents[B]
        script.append(labs_at(A, Served(at=B, mirrors=("https://m",))))
        await until(lambda: node.agents[B] is not before)
        node.stop()
        assert all(each.standing.stopping for each in node.agents.values())
        await asyncio.wait_for(running, LIMIT_S)

    asyncio.run(whole())


def test_a_lab_whose_folder_cannot_be_made_is_said_and_the_others_are_served(folder: Path) -> None:
    script: list[Labs] = []
    node = several(folder, A, script=script)
    place = node.home / FOLDER / folder_of(C)
    place.write_text("in its way")

    async def story() -> None:
        script.append(labs_at(A, B, C))
        await until(lambda: C in node.failed)
        await until(lambda: B in node.agents)
        assert set(node.agents) == {A, B}
        place.unlink()
        script.append(labs_at(A, B, C, Served(at=f"{C}1")))
        await until(lambda: C in node.agents)
        assert not node.failed

    serve(node, story)
    assert any(each.startswith(f"{C} is served no more: ") for each in node.news)


def test_a_change_that_fails_ends_the_node_with_what_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script: list[Labs] = []

    async def whole() -> None:
        node = several(folder, A, script=script)
        monkeypatch.setattr(node, "_forget", lambda *_: 1 / 0)
        script.append(labs_at(B))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(node.run(), LIMIT_S)

    asyncio.run(whole())


def test_whatever_ends_one_agent_is_said_and_it_holds_no_part_any_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    run = Agent.run

    async def wrong(self: Agent) -> object:
        return 1 / 0 if self.settings.lab_url == B else await run(self)

    monkeypatch.setattr(Agent, "run", wrong)
    node = several(folder, A, B)
    monkeypatch.setattr(node.machine, "leave", left.append)

    async def story() -> None:
        await until(lambda: B in node.failed)
        assert left == [B]

    serve(node, story)
    assert node.failed == {B: "ZeroDivisionError: division by zero"}
    assert left == [B, A]


def test_each_agent_sees_the_work_of_all_and_the_machine_s_account_is_kept_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = {A: 11, B: None, C: 13}
    monkeypatch.setattr(Agent, "worker_pid", property(lambda self: pids[self.settings.lab_url]))
    node = several(folder, A, B, C)
    for agent in node.agents.values():
        assert list(agent.watch.machine.also()) == [11, 13]

    async def story() -> None:
        assert not list(node.home.glob("*stints*"))

    serve(node, story)
    assert len(list(node.home.glob("*stints*"))) == 1


def test_a_file_that_the_system_does_not_let_it_read_ends_nothing(folder: Path) -> None:
    script: list[Labs | OSError] = [OSError(24, "Too many open files")]

    def changed() -> Labs | None:
        said = script.pop(0) if script else None
        if isinstance(said, OSError):
            raise said
        return said

    node = several(folder, A, changed=changed)

    async def story() -> None:
        await until(lambda: any("Too many open files" in each for each in node.news))
        script.append(labs_at(B))
        await until(lambda: set(node.agents) == {B})

    serve(node, story)


def test_two_agents_at_one_lab_are_refused_until_the_first_has_left(folder: Path) -> None:
    script: list[Labs] = []
    node = several(folder, A, B, script=script)

    async def story() -> None:
        node.agents[A].settings.check_lab("did:key:zLab")
        with pytest.raises(NodeFailed, match="with a comma"):
            node.agents[B].settings.check_lab("did:key:zLab")
        script.append(labs_at(B, C))
        await until(lambda: C in node.agents)
        node.agents[C].settings.check_lab("did:key:zLab")

    serve(node, story)


def test_a_lab_of_certain_runs_is_asked_for_nothing_until_they_were_seen_and_a_failed_one_never(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = several(folder, A, Served(at=B, runs=("sums*",)))
    assert (node.machine.allowed(A, None), node.machine.allowed(B, None)) == (None, ())
    read: list[Path] = []
    accounts = module.accounts

    def counted(home: Path) -> list[object]:
        read.append(home)
        return list(accounts(home))

    monkeypatch.setattr(module, "accounts", counted)

    async def story() -> None:
        await until(lambda: len(read) >= 5)
        node.failed[B] = "gone"
        await asyncio.sleep(2 * module.LOOK_S)
        seen = len(read)
        await asyncio.sleep(LOOKS_S)
        assert len(read) == seen

    serve(node, story)


def test_what_a_lab_showed_counts_no_more_when_it_was_left(folder: Path) -> None:
    script: list[Labs] = []
    certain = Served(at=B, runs=("sums*",))
    node = several(folder, A, certain, script=script)
    shown: Any = SimpleNamespace(run="sums-1", purposes=(), phase="running")
    node._seen.show(B, [shown])
    assert node.machine.allowed(B, None) == ("sums-1",)

    async def story() -> None:
        script.append(labs_at(A))
        await until(lambda: B not in node.agents)
        script.append(labs_at(A, certain))
        await until(lambda: B in node.agents)
        assert node.machine.allowed(B, None) == ()

    serve(node, story)


def test_a_look_at_a_lab_begins_when_the_one_before_is_over_and_none_at_one_that_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    async def look(name: str) -> None:
        looked.append(name)
        await asyncio.sleep(0)

    async def whole() -> None:
        node = several(folder, A, B)
        monkeypatch.setattr(node, "_look_at", look)
        node.failed[B] = "gone"
        for _ in range(2):
            node._look_at_labs()
            node._look_at_labs()
            await asyncio.gather(*node._looking.values())

    asyncio.run(whole())
    assert looked == [A, A]
