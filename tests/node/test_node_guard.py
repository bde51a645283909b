"""A trusted role's guard: it tells what goes wrong in its runs, and pauses one where the recipe says so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused
from archipel.node.guard import FILE, Guard
from archipel.node.standing import Standing
from archipel.node.totals import Totals
from archipel.node.wording import summary_of
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import ModelFile, RunOpened
from archipel.records.terms import Terms
from live import live
from people import Learner, identity
from tiny import tiny_recipe
from world import PACE, TERMS, World

COLLAPSED = {
    "groups": 2,
    "zero_advantage_groups": 1,
    "reward_micro": 620_000,
    "commonest_answer_micro": 990_000,
    "constant_reward_micro": 620_000,
}
HEALTHY = COLLAPSED | {"commonest_answer_micro": 300_000}


def opened(world: World, name: str, **alarms: Any) -> Learner:
    """A run at version 0 whose recipe has these alarms."""
    recipe = tiny_recipe(20, 0)
    recipe = recipe.model_copy(
        update={"alarms": recipe.alarms.model_copy(update={"window": 3} | alarms)}
    )
    world.speak(
        world.operator,
        RunOpened,
        run=name,
        recipe=world.put(recipe.canonical_bytes()),
        terms=Terms(**(TERMS | {"versions": 20})),
        pace=RlPace(**PACE),
        model=(ModelFile(name="config.json", blob=world.put(b"{}")),),
        trusted=(identity("learner").did,),
    )
    learner = world.learner(join=name == "run")
    learner.work()
    return learner


def go_on(world: World, learner: Learner, name: str, version: int, metrics: dict[str, int]) -> None:
    """Until `name` is at `version`, all its updates saying this."""
    provider = world.provider("node")
    for _ in range(400):
        if world.run(name).version >= version:
            return
        grant = provider.ask() if (due := learner.ask()) is None else due
        if grant is None:
            world.tick(100)
        elif due is None:
            provider.answer(grant)
        else:
            is_update = grant.spec.kind == "update"
            learner.answer(grant, metrics=metrics if is_update else {"num_tasks": 4})
    raise AssertionError(world.run(name).version)


def looked(world: World, home: Path, *runs: str, again: int = 1, who: str = "learner") -> Standing:
    """What a guard has told after looking so often."""
    standing = Standing()
    standing.runs.update(dict.fromkeys(runs))

    async def look() -> None:
        async with live(world) as url, LabClient(url, identity(who)) as client:
            guard = Guard(client, standing, home)
            for _ in range(again):
                for run in runs:
                    await guard.look(run)

    world.await_(look())
    return standing


def test_an_alarm_is_told_once_while_it_stands_and_stops_nothing_by_itself(
    world: World, folder: Path
) -> None:
    go_on(world, opened(world, "run"), "run", 5, COLLAPSED)
    standing = looked(world, folder, "run", again=3)
    (news,) = standing.news
    assert news.startswith("ALARM in run run, collapse: one answer is 99% of all")
    assert world.run().paused is None
    standing.lab = world.state.lab
    assert "ALARM in run run: collapse: " in summary_of(standing, Totals())
    assert not (folder / FILE).exists()


def test_a_run_that_learns_is_not_spoken_of(world: World, folder: Path) -> None:
    go_on(world, opened(world, "run", pause=True), "run", 5, HEALTHY)
    standing = looked(world, folder, "run")
    assert not standing.news
    assert world.run().paused is None


def test_where_the_recipe_says_so_a_grave_alarm_pauses_the_run_once_and_who_resumes_it_decides(
    world: World, folder: Path
) -> None:
    go_on(world, opened(world, "run", pause=True), "run", 5, COLLAPSED)
    standing = looked(world, folder, "run")
    pause = world.run().paused
    assert pause is not None
    assert pause.reason.startswith("alarm: collapse: one answer is 99% of all")
    assert pause.by == identity("learner").did
    assert "run run is paused" in standing.news[-1]
    world.resume_run()
    for _ in range(2):  # each is another process
        assert looked(world, folder, "run").news, "it is told all the same"
        assert world.run().paused is None


def test_an_alarm_of_speed_pauses_nothing(world: World, folder: Path) -> None:
    held_back = HEALTHY | {"held_back_fraction_micro": 900_000, "tokens": 8}
    go_on(world, opened(world, "run", pause=True), "run", 5, held_back)
    assert "held-back" in looked(world, folder, "run").news[0]
    assert world.run().paused is None


def test_who_is_not_trusted_in_a_run_cannot_pause_it(world: World, folder: Path) -> None:
    go_on(world, opened(world, "run", pause=True), "run", 5, COLLAPSED)
    with pytest.raises(LabRefused, match="nor trusted in run"):
        looked(world, folder, "run", who="node")
    assert world.run().paused is None


def test_what_a_guard_cannot_reach_costs_nobody_anything(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.guard.LOOK_EVERY_S", 0.01)
    standing = Standing()
    standing.runs["run"] = None

    async def watch() -> None:
        async with LabClient("http://127.0.0.1:1", identity("learner")) as client:
            watching = asyncio.create_task(Guard(client, standing, folder).watch())
            await asyncio.sleep(0.1)
            assert not watching.done()
            watching.cancel()

    asyncio.run(watch())
    assert not standing.news


def test_the_last_words_name_alarms_that_stood_on_the_way(world: World, folder: Path) -> None:
    learner = opened(world, "run")
    go_on(world, learner, "run", 5, COLLAPSED)
    go_on(world, learner, "run", 20, HEALTHY)
    assert world.run("run").phase.value == "complete"
    standing = looked(world, folder, "run")
    standing.lab = world.state.lab
    last_words = summary_of(standing, Totals())
    assert "ALARM" not in last_words, "nothing is wrong now"
    assert "earlier alarms in run run: collapse at version 3" in last_words
