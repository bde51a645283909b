"""Courses at a door: what is cut goes on as if nothing had been, what is lost is asked again, what is refused is said."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from archipel.door.client.course import Course, held_out, steps_of
from archipel.door.client.examples import Example
from archipel.door.client.kept import AnothersCourse, Standing, digest_of, read_standing
from archipel.door.client.learning import SAVE_EVERY, Learned, Pupil, learn
from archipel.door.client.line import DoorLost, DoorRefused
from archipel.door.client.remote import _pass_message
from archipel.door.client.said import BadAnswer
from archipel.door.wire.calls import KEY_HEADER
from archipel.door.wire.training import read_message
from archipel.records.adapter import FILES
from door_line import Through, door_with, line_to
from toy_hands import BASE, REFUSED_TOKEN, ToyHands

COURSE = Course(steps=SAVE_EVERY + 3, batch=2, learning_rate=0.05, rank=4, seed=3)
EXAMPLES = tuple(Example((1, 2 + n), (3 + n, 4, 5)) for n in range(5))
HELD = (Example((9,), (8, 7)),)


class Publishing(ToyHands):
    """Adapters as a door publishes them: both files of the layout."""

    async def publish(self, model: str, folder: Path) -> None:
        await super().publish(model, folder)
        (folder / FILES[0]).write_text(json.dumps({"peft_type": "LORA", "r": COURSE.rank}))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Through, str]]:
    with door_with(Publishing(), tmp_path_factory.mktemp("door")) as found:
        yield found


@pytest.fixture(autouse=True)
def _undisturbed(door: tuple[Through, str]) -> Iterator[None]:
    yield
    door[0].around = lambda request, go_on: go_on(request)
    door[0].asked.clear()


def pupil(door: tuple[Through, str], folder: Path, course: Course = COURSE) -> Pupil:
    return Pupil(
        line_to(*door), BASE, course, EXAMPLES, HELD, folder / "out", folder / "out.partial"
    )


def learned(one: Pupil, stop_at: int | None = None) -> tuple[Learned, list[float]]:
    """From where it stands; the losses of its steps."""
    digest = digest_of(one.base, one.course, one.learned, one.held)
    losses: list[float] = []
    done = learn(
        one,
        read_standing(one.saved, digest),
        lambda now: losses.append(now.loss),
        lambda: stop_at is not None and len(losses) >= stop_at,
    )
    return done, losses


def bytes_of(folder: Path) -> bytes:
    return (folder / "out" / FILES[1]).read_bytes()


@pytest.fixture(scope="module")
def whole(
    door: tuple[Through, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, list[float], Learned]:
    folder = tmp_path_factory.mktemp("whole")
    done, losses = learned(pupil(door, folder))
    return bytes_of(folder), losses, done


Whole = tuple[bytes, list[float], Learned]


def test_a_course_that_was_stopped_goes_on_as_if_it_had_not_been(
    door: tuple[Through, str], tmp_path: Path, whole: Whole
) -> None:
    first, before = learned(pupil(door, tmp_path), stop_at=4)
    assert not first.is_whole
    assert first.standing.step == 4
    assert not (tmp_path / "out").exists()
    done, after = learned(pupil(door, tmp_path))
    assert [*before, *after] == whole[1]
    assert bytes_of(tmp_path) == whole[0]
    assert done.standing.num_tokens == whole[2].standing.num_tokens
    assert (done.standing.loss_before, done.loss_after) == (
        whole[2].standing.loss_before,
        whole[2].loss_after,
    )


def test_a_course_that_broke_goes_on_from_its_last_checkpoint(
    door: tuple[Through, str], tmp_path: Path, whole: Whole
) -> None:
    class Cut(BaseException):
        pass

    def cut(request: httpx.Request, go_on: object) -> httpx.Response:
        if b'"seq_id": 46' in request.content:
            raise Cut
        return go_on(request)  # type: ignore[operator, no-any-return]

    door[0].around = cut
    with pytest.raises(Cut):
        learned(pupil(door, tmp_path))
    door[0].around = lambda request, go_on: go_on(request)
    _, after = learned(pupil(door, tmp_path))
    assert after == whole[1][SAVE_EVERY:]
    assert bytes_of(tmp_path) == whole[0]


def test_answers_that_are_lost_and_a_door_that_is_busy_change_nothing(
    door: tuple[Through, str], tmp_path: Path, whole: Whole
) -> None:
    num_asked = 0

    def spoilt(request: httpx.Request, go_on: object) -> httpx.Response:
        nonlocal num_asked
        num_asked += 1
        if num_asked % 5 == 1:
            return httpx.Response(503, json={"detail": "not now"}, headers={"retry-after": "7"})
        if num_asked % 5 == 3:
            return httpx.Response(429, json={"detail": "too much waits"})
        answer: httpx.Response = go_on(request)  # type: ignore[operator]
        if num_asked % 5 == 0:
            raise httpx.ReadError("the connection broke")
        return answer

    door[0].around = spoilt
    pauses: list[float] = []
    one = replace(pupil(door, tmp_path), line=line_to(*door, pauses))
    _, losses = learned(one)
    assert losses == whole[1]
    assert bytes_of(tmp_path) == whole[0]
    assert 7.0 in pauses
    assert 0.5 in pauses


def test_a_door_that_stays_away_is_given_up(
    door: tuple[Through, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.door.client.line.PATIENCE_S", 2.0)
    door[0].around = lambda request, go_on: httpx.Response(500, json={"detail": "on fire"})
    with pytest.raises(DoorLost, match="on fire"):
        learned(pupil(door, tmp_path))


def test_a_tenant_out_of_means_is_told_why_at_once_and_goes_on_later(
    door: tuple[Through, str], tmp_path: Path, whole: Whole
) -> None:
    passed = 0

    def poor(request: httpx.Request, go_on: object) -> httpx.Response:
        nonlocal passed
        passed += request.url.path.endswith("/forward_backward")
        if passed > 6:
            passed = 6
            return httpx.Response(402, json={"detail": "the month's tokens are used"})
        return go_on(request)  # type: ignore[operator, no-any-return]

    door[0].around = poor
    with pytest.raises(DoorRefused, match="the month's tokens are used"):
        learned(pupil(door, tmp_path))
    assert sum(each.url.path.endswith("/forward_backward") for each in door[0].asked) == 7
    door[0].around = lambda request, go_on: go_on(request)
    _, after = learned(pupil(door, tmp_path))
    assert after == whole[1][5:], "one pass scored what is held out"
    assert bytes_of(tmp_path) == whole[0]


def test_an_operation_that_failed_ends_the_course_with_the_doors_sentence(
    door: tuple[Through, str], tmp_path: Path
) -> None:
    one = replace(pupil(door, tmp_path), held=(), learned=(Example((REFUSED_TOKEN,), (1,)),))
    with pytest.raises(DoorRefused, match="a number is not finite"):
        learned(one)


def test_files_come_from_the_door_itself_and_the_key_goes_nowhere_else(
    door: tuple[Through, str], tmp_path: Path
) -> None:
    def elsewhere(request: httpx.Request, go_on: object) -> httpx.Response:
        answer: httpx.Response = go_on(request)  # type: ignore[operator]
        if not request.url.path.endswith("external_weights_urls"):
            return answer
        urls = {
            name: url.replace("//door.test", "//thief.test") for name, url in answer.json()["urls"].items()
        }  # fmt: skip
        return httpx.Response(200, json={"urls": urls | {"../../planted": "http://thief.test/x"}})

    door[0].around = elsewhere
    learned(pupil(door, tmp_path, replace(COURSE, steps=1)))
    assert {each.url.host for each in door[0].asked} == {"door.test"}
    fetched = [each for each in door[0].asked if each.url.path.startswith("/files/")]
    assert len(fetched) == 2
    assert not any(KEY_HEADER in each.headers for each in fetched)
    assert {each.name for each in (tmp_path / "out").iterdir()} == set(FILES)


def test_an_adapter_of_another_rank_is_not_taken(door: tuple[Through, str], tmp_path: Path) -> None:
    with pytest.raises(BadAnswer, match="no low-rank adapter of rank 5"):
        learned(pupil(door, tmp_path, replace(COURSE, steps=1, rank=5)))
    assert not (tmp_path / "out").exists()


def test_what_is_kept_of_another_course_is_refused(tmp_path: Path) -> None:
    mine = digest_of(BASE, COURSE, EXAMPLES, HELD)
    others = {
        digest_of(BASE, replace(COURSE, seed=4), EXAMPLES, HELD),
        digest_of(BASE, COURSE, EXAMPLES[1:], HELD),
        digest_of(BASE, COURSE, (*EXAMPLES, *HELD), ()),
        digest_of("other", COURSE, EXAMPLES, HELD),
    }
    assert len(others | {mine}) == 5
    (tmp_path / "state.json").write_text(Standing(digest=mine, step=3).model_dump_json())
    assert read_standing(tmp_path, mine).step == 3
    for other in others:
        with pytest.raises(AnothersCourse):
            read_standing(tmp_path, other)
    (tmp_path / "state.json").write_bytes(b'{"digest": 1')
    with pytest.raises(AnothersCourse):
        read_standing(tmp_path, mine)


def test_all_examples_come_once_before_any_comes_again() -> None:
    course = Course(steps=10, batch=4, learning_rate=1.0, rank=1, seed=5)
    seen = [place for step in range(10) for place in course.chosen(step, 5)]
    epochs = [seen[first : first + 5] for first in range(0, 40, 5)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in epochs)
    assert len({tuple(each) for each in epochs}) > 1
    assert course.chosen(3, 5) != replace(course, seed=6).chosen(3, 5)
    assert len(held_out(9, 4, 1)) == 4
    assert [steps_of(each, 9, 4) for each in (0.1, 1.0, 2.0)] == [1, 3, 5]


def test_a_course_learns_evenly_and_then_ever_more_slowly() -> None:
    rates = [Course(10, 1, 2.0, 1, 0).rate(step) for step in range(10)]
    assert rates[:8] == [2.0] * 8
    assert 2.0 > rates[8] > rates[9] == pytest.approx(0.1)
    assert Course(1, 1, 2.0, 1, 0).rate(0) == 2.0


def test_only_what_is_learned_has_weight() -> None:
    asked = read_message(_pass_message(("m", 1), (Example((5, 6), (7, 8)),), 0.5, False))
    (datum,) = asked.operation.data
    assert datum.tokens_T.tolist() == [5, 6, 7]
    assert datum.inputs["target_tokens"].tolist() == [6, 7, 8]
    assert datum.inputs["weights"].tolist() == [0.0, 0.5, 0.5]
