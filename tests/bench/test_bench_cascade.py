"""What `bench cascade` and `bench specialists` make of answers; and that both run, small."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from archipel.bench import specialists
from archipel.bench.cascade import Found, Measurement, Plan, Size
from archipel.bench.cascade_report import draw, table, to_json
from archipel.bench.cascade_tasks import KINDS, OTHER, questions
from archipel.bench.cascade_ways import (
    CASCADE,
    CHANCE,
    ORACLE,
    Way,
    recovered_at,
    ways_of,
    worth_of,
)
from archipel.bench.energy import Meter
from archipel.bench.specialists import BASE, GENERALIST
from archipel.cli.archipel import command
from archipel.cli.recipes import find_recipe
from archipel.serve.cascade.choosing import Outcome
from archipel.serve.cascade.fitting import fit, told_of
from serve.test_cascade_fitting import evidence


def test_questions_are_the_same_every_time_and_their_answers_right() -> None:
    rows = questions((*KINDS, *OTHER), 300, 1)
    assert rows == questions((*KINDS, *OTHER), 300, 1)
    assert len({question for _, question, _ in rows}) == 300
    for kind, question, answer in rows:
        said = question.rstrip(": =?").split()
        match kind:
            case "sums":
                assert sum(map(int, said[0].split("+"))) == int(answer)
            case "larger":
                assert int(said[1 if answer == "A" else 3]) == max(int(said[1]), int(said[3]))
            case "sorted":
                assert sorted(said[1]) == [*answer]
            case "backward":
                assert said[1][::-1] == answer
            case _:
                assert said[1] == answer


def test_the_oracle_bounds_every_way_and_chance_is_a_half() -> None:
    held, fresh = evidence(400, 0), evidence(400, 1)
    fitted = fit(held)
    told = told_of(fitted.gate, fitted.confidence, fresh)
    worths = {w.name: w for w in worth_of(ways_of(fresh, told, fitted.confidence.alpha), fresh, 60)}
    assert worths[CHANCE].apgr.value == 0.5
    ours, oracle = worths[CASCADE], worths[ORACLE]
    assert 0.6 < ours.apgr.value < oracle.apgr.value
    assert ours.apgr.low < ours.apgr.value < ours.apgr.high
    assert oracle.cpt80.value < ours.cpt80.value < 0.8
    assert ours.cpt50.value < ours.cpt80.value
    simpler = ("without the gate", "quantile alone", "mean alone", "gate alone")
    assert all(0.55 < worths[name].apgr.value < oracle.apgr.value for name in simpler)
    shares = [share for share, _, _ in ours.points]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    # The large model never asked costs gate and small one; always asked, no small one where it is straight.
    assert ours.points[0][2] == pytest.approx(1.1)
    assert ours.points[-1][2] < 5.1


def test_within_a_kind_only_its_own_questions_count() -> None:
    held = evidence(60, 0)
    of = np.arange(60) < 2
    small, large = np.zeros(60), np.ones(60)
    large[1] = 0.0  # of the two, only the first gains
    held = replace(held, small=small, large=large)
    first = np.zeros((1, 60), dtype=bool)
    first[0, 0] = first[0, 30:] = True
    way = Way("w", first, np.zeros((1, 60)))
    assert recovered_at(way, held, of) == pytest.approx(0.75)
    assert recovered_at(replace(way, large=first[:, ::-1]), held, of) == pytest.approx(0.5)


def test_without_a_gap_nothing_is_told_of_it() -> None:
    fresh = evidence(60, 0)
    same = replace(fresh, large=fresh.small)
    told = fit(fresh).told
    worth = worth_of(ways_of(same, told, 0.1), same, 5)[1]
    assert math.isnan(worth.apgr.value)
    assert str(worth.apgr) == "none"


def test_the_report_tells_all_and_no_number_that_is_none() -> None:
    fresh = evidence(80, 0)
    fitted = fit(fresh)
    worths = tuple(worth_of(ways_of(fresh, fitted.told, 0.1), fresh, 5))
    found = Found(0.5, 0.9, 0.1, 1.0, 4.0, worths, Outcome(0.3, 0.1, 0.8, 2.0), 0.8, 0.02, ())
    assert "0.50 of the large model's seconds" in table(found)
    assert "cascade" in table(found)
    json.dumps(to_json(found), allow_nan=False)


def test_joules_are_summed_over_packages_and_a_counter_may_go_round(tmp_path: Path) -> None:
    for name, value in (("intel-rapl:0", 900), ("intel-rapl:1", 5), ("intel-rapl:0:0", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")

    def work() -> str:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("30\n")
        return "done"

    meter = Meter(tmp_path)
    assert meter.is_here
    assert meter.over(work) == ("done", pytest.approx((200 + 25) / 1e6))
    assert not Meter(tmp_path / "none").is_here
    assert Meter(tmp_path / "none").over(lambda: 1) == (1, None)


def test_regret_and_gain_by_hand() -> None:
    kinds = ["sorted", "sorted", "sums", "copied"]
    right = {name: np.zeros(4) for name in (BASE, GENERALIST, *KINDS)}
    right["sorted"] = np.array([1.0, 1.0, 0.0, 0.0])
    right["sums"] = np.array([0.0, 0.0, 1.0, 0.0])
    right[BASE] = np.array([0.0, 0.0, 0.0, 1.0])
    right[GENERALIST] = np.array([1.0, 0.0, 0.0, 0.0])
    found = specialists._found(right, ["sorted", "sums", "sums", BASE], kinds, 50)
    assert found.router.value == 0.75
    assert found.topics.value == found.oracle.value == 1.0
    assert found.regret.value == found.oracle_regret.value == 0.25
    assert found.gain.value == 0.5
    lines = {line.kind: line for line in found.lines}
    assert (lines["sorted"].router, lines["sorted"].routed_right) == (0.5, 0.5)
    assert lines["copied"].routed_right == 1.0
    assert "regret" in specialists.table(found)
    nobody = {name: np.zeros(4) for name in right}
    nothing = specialists._found(nobody, [BASE] * 4, kinds, 5)
    assert str(nothing.regret) == "none"


@pytest.mark.slow
def test_both_benches_run_and_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    tiny = replace(specialists.QUICK, width=16, layers=1, base_steps=5, steps=5)
    monkeypatch.setattr(specialists, "QUICK", tiny)
    little = Plan(
        small=Size(16, 1, 5, 3e-3), large=Size(32, 1, 300, 5e-3), questions=3000, calibration=60,
        held_out=50, resamples=20,
    )  # fmt: skip
    measurement = Measurement(find_recipe("own-task"), little, tmp_path / "c", said.append)
    found = measurement.measure()
    said.clear()
    assert measurement.measure().worths == found.worths
    draw(found, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000
    assert not [line for line in said if "step" in line]
    out = str(tmp_path / "s")
    told = CliRunner().invoke(
        command, ["bench", "specialists", "--quick", "--questions", "50", "--out", out, "--json"]
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["base"]["value"] <= 1.0
