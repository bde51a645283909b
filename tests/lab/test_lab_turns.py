"""Turns at a lab's door: who may ask and answer, what is bounded, and that nothing of it outlives its lease."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from archipel.lab import exchange
from archipel.records.episodes import HOSTED
from archipel.records.parcel import MEDIA_TYPE, pack_parcel, unpack_parcel
from archipel.records.turns import Question, TurnsAnswer, unpack_replies, unpack_said
from door import Door, problem
from people import identity
from turning import TERMS, asked, awaited, refused, reply, said, told
from world import START_MS, World

PARCEL = {"content-type": MEDIA_TYPE}
TRUSTED = identity("learner")


class Story:
    """A run of hosted episodes, a node with a lease, and the door."""

    def __init__(self, world: World) -> None:
        self.world, self.door = world, Door(world)
        self.lab = world.state.lab
        world.started(episodes=TERMS, trusted=(TRUSTED.did, identity("spare").did))
        self.node = world.provider("node", plays=(HOSTED,))
        granted = self.node.ask()
        assert granted is not None
        self.work = granted.work
        self._seq = START_MS * 1000

    def post(self, path: str, data: bytes, **params: Any) -> httpx.Response:
        return self.door.request("POST", path, content=data, headers=PARCEL, params=params)

    def ask(self, *turns: Any, who: Any = None, work: str = "") -> httpx.Response:
        data = asked(who or self.node.identity, self.lab, work or self.work, *turns)
        return self.post("/turns", data, wait_s=0)

    def next(self, who: Any = TRUSTED) -> httpx.Response:
        self._seq += 1
        return self.post("/turns/next", awaited(who, self.lab, self._seq), wait_s=0)

    def tell(self, *turns: Any, who: Any = TRUSTED) -> httpx.Response:
        replies = [reply(each, 7, 8) for each in turns]
        return self.post("/turns/told", told(who, self.lab, self.work, list(turns), *replies))


@pytest.fixture
def story(world: World) -> Iterator[Story]:
    made = Story(world)
    yield made
    made.door.close()


def question_in(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    document, (beside,) = unpack_parcel(answer.content)
    Question.model_validate_json(document)
    return list(unpack_said(beside))


def told_in(answer: httpx.Response) -> list[Any] | None:
    assert answer.status_code == 200, answer.text
    document, beside = unpack_parcel(answer.content)
    if TurnsAnswer.model_validate_json(document).told is None:
        return None
    return list(unpack_replies(beside[0]))


def test_a_question_comes_to_the_trusted_role_and_its_answer_back_to_the_node(story: Story) -> None:
    turns, before = [said(0, 0), said(0, 1)], len(story.world.statements())
    assert told_in(story.ask(*turns)) is None
    assert question_in(story.next()) == turns
    assert story.tell(*turns).status_code == 204
    assert told_in(story.ask(*turns)) == [reply(each, 7, 8) for each in turns]
    assert story.next().status_code == 204, "the same words are one question"
    assert len(story.world.statements()) == before, "none of it is in the ledger"
    story.world.check_replay()


def test_only_who_holds_the_lease_may_ask_about_it(story: Story) -> None:
    other = story.world.provider("other", plays=(HOSTED,))
    assert problem(story.ask(said(), who=other.identity)) == "not-your-lease"
    assert problem(story.ask(said(), who=identity("stranger"))) == "not-joined"
    assert problem(story.ask(said(), work="run.77")) == "not-found"
    data = asked(other.identity, story.lab, story.work, said())
    forged = data.replace(other.did.encode(), story.node.did.encode())
    assert problem(story.post("/turns", forged, wait_s=0)) in ("bad-signature", "malformed-record")
    assert story.next().status_code == 204


def test_only_a_trusted_key_is_asked_and_may_answer(story: Story) -> None:
    story.ask(said())
    stranger = identity("stranger")
    assert problem(story.next(stranger)) == "not-allowed"
    assert problem(story.tell(said(), who=stranger)) == "not-allowed"
    assert told_in(story.ask(said())) is None
    assert question_in(story.next()) == [said()]


def test_an_overheard_request_for_questions_gets_none(story: Story) -> None:
    story.ask(said())
    old = awaited(TRUSTED, story.lab, (START_MS - 600_000) * 1000)
    assert problem(story.post("/turns/next", old, wait_s=0)) == "replayed-record"
    data = awaited(TRUSTED, story.lab, START_MS * 1000 + 5)
    assert question_in(story.post("/turns/next", data, wait_s=0)) == [said()]
    assert problem(story.post("/turns/next", data, wait_s=0)) == "replayed-record"


def test_a_lease_floods_nobody_but_itself(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(exchange.MAX_OPEN_PER_WORK):
        assert told_in(story.ask(said(0, number))) is None
    assert problem(story.ask(said(0, 99))) == "too-many-requests"
    other = story.world.provider("other", plays=(HOSTED,))
    granted = other.ask()
    assert granted is not None
    assert told_in(story.ask(said(1), who=other.identity, work=granted.work)) is None
    monkeypatch.setattr(exchange, "MAX_BYTES", 10)
    assert problem(story.ask(said(2), who=other.identity, work=granted.work)) == "too-many-requests"


def test_a_nodes_questions_leave_room_for_others_and_its_own_answers_go_first(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = story.world.provider("other", plays=(HOSTED,))
    granted = other.ask()
    assert granted is not None
    assert told_in(story.ask(said(0))) is None
    (one,) = story.world.lab.turns.exchange._all()
    assert one.size > len(one.sealed) > 0
    monkeypatch.setattr(exchange, "MAX_BYTES", exchange.SHARE * (one.size * 3 // 2))
    assert problem(story.ask(said(1))) == "too-many-requests"
    assert told_in(story.ask(said(1), who=other.identity, work=granted.work)) is None
    assert story.tell(said(0)).status_code == 204
    assert told_in(story.ask(said(1))) is None, "an answer that was kept makes room"
    assert len(story.world.lab.turns.exchange) == 2


def test_questions_go_out_in_the_order_in_which_they_came_whichever_lease_they_are_of(
    story: Story,
) -> None:
    other = story.world.provider("other", plays=(HOSTED,))
    granted = other.ask()
    assert granted is not None
    told_in(story.ask(said(0)))
    told_in(story.ask(said(1), who=other.identity, work=granted.work))
    told_in(story.ask(said(2)))
    assert question_in(story.next()) == [said(0)]
    story.tell(said(0))
    assert question_in(story.next()) == [said(1)]


def test_other_bytes_than_the_word_names_are_not_taken(story: Story) -> None:
    document, (beside,) = unpack_parcel(
        asked(story.node.identity, story.lab, story.work, said(0, 0))
    )
    for blobs, name in (([], "missing-blob"), ([beside + b" "], "wrong-digest")):
        assert problem(story.post("/turns", pack_parcel(document, blobs), wait_s=0)) == name
    assert problem(story.door.request("POST", "/turns", content=document)) == "malformed-record"


def test_a_question_whose_holder_died_waits_for_it_again(story: Story) -> None:
    story.ask(said())
    assert question_in(story.next()) == [said()]
    assert question_in(story.next()) == [said()], "whoever asks has nothing in hand"


def test_a_lease_stays_with_who_answered_it_first_while_that_one_is_here(story: Story) -> None:
    spare = identity("spare")
    story.ask(said(0, 0))
    assert question_in(story.next()) == [said(0, 0)]
    assert story.next(spare).status_code == 204, "it is in another's hands"
    story.tell(said(0, 0))
    story.ask(said(0, 0, 1))
    assert story.next(spare).status_code == 204
    story.world.now_ms += exchange.SILENT_MS + 1
    story._seq = story.world.now_ms * 1000
    assert question_in(story.next(spare)) == [said(0, 0, 1)]


def test_what_the_trusted_role_does_not_answer_ends_the_questions_of_that_lease(
    story: Story,
) -> None:
    story.ask(said(0, 0, 2))
    no = refused(TRUSTED, story.lab, story.work, [said(0, 0, 2)], "turn 2 before turn 0")
    assert story.post("/turns/told", no).status_code == 204
    answer = story.ask(said(0, 0, 0))
    assert problem(answer) == "conflict"
    assert "turn 2 before turn 0" in answer.text


def test_the_first_answer_stands_and_goes_with_the_lease(story: Story) -> None:
    story.ask(said())
    story.tell(said())
    later = told(TRUSTED, story.lab, story.work, [said()], reply(said(), 9))
    assert story.post("/turns/told", later).status_code == 204
    assert told_in(story.ask(said())) == [reply(said(), 7, 8)]
    story.node.give_back(story.work)
    assert problem(story.ask(said())) == "late-result"
    assert problem(story.tell(said())) == "not-found"
    assert story.next().status_code == 204
    assert not story.world.lab.turns.exchange._works


def test_a_node_hears_how_long_no_trusted_role_was_here(story: Story) -> None:
    document, _ = unpack_parcel(story.ask(said()).content)
    assert TurnsAnswer.model_validate_json(document).silent_s is None
    story.next()
    story.world.now_ms += 5000
    document, _ = unpack_parcel(story.ask(said()).content)
    assert TurnsAnswer.model_validate_json(document).silent_s == 5.0


def test_a_run_whose_environment_is_public_takes_no_questions(world: World) -> None:
    world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    door = Door(world)
    data = asked(node.identity, world.state.lab, granted.work, said())
    answer = door.request("POST", "/turns", content=data, headers=PARCEL)
    assert problem(answer) == "conflict"
    door.close()
