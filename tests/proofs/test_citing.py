"""What an opening cites of a calibration: integers whose sums keep their bound, and nothing of a refused pair."""

import math
import random

import pytest

from archipel.lab import sums
from archipel.proofs.citing import AUDITS_A_YEAR, in_nano, is_cited, measures_of
from archipel.proofs.pairs import FLOORS, PLAIN
from archipel.proofs.record import BadCalibration, Calibration, Pair, Watch
from archipel.records.measures import MOST, Measured, SumTest

CLASS = "archipel-fp32-cpu"
WATCH = Watch(figure="logprob_mean", border=1.5e-6, honest=0.2, cheat=0.7)


def record(false_at_most: float = 0.05, plan: dict | None = None, **changes: object) -> bytes:
    pair = Pair(
        prover="fp32", verifier="fp32", honest=120, usable=True, thresholds=dict.fromkeys(FLOORS, 2e-6),
        false_at_most=false_at_most, cheats={}, overlaps=(), watched={"int8": WATCH},
    )  # fmt: skip
    return Calibration(
        model="sha256:" + "0" * 64, machine="x", made="2026-01-01", confidence=0.95, plan=plan or {}, pairs=(pair.model_copy(update=changes),)
    ).to_bytes()  # fmt: skip


def test_limits_are_the_record_s_in_billionths_without_fingerprints() -> None:
    found = measures_of(record(), CLASS, 0.01)
    assert set(found.limits) == set(PLAIN)
    assert not found.fingerprints
    assert set(found.limits.values()) == {2000}
    assert found.apart, "no auditor alone brings an honest node nearer to what accuses"
    assert [each.figure for each in found.tests] == [None, None, "logprob_mean"]
    assert (in_nano(1e-9), in_nano(1.1e-9), in_nano(math.nan), in_nano(1e9)) == (1, 2, MOST, MOST)


def test_a_run_that_asks_for_fingerprints_is_judged_by_them_and_one_that_does_not_is_not() -> None:
    printed = WATCH.model_copy(update={"figure": "mantissas_mean"})
    data = record(
        overlaps=("int8",),
        blind=("int8", "older"),
        watched={"int8": printed},
        watched_blind={"int8": WATCH},
    )
    with pytest.raises(BadCalibration, match="an answer of int8, older passes"):
        measures_of(data, CLASS, 0.01)
    found = measures_of(data, CLASS, 0.01, fingerprints=True)
    assert found.fingerprints
    assert set(found.limits) == set(FLOORS)
    assert found.tests[-1].figure == "mantissas_mean"
    assert is_cited(found, data, CLASS)
    left = record(
        plan={"sequential": ["int8", "older"]}, blind=("int8", "older"), watched={}, watched_blind={"int8": WATCH},
    )  # fmt: skip
    assert [each.figure for each in measures_of(left, CLASS, 0.01).tests] == [
        None,
        None,
        "logprob_mean",
    ]
    bare = record(thresholds=dict.fromkeys(PLAIN, 2e-6))
    with pytest.raises(BadCalibration, match="knows no fingerprints"):
        measures_of(bare, CLASS, 0.01, fingerprints=True)


@pytest.mark.parametrize("false_at_most", [0.3, 0.05, 1e-3, 1e-5])
def test_weights_keep_the_bound_of_ville_and_the_tests_share_it(false_at_most: float) -> None:
    """The expected exponential of a weight is at most 1 for an honest node that is odd as often as calibrated, or less."""
    found = measures_of(record(false_at_most), CLASS, 0.01)
    for test in found.tests:
        most = WATCH.honest if test.figure else false_at_most
        for chance in (most, most / 2, 0.0):
            mean = chance * math.exp(test.odd_micro / 1e6) + (1 - chance) * math.exp(
                test.even_micro / 1e6
            )
            assert mean <= 1 + 1e-9
        assert test.odd_micro > 0 > test.even_micro
    bound = AUDITS_A_YEAR * math.fsum(math.exp(-each.accuses_micro / 1e6) for each in found.tests)
    assert bound <= 0.01


def test_of_simulated_honest_nodes_no_more_are_accused_than_stated() -> None:
    """With a bound that can be seen: 300 nodes, each audited 60 times, odd as often as honest may be."""
    test = SumTest(odd_micro=math.floor(math.log(0.5 / 0.1) * 1e6), even_micro=math.floor(math.log(0.5 / 0.9) * 1e6), accuses_micro=5_000_000)  # fmt: skip
    rng, accused = random.Random(1), 0
    for _ in range(300):
        held = sums.NOTHING
        for _ in range(60):
            held = sums._after(test, held, "", is_odd=rng.random() < 0.1)
            if held.micro >= test.accuses_micro:
                accused += 1
                break
    assert 0 < accused <= 300 * 60 * math.exp(-5.0)


def test_only_what_was_calibrated_and_not_refused_is_cited() -> None:
    with pytest.raises(BadCalibration, match="cannot be measured"):
        measures_of(record(), "vllm-bf16-cuda", 0.01)
    with pytest.raises(BadCalibration, match="no pair"):
        measures_of(record(), "archipel-bf16-cpu", 0.01)
    with pytest.raises(BadCalibration, match="overlap"):
        measures_of(record(usable=False, thresholds={}, overlaps=("int8",)), CLASS, 0.01)


def test_an_opening_that_says_other_limits_than_its_record_is_not_by_it() -> None:
    data = record()
    said = measures_of(data, CLASS, 0.2)
    assert is_cited(said, data, CLASS), "how often it may err is the run's own"
    wider = said.model_copy(update={"limits": {**said.limits, "flips": 10**9}})
    assert not is_cited(wider, data, CLASS)
    bolder = said.tests[0].model_copy(update={"odd_micro": said.tests[0].odd_micro * 2})
    assert not is_cited(said.model_copy(update={"tests": (bolder, *said.tests[1:])}), data, CLASS)
    assert not is_cited(said, record(0.06), CLASS)
    measured = Measured(drawn=40, figures=dict.fromkeys(said.limits, 0))
    assert not any(test.is_odd(measured, said.limits) for test in said.tests)
