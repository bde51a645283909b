"""Leases that come with receipts, the news beside them, and a lab or a wire that alters it."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import LIMIT_S, MANY, agent_of, at_a_lab, complete, learning, settings, until
from archipel.blobs import BlobStore
from archipel.lab.programmes import rl
from archipel.node.agent import Agent
from archipel.node.approvals import approve
from archipel.records.recipe import parse_recipe
from archipel.records.statements import RunOpened
from archipel.records.terms import Terms
from archipel.work.messages import Done, DoWork, read_step, to_line
from archipel.work.remembered import KEPT_ASIDE
from live import live
from people import identity
from stub_worker import StubWorker, honest
from wire import Document, Wire, is_receipt_of_answer
from world import PACE, TERMS, World

pytestmark = pytest.mark.usefixtures("stub")

NUM_LEASES = MANY["versions"] * MANY["groups_per_update"]
NUM_VERSIONS = 12
RECIPE = parse_recipe(
    '[run]\nname = "real"\nversions = 6\n[environment]\nname = "secret_order"\n',
)
SECRET = parse_recipe(
    '[run]\nname = "real"\nversions = 6\n[environment]\nname = "secret_order"\nsecret = "mine"\n',
)


def done(world: World) -> Callable[[], bool]:
    return lambda: len(StubWorker.done) == NUM_LEASES and not world.state.leases


def test_a_node_at_work_sends_one_request_per_lease(world: World, folder: Path) -> None:
    wire = Wire()
    agent = at_a_lab(world, folder, lambda a: until(done(world)), wire, **MANY)
    assert agent.totals.works == {"accepted": NUM_LEASES}
    did = identity("node").did
    greeting = ["GET /lab", f"GET /keys/{did}", f"GET /nodes/{did}"]
    joining = ["GET /lab", "POST /records"]
    """What the lab asks of newcomers may be another by now."""
    before = len(greeting) + len(joining)
    assert wire.requests[:before] == greeting + joining
    assert wire.requests.pop(before + 1).startswith("GET /blobs/"), "config.json, once"
    working = wire.requests[before : before + 1 + NUM_LEASES]
    assert working == ["POST /leases", *["POST /records"] * NUM_LEASES]
    assert set(wire.requests[before + 1 + NUM_LEASES :]) <= {"POST /leases", "POST /records"}


@pytest.mark.slow
def test_a_site_of_two_nodes_and_an_update_role_needs_few_requests_per_update(
    world: World, folder: Path
) -> None:
    wires = [Wire() for _ in range(3)]
    opened_with(world, RECIPE.canonical_bytes(), versions=NUM_VERSIONS)
    sent: list[int] = []

    def num_requests() -> int:
        return sum(len(wire.requests) for wire in wires)

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url, name) for name in ("node", "second")]
            agents.append(learner_of(folder, url, any_recipe=True))
            for agent, wire in zip(agents, wires, strict=True):
                wire.attach(agent.client)
            running = [asyncio.create_task(agent.run()) for agent in agents]
            await until(lambda: world.run("real").version >= 1)
            sent.extend([num_requests(), world.run("real").version])
            await until(lambda: world.run("real").version == NUM_VERSIONS)
            sent.append(num_requests())
            for agent in agents:
                agent.stop()
            await asyncio.wait_for(asyncio.gather(*running), LIMIT_S)

    world.await_(story())
    world.check()
    before, version, after = sent
    assert (after - before) / (NUM_VERSIONS - version) <= 8


def opened_with(world: World, recipe: bytes, most_groups: int = 2, **terms: int) -> None:
    """A run with a recipe that a trusted role can read."""
    world.open_run()  # for its blobs
    world.stop_run()
    opened = world.run().opened
    world.speak(
        world.operator,
        RunOpened,
        run="real",
        recipe=world.put(recipe),
        terms=Terms(**(TERMS | terms)),
        pace=opened.pace.model_copy(update={"max_groups_per_lease": most_groups}),
        model=opened.model,
        trusted=(identity("learner").did,),
    )


def learner_of(folder: Path, url: str, **changed: Any) -> Agent:
    made = settings(folder, url, "learner", kinds=("update", "evaluate"), **changed)
    return Agent(made, identity("learner"), BlobStore(made.home / "blobs"))


@pytest.mark.parametrize("presses", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_lease_that_comes_while_the_operator_stops_the_node_goes_back(
    world: World, folder: Path, presses: int
) -> None:
    wire, agents = Wire(), []

    async def stop_now(what: str, document: Document) -> Document:
        if is_receipt_of_answer(what, document):
            for _ in range(presses):
                agents[0].stop()
        return document

    wire.on_answer = stop_now

    async def story(agent: Agent) -> None:
        agents.append(agent)
        await until(lambda: left(world, "node"))

    agent = at_a_lab(world, folder, story, wire, **MANY)
    assert len(StubWorker.begun) == 1, "nothing new was begun"
    assert not world.state.leases
    assert rl.course(world.run()).num_groups == 1
    if presses == 1:
        assert agent.totals.works == {"accepted": 1, "returned": 1}


def left(world: World, name: str) -> bool:
    node = world.state.nodes.get(identity(name).did)
    return node is not None and not node.present and node.works > 0


def flipped(sealed: str) -> str:
    """The statement says something else, under the same signature."""
    fields = json.loads(sealed)
    said = json.loads(base64.b64decode(fields["payload"]))
    said["seq"] += 1
    payload = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    fields["payload"] = base64.b64encode(payload.encode()).decode()
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def handout_of(what: str, document: Any) -> Document | None:
    if what == "POST /leases":
        return document
    return document.get("handout") if what == "POST /records" else None


def _grant(handout: Document) -> None:
    handout["grant"] = flipped(handout["grant"])


def _opening(handout: Document) -> None:
    handout["opening"] = flipped(handout["opening"])


def _versions(handout: Document) -> None:
    handout["versions"] = [flipped(each) for each in handout["versions"]]


@pytest.mark.parametrize(
    ("name", "problem", "alter"),
    [
        ("grant", "bad-grant", _grant),
        pytest.param("opening", "bad-opening", _opening, marks=pytest.mark.slow),
        pytest.param("versions", "bad-version", _versions, marks=pytest.mark.slow),
    ],
)
def test_an_altered_document_is_refused_with_one_error_and_costs_no_wrong_work(
    world: World,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    problem: str,
    alter: Callable[[Document], None],
) -> None:
    wire, altered = Wire(), []

    async def meddle(what: str, document: Document) -> Document:
        handout = handout_of(what, document)
        if handout and handout.get(name) and not altered:
            altered.append(name)
            alter(handout)
        return document

    wire.on_answer = meddle
    with caplog.at_level("WARNING", "archipel.node"):
        agent = at_a_lab(
            world, folder, lambda a: until(complete(world), learning(world)), wire, **MANY
        )
    assert altered
    reasons = [record.reason for record in caplog.records if hasattr(record, "reason")]
    assert any(reason.startswith(problem) for reason in reasons), reasons
    assert agent.totals.works.pop("accepted") == len(StubWorker.begun)
    assert sum(agent.totals.works.values()) <= 1
    assert all(each.opened == world.run().opened for each in StubWorker.asked)


def test_inputs_that_were_altered_are_refused_and_nothing_is_learned_from_them(
    world: World, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wire, altered = Wire(), []
    opened_with(world, RECIPE.canonical_bytes(), versions=2)

    async def meddle(what: str, document: Document) -> Document:
        handout = handout_of(what, document)
        if handout and handout.get("inputs") and not altered:
            altered.append(what)
            handout["inputs"][0]["answer"]["num_tokens"] += 1
        return document

    wire.on_answer = meddle

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url), learner_of(folder, url, any_recipe=True)]
            wire.attach(agents[1].client)
            running = [asyncio.create_task(agent.run()) for agent in agents]
            await until(lambda: world.run("real").version == 2)
            for agent in agents:
                agent.stop()
            await asyncio.wait_for(asyncio.gather(*running), LIMIT_S)

    with caplog.at_level("WARNING", "archipel.node"):
        world.await_(story())
    assert altered
    assert any(getattr(each, "reason", "").startswith("bad-inputs") for each in caplog.records)
    world.check()


@pytest.mark.slow
def test_blobs_beside_a_lease_that_are_not_its_own_are_not_kept(world: World, folder: Path) -> None:
    """A lab that packs other bytes makes the node fetch the right ones, and fills no disk."""
    wire = Wire()
    wire.add_blobs = [b"x" * 1000, b"y" * 1000]
    agent = at_a_lab(world, folder, lambda a: until(done(world)), wire, **MANY)
    assert agent.totals.works == {"accepted": NUM_LEASES}
    store = BlobStore(folder / "node" / "blobs")
    assert not any(store.size(digest) == 1000 for digest in store.digests())


@pytest.mark.parametrize("skew_ms", [pytest.param(-7_200_000, marks=pytest.mark.slow), 7_200_000])
def test_a_node_whose_clock_is_hours_off_has_all_the_time_of_its_leases(
    world: World, folder: Path, skew_ms: int
) -> None:
    agent = at_a_lab(
        world, folder, lambda a: until(complete(world), learning(world)), skew_ms=skew_ms
    )
    assert agent.totals.works == {"accepted": len(StubWorker.done)}
    limit_s = PACE["min_deadline_ms"] / 1000
    assert all(limit_s / 2 < each <= 4 * limit_s for each in StubWorker.limits_s)


def test_a_trusted_role_does_no_run_whose_recipe_its_operator_does_not_know(
    world: World, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened_with(world, RECIPE.canonical_bytes(), versions=2)
    agents: list[Agent] = []

    async def story() -> None:
        async with live(world) as url:
            agent = learner_of(folder, url)
            agents.append(agent)
            running = asyncio.create_task(agent.run())
            await until(lambda: agent.totals.works.get("unapproved", 0) >= 6)
            assert StubWorker.begun == []
            assert not list((folder / "learner" / "models").iterdir()), "nothing of it was fetched"
            approve(folder / "learner", RECIPE.digest)
            await until(lambda: world.run("real").version == 0)
            agent.stop()
            await asyncio.wait_for(running, LIMIT_S)

    with caplog.at_level("ERROR", "archipel.node"):
        world.await_(story())
    reasons = [each.reason for each in caplog.records if each.message == "trouble"]
    assert all(RECIPE.digest in each and "update approve" in each for each in reasons)
    assert agents[0].totals.works["accepted"] >= 1
    assert not world.state.leases


@pytest.mark.parametrize(
    ("secret", "mode", "recipe", "reason"),
    [
        (
            None,
            None,
            SECRET.canonical_bytes(),
            "needs secret 'mine': make one with `archipel update secret mine`, or put",
        ),
        pytest.param(
            *(b"s", 0o644, SECRET.canonical_bytes(), "may be read by others; run: chmod 600"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(b"s", 0o600, b"no recipe", "the recipe of real cannot be used here"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["no secret", "an open secret", "no recipe"],
)
def test_a_trusted_role_that_lacks_something_gives_its_lease_back_and_says_what(
    world: World,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    secret: bytes | None,
    mode: int | None,
    recipe: bytes,
    reason: str,
) -> None:
    opened_with(world, recipe, versions=2)
    place = folder / "secrets"
    place.mkdir()
    if secret is not None and mode is not None:
        (place / "mine").write_bytes(secret)
        (place / "mine").chmod(mode)

    async def story() -> None:
        async with live(world) as url:
            agent = learner_of(folder, url, any_recipe=True, secrets=place)
            running = asyncio.create_task(agent.run())
            await until(lambda: agent.totals.works.get("returned", 0) >= 1)
            agent.stop()
            await asyncio.wait_for(running, LIMIT_S)

    with caplog.at_level("WARNING", "archipel.node"):
        world.await_(story())
    assert any(reason in getattr(each, "reason", "") for each in caplog.records)
    assert StubWorker.begun == []
    assert not world.state.leases


@pytest.mark.slow
def test_a_learner_without_memory_starts_from_the_published_checkpoint(
    world: World, folder: Path
) -> None:
    """And replays what came after it, from inputs that it asks for and verifies."""
    opened_with(world, RECIPE.canonical_bytes(), versions=6, checkpoint_every=2)

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url), learner_of(folder, url, any_recipe=True)]
            running = [asyncio.create_task(agent.run()) for agent in agents]
            await until(lambda: world.run("real").version >= 3)
            StubWorker.memories.clear()
            await until(lambda: world.run("real").version == 6)
            for agent in agents:
                agent.stop()
            await asyncio.wait_for(asyncio.gather(*running), LIMIT_S)

    world.await_(story())
    started = [each for each in StubWorker.asked if each.checkpoint is not None]
    assert len(started) == 1
    (message,) = started
    assert message.checkpoint.read_bytes().startswith(b"memory of weights")
    assert message.spec.memory.blob.digest.endswith(
        message.checkpoint.parent.name + message.checkpoint.name
    )


@pytest.mark.slow
def test_what_a_learner_has_to_catch_up_with_goes_by_file_and_not_by_message(
    world: World, folder: Path
) -> None:
    """A message has a bound; the updates since the newest checkpoint have none. No work is of two batches."""
    opened_with(world, RECIPE.canonical_bytes(), 1, versions=6, checkpoint_every=100)
    replayed: list[tuple[int, str]] = []

    def forgetful(worker: StubWorker, message: DoWork) -> Done:
        line = to_line(message).decode()
        for each in message.replay:
            replayed.extend((each.version, done.work) for done in read_step(each.file).inputs)
        assert not any(f'"{work}"' in line for _, work in replayed)
        done = honest(worker, message)
        if message.spec.kind == "update":
            worker.memories.clear()
        return done

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url), learner_of(folder, url, any_recipe=True)]
            StubWorker.script = [forgetful] * 40
            running = [asyncio.create_task(agent.run()) for agent in agents]
            await until(lambda: world.run("real").version == 6)
            for agent in agents:
                agent.stop()
            await asyncio.wait_for(asyncio.gather(*running), LIMIT_S)
        assert len(list((folder / "learner" / "replay").iterdir())) <= 5

    world.await_(story())
    assert {version for version, _ in replayed} >= {1, 2, 3, 4}


def test_a_memory_ahead_of_its_ledger_goes_back_by_what_was_published_and_not_time_after_time(
    world: World, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened_with(world, RECIPE.canonical_bytes(), versions=6)
    went: list[int] = []

    def ahead(worker: StubWorker, message: DoWork) -> Done:
        if message.back is not None:
            went.append(message.back.to)
            worker.memories.clear()
            for number in range(KEPT_ASIDE):
                aside = folder / "learner" / "memory" / message.folder / f"aside-{number}"
                aside.mkdir(parents=True)
                (aside / "why.json").touch()
        done = honest(worker, message)
        if message.spec.kind == "update" and message.spec.version > 0:
            worker.memories["real"] = 9
        return done

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url), learner_of(folder, url, any_recipe=True)]
            StubWorker.script = [ahead] * 40
            running = [asyncio.create_task(agent.run()) for agent in agents]
            await until(lambda: agents[1].totals.works.get("returned", 0) >= 1)
            for agent in agents:
                agent.stop()
            await asyncio.wait_for(asyncio.gather(*running), LIMIT_S)

    with caplog.at_level("WARNING", "archipel.node"):
        world.await_(story())
    assert went == [-1]
    assert world.run("real").version == 2
    wanted = f"earlier ledger than this memory has, as it did {KEPT_ASIDE} times within 7 days"
    assert any(wanted in getattr(each, "reason", "") for each in caplog.records)


def test_a_lab_whose_files_never_come_does_not_hold_a_node_past_its_lease(
    world: World, folder: Path
) -> None:
    held: list[str] = []

    async def story(agent: Agent) -> None:
        supply = agent.errands._supply
        fetch = supply.fetch

        async def never(*blobs: Any) -> list[Path]:
            if not held and blobs:
                held.append(blobs[0].digest)
                await asyncio.sleep(LIMIT_S)
            return await fetch(*blobs)

        supply.fetch = never
        await until(complete(world), learning(world))

    agent = at_a_lab(world, folder, story, min_deadline_ms=1000, slack_milli=1000)
    assert held
    assert agent.totals.works["lost"] == 1
    assert agent.totals.works["accepted"] == len(StubWorker.done)
