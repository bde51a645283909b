"""`archipel run pause` and `resume`, and how a pause is shown at every door."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from archipel.cli.archipel import command
from archipel.cli.following import News, line
from archipel.cli.watching import Scene, Watcher, picture
from archipel.identity import Identity
from archipel.node.client import LabReader
from live import live
from world import World

WORDS = "paused by run's owner (until Monday); resume with `archipel run resume run`"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path / "lab", ledger_on_disk=False)
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Identity, "load", lambda *asked: made.operator)
    made.started()
    yield made
    made.close()


def at(world: World, *arguments: str) -> Result:
    async def whole() -> Result:
        async with live(world) as url:
            words = [*arguments, "--lab", url]
            return await asyncio.to_thread(CliRunner().invoke, command, words)

    return asyncio.run(whole())


def said(done: Result) -> str:
    """What the command printed, or the sentence it ended in."""
    return done.output + (str(done.exception) if done.exception else "")


def test_a_run_is_paused_and_resumed_with_one_command_each_and_never_twice(world: World) -> None:
    done = at(world, "run", "pause", "run", "--reason", "until Monday")
    assert done.output == "run run is paused; resume with `archipel run resume run`\n"
    assert world.run().paused is not None
    assert "is paused already" in said(at(world, "run", "pause", "run"))
    assert at(world, "run", "resume", "run").output == "run run goes on\n"
    assert world.run().paused is None
    again = at(world, "run", "resume", "run")
    assert again.exit_code == 1
    assert "is running and not paused" in said(again)
    assert "no run other" in said(at(world, "run", "pause", "other"))
    assert "is stopped" in at(world, "run", "stop", "run").output
    assert "stopped: there is nothing to pause" in said(at(world, "run", "pause", "run"))


@pytest.mark.slow
def test_every_door_says_that_a_run_is_paused_and_how_it_goes_on(world: World) -> None:
    assert "paused" not in at(world, "run", "list").output
    world.pause_run()
    listed = at(world, "run", "list").output
    assert "paused" in listed
    assert "resume with `archipel run resume run`" in listed
    page = at(world, "run", "show", "run").output
    assert page.startswith("run: paused, version 0")
    assert WORDS in page
    stuck = at(world, "run", "why-stuck").output
    assert WORDS in stuck
    assert f"owner: {world.operator.did}; nothing is handed out" in stuck
    (told,) = json.loads(at(world, "run", "why-stuck", "--json").output)
    assert told["left_s"] is None


@pytest.mark.slow
def test_a_watcher_sees_a_pause_begin_and_end(world: World) -> None:
    async def look() -> Scene:
        async with live(world) as url, LabReader(url) as lab:
            return await Watcher(lab, None, None).look()

    def events(scene: Scene) -> list[str]:
        (run,) = scene.runs
        told = [event for event in news.of(scene, run) if event["event"] != "version"]
        return [line({**event, "at_s": 0}).split(" ", 1)[1] for event in told]

    news = News()
    assert events(asyncio.run(look())) == []
    world.pause_run()
    scene = asyncio.run(look())
    assert events(scene) == [f"run paused 0: {WORDS}"]
    assert events(scene) == []
    console = Console(width=120)
    with console.capture() as captured:
        console.print(picture(scene, 120, 40))
    assert WORDS in captured.get()
    world.resume_run()
    assert events(asyncio.run(look())) == ["run resumed 0"]
    world.pause_run()
    world.stop_run()
    assert events(asyncio.run(look())) == ["run stopped 0"]
