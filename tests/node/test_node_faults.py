"""What goes wrong around an agent: its child, its disk, its lab; each costs at most one lease."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import stub_worker
from agents import (
    LIMIT_S,
    MANY,
    SLOW,
    agent_of,
    at_a_lab,
    complete,
    learning,
    more_than,
    num_groups_of,
    until,
)
from archipel.blobs import StorageFull
from archipel.node import delivery
from archipel.node.agent import Agent
from archipel.node.exchange import LabRefused
from archipel.node.open_runs import Unapproved, Unprepared
from archipel.node.patience import NodeFailed
from archipel.node.totals import Totals
from archipel.node.worker import TimeUp, WorkerLost, WorkRefused
from archipel.records.statements import LeaseGranted, NodeLeft
from archipel.work.messages import Done, DoWork
from live import live
from people import identity, ref
from stub_worker import StubWorker, crash, honest, refuse, written
from wire import Wire, is_receipt_of_answer
from world import World

pytestmark = pytest.mark.usefixtures("stub")


def test_a_child_that_dies_costs_one_lease_and_not_the_node(world: World, folder: Path) -> None:
    StubWorker.script = [crash]
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    assert StubWorker.started == 2
    assert agent.totals.works["lost"] == 1
    assert world.state.nodes[identity("node").did].returned == 1


def test_a_child_that_cannot_work_costs_one_lease_and_lives_on(world: World, folder: Path) -> None:
    StubWorker.script = [refuse]
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    assert StubWorker.started == 1
    assert agent.totals.works["returned"] == 1


def test_an_answer_on_its_way_survives_the_death_of_the_child(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SMALL_BLOB_BYTES", 0)  # every answer is a large one
    monkeypatch.setattr(delivery, "send", once_a_new_child_came(delivery.send))
    StubWorker.script = [honest, honest, crash]  # the first proves the node: it may hold two

    async def story(agent: Agent) -> None:
        await until(complete(world), learning(world))

    agent = at_a_lab(world, folder, story, **MANY)
    assert agent.totals.works["lost"] == 1
    node = world.state.nodes[identity("node").did]
    assert (node.returned, node.expired) == (1, 0), "what is on its way is still held"


def once_a_new_child_came(send):
    async def late(*arguments) -> None:
        if len(StubWorker.done) > 1:
            await until(lambda: StubWorker.started == 2)
        await send(*arguments)

    return late


def a_node_that_fails(world: World, folder: Path, fault: Exception, times: int) -> list[str]:
    """How its leases ended, when a good run was done beside one whose work it fails `times` times."""
    failed: list[str] = []

    def act(worker: StubWorker, message: DoWork) -> Done:
        if message.spec.run == "bad":
            failed.append(message.work)
            worker.alive = not isinstance(fault, WorkerLost)
            raise fault
        return honest(worker, message)

    world.open_run("bad", **SLOW)

    async def story(agent: Agent) -> None:
        step = learning(world)
        StubWorker.script = [act] * 1000
        await until(lambda: complete(world)() and len(failed) >= times, step)

    agent = at_a_lab(world, folder, story)
    assert agent.totals.works["accepted"] > 0
    return failed


def slowly(fault: object) -> Any:
    """Beside a refusal and a loss, which CI takes."""
    return pytest.param(fault, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "fault",
    [
        WorkRefused("the prompt of group 3 does not fit"),
        slowly(WorkRefused("out of memory", "machine")),
        slowly(WorkRefused("no space left on the disk", None)),
        WorkerLost("the child ended with code -11"),
        slowly(TimeUp("time is up")),
        slowly(Unprepared("the recipe cannot be used here")),
        slowly(Unapproved("the operator did not approve it")),
        slowly(LabRefused("missing-blob", "gone", 404)),
        slowly(RecursionError("of a kind that nobody foresaw")),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_run_that_always_fails_never_ends_a_node_and_a_healthy_one_is_done(
    world: World, folder: Path, fault: Exception
) -> None:
    failed = a_node_that_fails(world, folder, fault, 6)
    assert len(failed) >= 6, "more often than a node was once ended for"


@pytest.mark.slow
def test_a_node_too_slow_for_its_first_leases_gets_longer_ones_and_ends_the_run(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs three times the shortest deadline for a group, so two leases run out, not every one."""
    monkeypatch.setattr("archipel.node.carrying.MIN_TRY_S", 0.01)
    monkeypatch.setattr("archipel.node.patience.backoff_s", lambda attempt, draw: 0.001)
    at_once = StubWorker.work

    async def slowly(worker: StubWorker, message: DoWork, limit_s: float, *more) -> Done:
        need_s = 0.9 * len(message.spec.groups)
        await asyncio.sleep(min(need_s, limit_s))
        if need_s > limit_s:
            raise TimeUp("time is up")
        return await at_once(worker, message, limit_s, *more)

    monkeypatch.setattr(StubWorker, "work", slowly)
    agent = at_a_lab(
        world,
        folder,
        lambda a: until(complete(world), learning(world)),
        versions=1,
        groups_per_update=2,
        min_deadline_ms=300,
    )
    assert agent.totals.works["accepted"] >= 1
    assert agent.totals.works["lost"] <= 3, "two, or one more on a busy machine"


