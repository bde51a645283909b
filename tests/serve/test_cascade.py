"""Two models behind one name: who answers, what a client sees of it, and what is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from archipel.serve.access import Access
from archipel.serve.aside import LONG_CHARS, Asides
from archipel.serve.asked import Told
from archipel.serve.cascade.cascade import Cascade
from archipel.serve.cascade.hidden import hidden_of
from archipel.serve.cascade.policy import (
    BadPolicy,
    HeadForm,
    Measured,
    Policy,
    digest_of,
    parse_policy,
    read_policy,
    write_policy,
)
from archipel.serve.door import make_door
from archipel.serve.question import (
    Broken,
    Crowded,
    Ended,
    NotOffered,
    Question,
    Said,
    Settings,
    TooLong,
)
from archipel.serve.served import Served
from serve.served_models import NOW, served, tiny_model

WIDTH = 32
AT = "http://127.0.0.1:8450"
ASKED = Question("both", Settings(max_new_tokens=5, temperature=0.0), text="hello")
NOTHING = Measured(
    questions=0, small_quality=0, large_quality=0, quality=0, share=0, straight=0,
    calibration_error=0, gate_s=0, small_s=0, large_s=0,
)  # fmt: skip


def policy(gate: float = 5.0, sure: float = 5.0, small: str = "0" * 64) -> Policy:
    """Of logits that are the same for every question: 5 is a chance of .993, -5 of .007."""
    return Policy(
        small=small,
        gate=HeadForm(weights=(0.0,) * WIDTH, bias=gate),
        alpha=0.1,
        signs=HeadForm(weights=(0.0,) * 4, bias=sure),
        rising_at=(0.5,),
        rising_value=(0.5,),
        threshold=0.5,
        break_even=0.2,
        measured=NOTHING,
    )


@dataclass
class Large:
    """A large model that says LARGE, and what it was asked."""

    name: str = "large"
    since: int = 1
    fingerprint: str = "large"
    positions: int = 9999
    chat_template: str | None = None
    asked: list[Question] = field(default_factory=list)
    left: list[bool] = field(default_factory=list)
    error: Exception | None = None

    def counts(self) -> dict[str, int]:
        return {"waiting": 0, "running": len(self.asked) - len(self.left)}

    async def count(self, question: Question, key: str, now: datetime) -> int:
        return 1

    async def ask(self, question: Question, key: str, now: datetime) -> Any:
        if self.error is not None:
            raise self.error
        self.asked.append(question)
        return _Said(self, question)


class _Said:
    num_prompt_tokens, num_tokens = 7, 2

    def __init__(self, large: Large, question: Question) -> None:
        self._large, self.question = large, question

    def leave(self) -> None:
        self._large.left.append(True)

    async def told(self) -> AsyncIterator[Told]:
        for choice in range(self.question.settings.choices):
            yield Said(choice, "LAR")
            yield Said(choice, "GE")
            yield Ended(choice, "stop", 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = served(tiny_model(tmp_path_factory.mktemp("cascade") / "small"), "small")
    yield one
    one.desk.close()


def answered(cascade: Cascade, question: Question = ASKED) -> tuple[str, list[Told]]:
    async def ask() -> list[Told]:
        answer = await cascade.ask(question, "one", NOW)
        return [each async for each in answer.told()]

    told = asyncio.run(ask())
    return "".join(each.text for each in told if isinstance(each, Said)), told


def alone(small: Served, question: Question = ASKED) -> list[Told]:
    async def ask() -> list[Told]:
        return [each async for each in (await small.ask(question, "one", NOW)).told()]

    return asyncio.run(ask())


def test_a_sure_answer_is_the_small_models_own_word_for_word(small: Served) -> None:
    large = Large()
    cascade = Cascade("both", small, large, policy())
    _, told = answered(cascade)
    assert told == alone(small)
    assert not large.asked
    assert vars(cascade.tally) == {"asked": 1, "kept": 1, "straight": 0, "escalated": 0}


def test_an_unsure_answer_is_never_seen_and_the_large_one_is_asked_once(small: Served) -> None:
    large = Large()
    cascade = Cascade("both", small, large, policy(sure=-5.0))
    text, told = answered(cascade)
    assert text == "LARGE"
    assert sum(isinstance(each, Ended) for each in told) == 1
    assert [each.model for each in large.asked] == ["large"]
    small_text = "".join(each.text for each in alone(small) if isinstance(each, Said))
    assert large.asked[0].draft == small_text
    assert cascade.tally.escalated == 1
    assert cascade.counts()["cascade_escalated"] == 1


def test_where_the_large_model_agrees_the_small_answer_costs_it_one_pass(small: Served) -> None:
    whole = replace(ASKED, settings=replace(ASKED.settings, max_new_tokens=40))
    before = small.desk.counts()
    told = answered(Cascade("both", small, small, policy(sure=-5.0)), whole)[1]
    after = small.desk.counts()
    assert told == alone(small, whole)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert 0 < grown["passes_with_guesses"] <= 3
    assert grown["guesses_stood"] >= 30


def test_a_plainly_hard_question_costs_the_small_model_no_token(small: Served) -> None:
    cascade = Cascade("both", small, Large(), policy(gate=-5.0))
    before = small.desk.num_tokens
    assert answered(cascade)[0] == "LARGE"
    assert small.desk.num_tokens == before
    assert vars(cascade.tally) == {"asked": 1, "kept": 0, "straight": 1, "escalated": 0}


def test_what_the_small_model_cannot_take_goes_to_the_large_one(small: Served) -> None:
    large = Large()
    question = replace(ASKED, text="x" * (small.positions + 9))
    assert answered(Cascade("both", small, large, policy()), question)[0] == "LARGE"
    short = replace(ASKED, settings=Settings(max_new_tokens=small.positions))
    assert answered(Cascade("both", small, large, policy()), short)[0] == "LARGE"


def test_of_several_choices_the_least_sure_decides_for_all(small: Served) -> None:
    many = replace(ASKED, settings=replace(ASKED.settings, choices=3, temperature=1.0, seed=4))
    told = alone(small, many)
    lowest = {
        choice: min(
            token.logprob
            for each in told
            if isinstance(each, Said) and each.choice == choice
            for token in each.tokens
        )
        for choice in range(3)
    }
    worst, best = min(lowest.values()), max(lowest.values())
    assert worst < best
    between = policy().model_copy(
        update={
            "alpha": 0.0,
            "signs": HeadForm(weights=(10.0, 0.0, 0.0, 0.0), bias=-10.0 * (worst + best) / 2),
        }
    )
    assert answered(Cascade("both", small, Large(), between), many)[0] == "LARGE" * 3
    lenient = between.model_copy(
        update={"signs": HeadForm(weights=(10.0, 0.0, 0.0, 0.0), bias=-10.0 * (worst - 1))}
    )
    assert answered(Cascade("both", small, Large(), lenient), many)[1] == told


def test_many_at_once_are_each_answered_as_alone(small: Served) -> None:
    """Some are kept and some escalated; nobody reads another's."""
    questions = [replace(ASKED, text=f"{n * n} and {n}") for n in range(12)]
    lowest = [
        min(t.logprob for each in alone(small, q) if isinstance(each, Said) for t in each.tokens)
        for q in questions
    ]
    middle = (sorted(lowest)[5] + sorted(lowest)[6]) / 2
    signs = HeadForm(weights=(50.0, 0.0, 0.0, 0.0), bias=-50.0 * middle)
    between = policy().model_copy(update={"alpha": 0.0, "signs": signs})
    cascade = Cascade("both", small, Large(), between)
    expected = [answered(cascade, question) for question in questions]
    assert {text == "LARGE" for text, _ in expected} == {True, False}

    async def ask(question: Question) -> list[Told]:
        answer = await cascade.ask(question, "one", NOW)
        return [each async for each in answer.told()]

    async def together() -> list[list[Told]]:
        return await asyncio.gather(*map(ask, questions))

    assert asyncio.run(together()) == [told for _, told in expected]
    tally = cascade.tally
    assert tally.asked == 24
    assert tally.kept == tally.escalated == 12


