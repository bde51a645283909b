"""Whoever stops a measurement loses the step at hand, and nothing that was measured before."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archipel.bench.kept import STEPS, Kept, NotOurs, attempt
from archipel.bench.tasks import Task, carry_out, rows_of


def _task(run: list[int], stop_at: int | None = None) -> Task:
    def rows(steps: Sequence[Any]) -> Iterator[list[dict[str, Any]]]:
        for step in steps:
            if step["batch"] == stop_at:
                raise KeyboardInterrupt
            run.append(step["batch"])
            yield [{"batch": step["batch"], "of": name} for name in ("a", "b")]

    return Task("squares", tuple({"part": "x", "batch": batch} for batch in range(4)), rows)


def test_a_stopped_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    run: list[int] = []
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        carry_out([_task(run, stop_at=2)], Kept(tmp_path), said.append)
    kept = Kept(tmp_path)
    assert [row["batch"] for row in rows_of([_task(run)], kept)] == [0, 0, 1, 1]
    carry_out([_task(run)], kept, said.append)
    assert run == [0, 1, 2, 3]
    assert rows_of([_task(run)], Kept(tmp_path)) == [
        {"batch": batch, "of": name} for batch in range(4) for name in ("a", "b")
    ]
    assert "2 of 4 steps were measured before" in said[3]
    assert said[-1] == "[4/4] squares: batch 3 done"
    carry_out([_task(run, stop_at=0)], Kept(tmp_path), said.append)
    assert len(run) == 4


@dataclass(frozen=True)
class Inner:
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Found:
    inner: Inner
    by_age: dict[int, float]
    nothing: str | None


def test_a_value_comes_back_as_it_was_and_is_not_measured_twice(tmp_path: Path) -> None:
    value = Found(Inner(((1, 0.5), (2, 0.1 + 0.2))), {4: math.inf, 8: 1e-300}, None)
    measured: list[int] = []

    def measure() -> Found:
        measured.append(1)
        return value

    for _ in range(2):
        assert Kept(tmp_path).value({"a": 1}, Found, measure) == value
    assert len(measured) == 1
    first = attempt(tmp_path)
    first.mkdir()
    assert attempt(tmp_path) != first


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_cut_short_is_measured_again_and_the_next_is_whole(tmp_path: Path, cut: int) -> None:
    kept = Kept(tmp_path)
    for batch in range(3):
        kept.keep({"batch": batch}, batch)
    os.truncate(kept.path, kept.path.stat().st_size - cut)
    again = Kept(tmp_path)
    assert [again.find({"batch": batch}) for batch in range(3)] == [0, 1, None]
    again.keep({"batch": 2}, 2)
    assert [Kept(tmp_path).find({"batch": batch}) for batch in range(3)] == [0, 1, 2]


def test_a_step_is_all_that_was_asked_in_whatever_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    kept.keep({"a": 1, "b": 2}, ["found"])
    assert kept.find({"b": 2, "a": 1}) == ["found"]
    assert kept.find({"a": 1, "b": 3}) is None
    assert kept.among([{"a": 1}, {"b": 2, "a": 1}]) == [{"b": 2, "a": 1}]
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
    assert kept.find({"a": 1, "b": 2}) is None, "other instructions, another step"


def test_what_several_sources_measured_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    kept.keep({"a": 1}, 1)
    monkeypatch.setattr("archipel.bench.kept.source_digest", lambda: "other")
    kept.keep({"a": 2}, 1)
    kept.keep({"a": 3}, 1)
    assert sorted(kept.sources([{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]).values()) == [1, 2]
    assert sorted(Kept(tmp_path).sources([{"a": 2}, {"a": 3}]).items()) == [("other", 2)]


@pytest.mark.parametrize("text", ["words\n", "{}\n", "[1]\n", '{"key": 1}\n'])
def test_another_file_of_that_name_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / STEPS).write_text(text)
    with pytest.raises(NotOurs, match=r"line 1 of .* is no step of a measurement; choose another"):
        Kept(tmp_path)
    assert (tmp_path / STEPS).read_text() == text


def test_a_task_that_ends_early_is_an_error_and_keeps_what_it_found(tmp_path: Path) -> None:
    short = Task("short", ({"n": 1}, {"n": 2}), lambda steps: [[{"n": 1}]])
    with pytest.raises(ValueError, match="shorter"):
        carry_out([short], Kept(tmp_path), lambda text: None)
    assert len((tmp_path / STEPS).read_text().splitlines()) == 1
    assert json.loads((tmp_path / STEPS).read_text())["found"] == [{"n": 1}]