@pytest.mark.slow
def test_the_lab_is_told_whose_fault_it_was(world: World, folder: Path) -> None:
    a_node_that_fails(world, folder, WorkRefused("a prompt of 441 tokens \ud83d does not fit"), 2)
    (trouble,) = world.run("bad").troubles
    assert (trouble.kind, trouble.nodes) == ("rollout", (identity("node").did,))
    assert trouble.reason == "a prompt of 441 tokens ? does not fit"
    assert world.run().troubles == ()


def test_a_machine_whose_child_never_starts_ends_with_a_sentence(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.patience.backoff_s", lambda attempt, draw: 0.001)

    async def start(*arguments: object) -> StubWorker:
        raise WorkerLost("no such library")

    monkeypatch.setattr(StubWorker, "start", start)
    world.started(**SLOW)

    async def story() -> None:
        async with live(world) as url:
            told = r"start 5 times in a row .*no such library.*child\.log"
            with pytest.raises(NodeFailed, match=told):
                await asyncio.wait_for(agent_of(folder, url).run(), LIMIT_S)

    world.await_(story())


def test_two_machines_with_one_key_are_recognised_and_one_ends(world: World, folder: Path) -> None:
    world.started(**MANY)
    StubWorker.pause_s = 0.1
    ended: list[BaseException] = []

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url), agent_of(folder / "copy", url)]
            running = [asyncio.create_task(agent.run()) for agent in agents]
            async with asyncio.timeout(LIMIT_S):
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            entries = world.state.size
            for agent in agents:
                agent.stop()
            results = await asyncio.gather(*running, return_exceptions=True)
            ended.extend(each for each in results if isinstance(each, BaseException))
            assert entries < 60

    (folder / "copy").mkdir()
    world.await_(story())
    assert ended
    assert all(isinstance(each, NodeFailed) for each in ended)
    assert "another machine works with this node's key" in str(ended[0])
    world.check()


def waits_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of each attempt that an agent waits before, as it waits."""
    waits: list[int] = []

    def backoff_s(attempt: int, draw: float) -> float:
        waits.append(attempt)
        return 0.001

    monkeypatch.setattr("archipel.node.patience.backoff_s", backoff_s)
    return waits


def test_after_each_failure_of_its_child_a_node_waits_longer_until_one_does_work(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = waits_of(monkeypatch)
    StubWorker.script = [crash, refuse, crash, honest, refuse]
    at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    first, second, third, after_success = waits
    assert first < second < third
    assert after_success == first


@pytest.mark.slow
def test_a_new_child_gets_the_weights_that_the_one_before_had(world: World, folder: Path) -> None:
    StubWorker.script = [honest, honest, crash]
    at_a_lab(world, folder, lambda a: until(complete(world), learning(world)), **MANY)
    chains = [[link.anchor is not None for link in each.chain] for each in StubWorker.asked]
    assert chains[:4] == [[True], [], [], [True]], "from an anchor, nothing, nothing, again"


@pytest.mark.slow
def test_a_child_that_failed_half_way_gets_the_weights_anew(world: World, folder: Path) -> None:
    """Nobody knows how far it came."""
    StubWorker.script = [honest, honest, refuse]
    at_a_lab(world, folder, lambda a: until(complete(world), learning(world)), **MANY)
    chains = [[link.anchor is not None for link in each.chain] for each in StubWorker.asked]
    assert chains[:4] == [[True], [], [], [True]]


def escape(worker: StubWorker, message: DoWork) -> Done:
    """Name the node's own key as the answer."""
    key = worker.setup.scratch.parent / "node.key"
    key.write_bytes(b"secret")
    return Done(files={"rollouts": key}, values={"policy": message.spec.policy, "num_tokens": 1})


def linked(worker: StubWorker, message: DoWork) -> Done:
    done = honest(worker, message)
    path = done.files["rollouts"]
    path.unlink()
    path.symlink_to(__file__)
    return done


def speechless(worker: StubWorker, message: DoWork) -> Done:
    return Done(files={}, values={})


def confused(worker: StubWorker, message: DoWork) -> Done:
    done = honest(worker, message)
    return done.model_copy(update={"values": {"policy": 7, "num_tokens": "many"}})


def pathless(worker: StubWorker, message: DoWork) -> Done:
    return Done(files={"rollouts": Path("no\0path")}, values={"policy": "", "num_tokens": 1})


def noise(worker: StubWorker, message: DoWork) -> Done:
    return written(worker, message, b"no payload")