def test_the_gate_says_the_same_of_a_question_whenever_it_is_asked(small: Served) -> None:
    async def ask() -> list[Any]:
        return await asyncio.gather(*(hidden_of(small, ASKED, "one", NOW) for _ in range(3)))

    first, second, third = asyncio.run(ask())
    assert (first == second).all()
    assert (first == third).all()
    assert first.shape == (WIDTH,)


def test_a_long_question_is_read_where_it_holds_up_no_short_one(small: Served) -> None:
    asides = Asides()
    asides.of(0).close()
    full = replace(small, asides=asides)
    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(hidden_of(full, ASKED, "one", NOW))
    long = replace(ASKED, text="1 " * LONG_CHARS)
    with pytest.raises(TooLong):
        asyncio.run(hidden_of(full, long, "one", NOW))


def test_tokens_by_number_are_refused_where_the_large_model_has_others(small: Served) -> None:
    numbers = replace(ASKED, text="", tokens=(1, 2, 3))
    with pytest.raises(NotOffered, match="token ids"):
        answered(Cascade("both", small, Large(), policy()), numbers)
    assert answered(Cascade("both", small, small, policy()), numbers)[1] == alone(small, numbers)


def test_a_large_model_that_cannot_answer_says_so_and_the_small_answer_is_not_given_instead(
    small: Served,
) -> None:
    large = Large(error=Crowded("many wait"))
    with pytest.raises(Crowded):
        answered(Cascade("both", small, large, policy(sure=-5.0)))
    with pytest.raises(Crowded):
        answered(Cascade("both", small, large, policy(gate=-5.0)))


