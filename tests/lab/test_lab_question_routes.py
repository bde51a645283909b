"""A door over HTTP: it uploads what its questions name, asks, and is told what became of them, with a deadline."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from archipel.identity import Envelope
from archipel.lab.door_views import standing
from archipel.lab.doorman import DoorLimits
from archipel.records.door import AdaptQuestion, Begun, DoorAsked
from archipel.records.door_documents import QuestionsView, QuestionView
from archipel.records.statements import LeaseGranted, WorkAnswered, decode
from door import Door, problem
from people import envelope, identity, ref
from questions import DOOR, FORM, asked_next, hand, open_door, taken, trained, trainer
from world import World

PATH = "/runs/door/questions/1"


@pytest.fixture
def http(world: World) -> Iterator[Door]:
    made = Door(world)
    yield made
    made.close()


async def _is_waiting(world: World) -> None:
    for _ in range(1000):
        if world.lab.news._waited:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody waits")


def seen(answer: httpx.Response) -> QuestionView:
    assert answer.status_code == 200, answer.text
    return QuestionView.model_validate_json(answer.content)


def test_a_question_is_asked_and_its_answer_is_told_in_the_words_of_who_said_it(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, ledger_on_disk=False)
    http, asker, node = Door(world), open_door(world), trainer(world)
    operations = b"operations"
    assert http.upload(DOOR, operations, None).status_code == 201
    question = AdaptQuestion(begins=Begun(form=FORM, seed=1), operations=ref(operations))
    said = world.statement(
        DOOR, DoorAsked, run="door", number=1, tenant=ref(b"t").digest, share=1, num_tokens=9,
        lasts_ms=50_000, question=question,
    )  # fmt: skip
    assert http.say(envelope(DOOR, said)).status_code == 200
    assert seen(http.get(PATH)).place == "ready"
    granted = taken(node)
    held = seen(http.get(PATH))
    assert (held.place, held.node, held.answered) == ("held", node.did, None)
    node.answer(granted)
    told = seen(http.get(PATH, params={"wait_s": 30}))
    assert told.place == "answered"
    assert told.grant is not None
    assert told.answered is not None
    grant = decode(Envelope.from_json(told.grant.encode()).payload)
    answer = decode(Envelope.from_json(told.answered.encode()).payload)
    assert isinstance(grant, LeaseGranted)
    assert isinstance(answer, WorkAnswered)
    assert (grant.work, grant.spec.question) == (answer.work, 1)  # type: ignore[union-attr]
    assert (grant.author, answer.author) == (world.state.lab, node.did)
    asker.withdraw(1)
    assert seen(http.get(PATH)).place == "gone"
    http.close()
    world.close()


def test_what_was_never_asked_or_follows_another_programme_is_not_found(
    world: World, http: Door
) -> None:
    open_door(world)
    world.open_run("rl")
    for path in (PATH, "/runs/rl/questions/1", "/runs/nowhere/questions/1"):
        answer = http.get(path)
        assert (answer.status_code, problem(answer)) == (404, "not-found")


def test_a_door_that_forgot_everything_finds_what_it_asked(world: World, http: Door) -> None:
    asker, node = open_door(world), trainer(world)
    for text in ("one", "two", "gone"):
        asker.adapt(text)
    asker.adapt("four", after=1)
    asker.withdraw(3)
    assert asked_next(node) == 1
    listed = QuestionsView.model_validate_json(http.get("/runs/door/questions").content)
    assert (listed.next_number, listed.numbers) == (5, (1, 2, 4))
    before, after = (seen(http.get(f"/runs/door/questions/{n}")).question for n in (1, 4))
    assert before == AdaptQuestion(begins=Begun(form=FORM, seed=7), operations=ref(b"one"))
    assert after == AdaptQuestion(state=trained(asker, 1).state, operations=ref(b"four"))
    assert seen(http.get("/runs/door/questions/3")).question is None
    world.open_run("rl")
    assert http.get("/runs/rl/questions").status_code == 404
    world.tick(asker.lasts_ms)
    listed = QuestionsView.model_validate_json(http.get("/runs/door/questions").content)
    assert listed.numbers == (1,)


def test_a_wait_ends_when_the_answer_comes_and_at_its_deadline(world: World, http: Door) -> None:
    asker, node = open_door(world), hand(world, "node")
    asker.sample()
    assert seen(http.get(PATH, params={"wait_s": 0.01})).place == "ready"
    granted = taken(node)

    async def story() -> httpx.Response:
        waiting = asyncio.create_task(http._http.get(PATH, params={"wait_s": 50}))
        await _is_waiting(world)
        fields = node.answer_fields(granted)
        said = world.statement(node.identity, WorkAnswered, **fields)
        await world.lab.submit(envelope(node.identity, said))
        return await waiting

    assert seen(world.await_(story())).place == "answered"


def test_nobody_waits_for_a_lab_that_ends(world: World, http: Door) -> None:
    asker = open_door(world)
    asker.sample()

    async def story() -> httpx.Response:
        waiting = asyncio.create_task(http._http.get(PATH, params={"wait_s": 50}))
        await _is_waiting(world)
        world.lab.close()
        return await waiting

    assert seen(world.await_(story())).place == "ready"
    assert seen(http.get(PATH, params={"wait_s": 50})).place == "ready"


def test_a_door_uploads_what_its_questions_may_need_and_no_more_and_others_nothing(
    world: World, http: Door
) -> None:
    asker = open_door(world)
    large = http.upload(DOOR, b"s" * 2001, None)
    assert (large.status_code, problem(large)) == (413, "too-large")
    stranger = http.upload(identity("stranger"), b"s", None)
    assert (stranger.status_code, problem(stranger)) == (403, "not-allowed")
    world.stop_run(asker.run)
    over = http.upload(DOOR, b"s", None)
    assert (over.status_code, problem(over)) == (403, "not-allowed")


def test_a_door_may_ask_more_often_than_who_brings_no_work(world: World, http: Door) -> None:
    asker = open_door(world)
    question = AdaptQuestion(begins=Begun(form=FORM, seed=1), operations=world.put(b"o"))
    most = int(DoorLimits().idle_per_key.burst)
    assert most < 64, "as many as fit in the run"
    for number in range(1, most + 2):
        said = world.statement(
            DOOR, DoorAsked, run="door", number=number, tenant=ref(b"t").digest, share=1,
            num_tokens=9, lasts_ms=50_000, question=question,
        )  # fmt: skip
        assert http.say(envelope(DOOR, said)).status_code == 200
    assert asker.next_number == most + 2


def test_places_are_told_as_they_are_now_though_nothing_was_said_since(world: World) -> None:
    asker, node = open_door(world, keep_ms=1000, min_deadline_ms=5000), hand(world, "node")

    def place(number: int) -> str:
        return standing(world.state, world.run("door"), number, world.now_ms).place

    asker.sample("one", lasts_ms=10_000)
    asker.sample("two", lasts_ms=2000)
    asker.adapt("three", lasts_ms=10_000)
    asker.adapt("four", after=3)
    assert [place(number) for number in (1, 2, 3, 4)] == ["ready", "ready", "ready", "behind"]
    assert asked_next(node) == 1
    world.now_ms += 999
    assert [place(1), place(2)] == ["answered", "ready"]
    world.now_ms += 1001
    assert [place(1), place(2), place(3)] == ["gone", "gone", "ready"]
