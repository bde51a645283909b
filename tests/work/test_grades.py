"""What was graded once keeps its rewards, and nothing else takes them for its own."""

import itertools
from pathlib import Path

import pytest

from archipel.training.environments.judgement import Judgement
from archipel.training.grading import Submission
from archipel.work import grades
from archipel.work.grades import BatchGrades, Grades, columns, earned_of

SHOWN = [Submission("train", 1, "abc", True), Submission("train", 1, "\ud800", False)]

GRADES = BatchGrades((0.1, 1.0), {"part_right": 0.5}, ({"right": 0.0}, {"right": 1.0}))


def test_the_same_batch_has_the_same_rewards_after_a_restart(tmp_path: Path) -> None:
    Grades(tmp_path).keep(3, SHOWN, GRADES)
    assert Grades(tmp_path).of(3, SHOWN) == GRADES
    assert Grades(tmp_path).of(4, SHOWN) is None


@pytest.mark.parametrize(
    "other",
    [
        SHOWN[:1],
        SHOWN[::-1],
        [SHOWN[0], Submission("train", 1, "\ud800", True)],
        [SHOWN[0], Submission("train", 2, "\ud800", False)],
    ],
)
def test_another_batch_has_not(tmp_path: Path, other: list[Submission]) -> None:
    Grades(tmp_path).keep(3, SHOWN, GRADES)
    assert Grades(tmp_path).of(3, other) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"of": 1, "rewards": ["x"]}', '{"of": "NaN"'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    Grades(tmp_path).keep(3, SHOWN, GRADES)
    (tmp_path / "grades-3.json").write_text(text)
    assert Grades(tmp_path).of(3, SHOWN) is None


def test_a_flipped_bit_never_gives_other_rewards(tmp_path: Path) -> None:
    Grades(tmp_path).keep(3, SHOWN, GRADES)
    place = tmp_path / "grades-3.json"
    data = place.read_bytes()
    for at, bit in itertools.product(range(len(data)), range(8)):
        place.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        assert Grades(tmp_path).of(3, SHOWN) in (None, GRADES)


def test_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grades, "KEPT", 2)
    for version in range(1, 6):
        Grades(tmp_path).keep(version, SHOWN, BatchGrades((0.0, 0.0)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grades-4.json", "grades-5.json"]


def test_each_grading_keeps_its_own_parts_and_no_metric() -> None:
    judged = [Judgement(1.0, {"part_right": 1.0, "metric_words": 3.0}), Judgement(0.0)]
    found = BatchGrades.of(judged)
    assert found.each == ({"right": 1.0}, {})
    assert earned_of(found) == [(1.0, {"right": 1.0}), (0.0, {})]
    assert columns([parts for _, parts in earned_of(found)]) == {"right": (1.0, 0.0)}
    plain = BatchGrades.of([Judgement(1.0), Judgement(0.0)])
    assert plain.each == ()
    assert earned_of(plain) == [(1.0, {}), (0.0, {})]