@pytest.mark.parametrize(
    "act", [escape, noise, *(slowly(act) for act in (linked, speechless, confused, pathless))]
)
def test_a_child_gone_mad_costs_its_lease_and_tells_the_lab_nothing(
    world: World, folder: Path, act: stub_worker.Act
) -> None:
    StubWorker.script = [act]
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    assert agent.totals.works.pop("accepted") == len(StubWorker.done) - 1
    assert agent.totals.works in ({"lost": 1}, {"refused": 1})
    assert world.state.nodes[identity("node").did].returned == 1
    kept = [world.blobs.read_bytes(digest, 10**6) for digest in world.blobs.digests()]
    assert b"secret" not in kept
    assert Path(__file__).read_bytes() not in kept


def test_a_delivery_that_fails_as_nobody_foresaw_is_told_and_its_lease_goes_back(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults, answer_from = [RuntimeError("a defect")], delivery.answer_from

    def defective(*arguments):
        if faults:
            raise faults.pop()
        return answer_from(*arguments)

    monkeypatch.setattr(delivery, "answer_from", defective)
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    assert agent.totals.works == {"lost": 1, "accepted": len(StubWorker.done) - 1}
    assert world.state.nodes[identity("node").did].returned == 1
    assert not list((agent.settings.home / "scratch").iterdir())
    assert "a defect" in caplog.text


@pytest.mark.slow
def test_a_delivery_that_fails_after_its_receipt_is_told(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [RuntimeError("a defect of counting")]

    def defective(
        totals: Totals, grant: LeaseGranted, values: Mapping[str, object], busy_s: float
    ) -> None:
        if faults:
            raise faults.pop()

    monkeypatch.setattr(Totals, "earned", defective)
    at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    told = [str(each.exc_info) for each in caplog.records if each.name == "archipel.node"]
    assert any("a defect of counting" in each for each in told)


def talkative(worker: StubWorker, message: DoWork) -> Done:
    """An honest answer, and a file that no answer of this kind names."""
    done = honest(worker, message)
    more = done.files["rollouts"].with_name("more")
    more.write_bytes(b"not asked for")
    return done.model_copy(update={"files": done.files | {"more": more}})


def test_only_files_that_an_answer_names_are_sent(world: World, folder: Path) -> None:
    StubWorker.script = [talkative]
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    assert agent.totals.works == {"accepted": len(StubWorker.done)}
    assert not world.blobs.exists(ref(b"not asked for").digest)


def test_a_full_disk_returns_the_lease_waits_and_works_on_when_there_is_room(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, full = waits_of(monkeypatch), [StorageFull("the disk is full")] * 2

    async def story(agent: Agent) -> None:
        supply = agent.errands._supply
        fetch = supply.fetch

        async def failing(*blobs) -> list[Path]:
            if full:
                raise full.pop()
            return await fetch(*blobs)

        supply.fetch = failing
        await until(complete(world), learning(world))

    agent = at_a_lab(world, folder, story)
    assert agent.totals.works["returned"] == 2
    assert StubWorker.started == 1
    assert waits[0] < waits[1], "nobody's work is at fault: it waits until the disk is mended"


def test_a_lab_that_restarts_while_answers_travel_loses_none_and_pays_each_once(
    world: World, folder: Path
) -> None:
    world.started(**SLOW)
    learn = learning(world)
    StubWorker.pause_s = 0.05

    async def story() -> None:
        async with live(world) as url:
            port = int(url.rsplit(":", 1)[1])
            running = asyncio.create_task(agent_of(folder, url).run())
            await until(lambda: num_groups_of(world) >= 2)
        for _ in range(3):
            world.restart()
            async with live(world, port):
                await until(more_than(world, num_groups_of(world)), learn)
        world.restart()
        async with live(world, port):
            await until(complete(world), learn)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    world.await_(story())
    world.check()
    world.check_replay()


def test_an_answer_whose_receipt_got_lost_counts_once_and_as_accepted(
    world: World, folder: Path
) -> None:
    lost, wire = [], Wire()

    async def without_receipt(what: str, document):
        if is_receipt_of_answer(what, document) and len(lost) < 2:
            lost.append(document)
            raise httpx.ReadError("cut before the receipt came")
        return document

    wire.on_answer = without_receipt
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)), wire, **MANY)
    assert len(lost) == 2, "each of them had brought a lease"
    assert agent.totals.works == {"accepted": len(StubWorker.done)}
    assert agent.totals.credit_micro == world.state.book[identity("node").did]
    assert world.state.nodes[identity("node").did].expired == 2, "taken back as lost, at once"


def test_a_node_the_lab_forgot_joins_again_by_itself(world: World, folder: Path) -> None:
    async def story(agent: Agent) -> None:
        await until(lambda: num_groups_of(world) > 0)
        world.speak(identity("node"), NodeLeft, seq=agent.client.numbers.next())
        await until(complete(world), learning(world))

    at_a_lab(world, folder, story)
