"""What `bench distil` makes of answers; and that it runs, small, and goes on where it was."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from archipel.bench.cascade import Size
from archipel.bench.distil import QUICK, Measurement
from archipel.bench.distil_report import BEFORE, FEW, LABELS, TEACHER, Arm, found_of, table
from archipel.cli.recipes import find_recipe
from archipel.training.lessons import ON_POLICY, SEQUENCES


def test_gains_are_told_on_the_same_questions_and_by_hand() -> None:
    right = {
        TEACHER: (1.0, 1.0, 1.0, 0.0),
        BEFORE: (0.0, 0.0, 1.0, 0.0),
        ON_POLICY: (1.0, 0.0, 1.0, 0.0),
        SEQUENCES: (0.0, 1.0, 1.0, 0.0),
        LABELS: (0.0, 0.0, 1.0, 1.0),
        FEW: (0.0, 0.0, 0.0, 0.0),
    }
    found = found_of([Arm(name, 1, 1.0, each) for name, each in right.items()], 200)
    lines = {line.name: line for line in found.lines}
    taught = lines[ON_POLICY]
    assert (taught.quality.value, taught.gain.value, taught.closed) == (0.5, 0.25, 0.5)
    assert taught.gain.low >= 0.0, "no question got worse, so no resampling says that one did"
    assert found.differences[f"{ON_POLICY} - {SEQUENCES}"].value == 0.0
    assert found.differences[f"{ON_POLICY} - {SEQUENCES}"].low < 0.0
    assert lines[FEW].closed == -0.5
    assert "on-policy - labels" in table(found)
    same = found_of([Arm(name, 1, 1.0, right[BEFORE]) for name in right], 20)
    assert {line.closed for line in same.lines} == {None}
    json.dumps(asdict(same), allow_nan=False)
    assert table(same)


@pytest.mark.slow
def test_the_bench_runs_and_goes_on_where_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    little = replace(
        QUICK, teacher=Size(32, 1, 300, 5e-3), student=Size(16, 1, 5, 3e-3), updates=10,
        questions=3000, held_out=50, resamples=20,
    )  # fmt: skip
    measurement = Measurement(find_recipe("own-task"), little, tmp_path, said.append)
    found = measurement.measure()
    seconds = {line.name: line.seconds for line in found.lines}
    for name in (SEQUENCES, LABELS, FEW):
        assert 0.4 < seconds[name] / seconds[ON_POLICY] < 2.5
    said.clear()
    assert Measurement(find_recipe("own-task"), little, tmp_path, said.append).measure() == found
    assert not said