def test_a_small_model_that_breaks_is_no_end_while_there_is_a_large_one(
    small: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object) -> AsyncIterator[Told]:
        raise Broken("its engine failed")
        yield

    monkeypatch.setattr("archipel.serve.served.Answer.told", broken)
    assert answered(Cascade("both", small, Large(), policy()))[0] == "LARGE"


def test_who_hangs_up_while_the_small_model_thinks_costs_the_large_one_nothing(
    small: Served,
) -> None:
    large = Large()

    async def leave() -> None:
        question = replace(ASKED, settings=Settings(max_new_tokens=400, temperature=1.0))
        answer = await Cascade("both", small, large, policy(sure=-5.0)).ask(question, "one", NOW)
        told = answer.told()
        first = asyncio.ensure_future(anext(told))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(leave())
    assert not large.asked
    for _ in range(1000):
        if not small.desk.counts()["running"]:
            break
    assert small.desk.counts()["waiting"] == 0


def test_a_policy_comes_back_as_it_was_written_and_only_for_its_own_model(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "m")
    written = policy(small=digest_of(model))
    write_policy(tmp_path / "p.json", written)
    assert read_policy(tmp_path / "p.json", digest_of(model), WIDTH) == written
    with pytest.raises(BadPolicy, match="calibrate again"):
        read_policy(tmp_path / "p.json", digest_of(model), WIDTH + 1)
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    with pytest.raises(BadPolicy, match="calibrate again"):
        read_policy(tmp_path / "p.json", digest_of(model), WIDTH)


def test_a_policy_says_when_the_models_are_held_as_something_else_than_when_it_was_made() -> None:
    held = replace_of(policy(), precision="float32", large_precision="int8")
    assert held.other_than("float32", "int8") == ""
    assert held.other_than("bfloat16", "int8") == "the small model as float32, now as bfloat16"
    assert "the large model as int8, now as int4" in held.other_than("bfloat16", "int4")
    assert held.other_than("float32", "") == "", "a large model elsewhere says nothing of it"
    before = policy().model_dump_json(exclude={"precision", "large_precision"})
    assert parse_policy(before.encode(), "p.json").other_than("int4", "int4") == ""


def replace_of(one: Policy, **changed: str) -> Policy:
    return one.model_copy(update=changed)


def test_texts_become_the_small_models_vectors_and_answers_are_not_weighed(small: Served) -> None:
    cascade = Cascade("both", small, Large(), policy())
    door = TestClient(make_door({"both": cascade, "small": small}, Access()), base_url=AT)
    found = [
        door.post("/v1/embeddings", json={"model": name, "input": "hello"}).json()["data"]
        for name in ("both", "small")
    ]
    assert found[0] == found[1]
    weighed = door.post(
        "/v1/classify", json={"model": "both", "prompt": "x", "choices": ["a", "b"]}
    )
    assert weighed.status_code == 400
    assert "weighs no answers" in weighed.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.replace('"threshold":0.5', '"threshold":1.5'), "threshold"),
        (lambda told: told.replace('"alpha"', '"alpah"'), "alpha"),
        (lambda told: told.replace('"rising_value":[0.5]', '"rising_value":[0.5,0.4]'), "falls"),
        (lambda told: told.replace('"bias":5.0', '"bias":1e999'), "bias"),
        (lambda told: told[:-1], "document"),
    ],
)
def test_a_policy_that_is_none_is_refused_by_its_field(
    change: Callable[[str], str], said: str
) -> None:
    with pytest.raises(BadPolicy, match=said):
        parse_policy(change(policy().model_dump_json()).encode(), "p.json")
