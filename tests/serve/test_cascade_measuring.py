"""Calibration: questions whose answers are checked, a journal that goes on, and a threshold that holds a wish."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archipel.serve.cascade import measuring
from archipel.serve.cascade.choosing import Wish, calibrated, outcome, rules_for
from archipel.serve.cascade.fitting import Rules, fit, told_of
from archipel.serve.cascade.measuring import BadJournal, Journal, Row, evidence_of, measure
from archipel.serve.cascade.policy import Models, digest_of, parse_policy
from archipel.serve.cascade.probes import BadProbes, Probe, parse_probe, read_probes
from archipel.serve.question import Said, TookTooLong
from archipel.serve.served import Served
from serve.served_models import served, tiny_model
from serve.test_cascade import Large
from serve.test_cascade_fitting import evidence


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tiny_model(tmp_path_factory.mktemp("measuring") / "small", template=None)
    one = served(path, "small")
    yield one
    one.desk.close()


def probe(check: str, answer: str) -> Probe:
    line = json.dumps({"question": "?", "answer": answer, "check": check}).encode()
    return parse_probe(line, "exact", "f:1")


@pytest.mark.parametrize(
    ("check", "answer", "right", "wrong"),
    [
        ("exact", "Paris", "so:\n paris ", "Paris, France"),
        ("exact", "#### Paris", "#### Paris.", "Rome"),
        ("contains", "New  York", "it is new york, I think", "it is York"),
        ("number", "42", "6 times 7 is 42.0", "42 or 43"),
    ],
)
def test_an_answer_is_right_by_the_check_that_was_asked_for(
    check: str, answer: str, right: str, wrong: str
) -> None:
    one = probe(check, answer)
    assert one.grade(right, True) == 1.0
    assert one.grade(wrong, True) == 0.0


def test_an_answer_that_was_cut_off_is_none_unless_what_it_contains_counts() -> None:
    assert probe("number", "4").grade("4", False) == 0.0
    assert probe("contains", "4").grade("4", False) == 1.0


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    good = b'{"question": "a", "answer": "b"}\n'
    for bad, said in (
        (b"{", "q.jsonl:2"),
        (b'{"question": "a"}', "no exact answer"),
        (b'{"answer": "a"}', "neither question nor messages"),
        (b'{"question": "a", "answer": "x", "check": "number"}', "no number answer"),
    ):
        path.write_bytes(good + bad)
        with pytest.raises(BadProbes, match=said):
            read_probes(path, "exact")
    path.write_bytes(b'{"question": "a"}\n')
    assert [each.question for each in read_probes(path, None)] == ["a"]


def questions(num: int) -> list[Probe]:
    lines = (
        json.dumps({"question": f"secret {n}", "answer": "LARGE"}).encode() for n in range(num)
    )
    return [parse_probe(line, "exact", "f") for line in lines]


def measured(small: Served, large: Large, journal: Journal, probes: list[Probe]) -> list[Row]:
    return asyncio.run(measure(probes, small, large, journal, 4, lambda row: None))


def test_a_question_that_stands_in_the_journal_is_asked_no_more(
    small: Served, tmp_path: Path
) -> None:
    path, large, probes = tmp_path / "j", Large(), questions(5)
    first = measured(small, large, Journal(path, "models"), probes[:3])
    again = measured(small, large, Journal(path, "models"), probes)
    assert len(large.asked) == 5
    assert again[:3] == first
    assert [row.large for row in again] == [1.0] * 5
    assert [row.small for row in again] == [0.0] * 5
    assert len(evidence_of(again).hidden[0]) == 32
    said = path.read_text()
    assert "secret" not in said
    assert "LARGE" not in said


def test_a_torn_line_is_measured_again_and_others_journals_are_refused(
    small: Served, tmp_path: Path
) -> None:
    path, large, probes = tmp_path / "j", Large(), questions(3)
    measured(small, large, Journal(path, "models"), probes)
    path.write_bytes(path.read_bytes()[:-20])
    assert len(Journal(path, "models").rows) == 2
    measured(small, large, Journal(path, "models"), probes)
    assert len(large.asked) == 4
    assert len(Journal(path, "models").rows) == 3
    with pytest.raises(BadJournal, match="other models"):
        Journal(path, "model")
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(BadJournal, match="no row"):
        Journal(path, "models")


def test_an_answer_that_does_not_end_in_time_is_waited_for_no_longer(
    small: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "ANSWER_S", 0.2)
    left: list[bool] = []

    class Endless(Large):
        async def ask(self, *_: object) -> Any:
            return self

        async def told(self) -> AsyncIterator[Any]:
            try:
                while True:
                    yield Said(0, "x")
                    await asyncio.sleep(0.01)
            finally:
                left.append(True)

    journal = Journal(tmp_path / "j", "m")
    waiting = measure([probe("exact", "x")], small, Endless(), journal, 3, lambda row: None)
    with pytest.raises(TookTooLong, match="large did not end an answer"):
        asyncio.run(asyncio.wait_for(waiting, 60))
    assert left, "and nobody reads it any more"
    assert not journal.rows, "half a row is none"


def test_a_row_has_bounds(tmp_path: Path) -> None:
    row = {
        "probe": "p",
        "hidden": [0.5],
        "small": 1,
        "large": 1,
        "gate_s": 0,
        "small_s": 0,
        "large_s": 0,
    }
    for logprobs in ([-0.5] * (measuring.MAX_TOKENS + 1), [float("-inf")]):
        with pytest.raises(BadJournal):
            measuring.rows_of(json.dumps(row | {"logprobs": logprobs}).encode(), "j")
    assert measuring.rows_of(json.dumps(row | {"logprobs": [-0.5]}).encode(), "j")


def test_a_directory_has_another_digest_where_it_computes_or_asks_otherwise(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "one")
    seen = {digest_of(folder)}
    (folder / "README.md").write_text("x")
    assert digest_of(folder) in seen
    for name in ("chat_template.jinja", "generation_config.json", "config.json"):
        with (folder / name).open("ab") as file:
            file.write(b" ")
        assert digest_of(folder) not in seen, name
        seen.add(digest_of(folder))


def test_a_wish_is_held_on_rows_that_the_heads_did_not_see() -> None:
    held = evidence(600, 5)
    fitted = fit(held)
    small, large = held.small.mean(), held.large.mean()
    shares = []
    for value in (0.2, 0.5, 0.9):
        found = outcome(held, fitted.told, rules_for(held, fitted.told, Wish("quality", value)))
        assert found.quality >= small + value * (large - small) - 1e-9
        shares.append(found.share)
        bounded = outcome(held, fitted.told, rules_for(held, fitted.told, Wish("share", value)))
        assert bounded.share <= value
        assert bounded.share > value - 0.1
    assert shares == sorted(shares)
    fresh = evidence(1000, 6)
    told = told_of(fitted.gate, fitted.confidence, fresh)
    found = outcome(fresh, told, rules_for(held, fitted.told, Wish("quality", 0.8)))
    kept = (found.quality - fresh.small.mean()) / (fresh.large.mean() - fresh.small.mean())
    assert 0.68 < kept < 0.95


def test_seconds_are_those_of_whoever_was_asked() -> None:
    held = replace(evidence(100, 0), gate_s=np.full(100, 0.1), small_s=np.ones(100))
    told = fit(held).told
    never = outcome(held, told, Rules(0.0, 0.2))
    assert (never.share, never.seconds) == (0.0, pytest.approx(1.1))
    always = outcome(held, told, Rules(1.0, 0.0))
    assert (always.share, always.straight) == (1.0, 0.0)
    assert always.seconds == pytest.approx(5.1)
    straight = outcome(held, told, Rules(1.0, 1.0))
    assert straight.straight == 1.0
    assert straight.seconds == pytest.approx(4.1)


def test_what_is_written_decides_as_what_was_fitted() -> None:
    held, fresh = evidence(400, 5), evidence(50, 8)
    fitted = fit(held)
    policy = calibrated(held, fitted, Wish("share", 0.3), Models("0" * 64))
    back = parse_policy(policy.model_dump_json().encode(), "p")
    before = told_of(fitted.gate, fitted.confidence, fresh)
    after = told_of(back.gate.head(), back.confidence, fresh)
    assert (before.to_large(policy.rules) == after.to_large(back.rules)).all()
    assert policy.measured.share <= 0.3
