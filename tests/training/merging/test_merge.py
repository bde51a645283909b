"""A merge: who is in it, what is said of the others, and the same bits whatever surrounds it."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archipel.training.exchange import codec_of
from archipel.training.merging.aggregates import AGGREGATES
from archipel.training.merging.contributions import NothingToMerge
from archipel.training.merging.loss_gate import GateTerms
from archipel.training.merging.merge import merge
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms
from training.merging import merge_case
from training.merging.merge_case import (
    DENSE,
    LARGE,
    SPARSE,
    TERMS,
    all_merges,
    contribution,
    digest,
    likes,
    members,
    several,
    tensors,
)

GATED = replace(TERMS, gate=GateTerms())


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return float(sum(((a[name] - b[name]) ** 2).sum() for name in a)) ** 0.5


def test_one_alone_with_a_plain_step_gives_its_own_weights() -> None:
    base, delta = tensors(1), tensors(2)
    plain = MergeTerms(DENSE, OuterTerms("sgd", 1.0))
    made = merge(base, {}, [contribution(0, delta)], plain)
    for name, each in made.weights.items():
        assert np.array_equal(each, base[name] - delta[name])
    assert made.verdicts[0].weight_micro == 1_000_000


def test_the_gate_refuses_who_points_backwards_and_the_rest_is_as_if_they_had_not_come() -> None:
    base, sent, judge = several()
    with_them = merge(base, {}, sent, GATED, judge)
    assert [each.merged for each in with_them.verdicts] == [True] * 6 + [False] * 2
    assert {each.reason for each in with_them.verdicts[6:]} == {"loss"}
    assert all(each.score is not None for each in with_them.verdicts)
    without = merge(base, {}, sent[:6], GATED, judge)
    assert digest(replace(with_them, verdicts=())) == digest(replace(without, verdicts=()))
    assert 1_000_000 - 6 <= sum(each.weight_micro for each in with_them.verdicts) <= 1_000_000


def test_every_refusal_has_its_reason_and_a_sentence() -> None:
    base, wanted = tensors(1), tensors(2)
    honest = members(base, wanted, 7)
    sent = [contribution(at, each) for at, each in enumerate(honest)]
    sent[1] = replace(sent[1], payload=b"no")
    sent[2] = contribution(2, {name: each * 1000 for name, each in honest[2].items()})
    sent[3] = contribution(3, {name: -each for name, each in honest[3].items()})
    found = merge(base, {}, sent, GATED, likes(wanted)).verdicts
    assert [each.reason for each in found] == [
        None, "payload", "norm", "loss", None, None, None,
    ]  # fmt: skip
    assert all(bool(each.why) is not each.merged for each in found)
    krum = replace(TERMS, aggregate="multi_krum", faulty=2)
    sent[2] = contribution(2, {name: -each for name, each in honest[2].items()})
    sent[1] = contribution(1, honest[1])
    found = merge(base, {}, sent, krum).verdicts
    assert [each.index for each in found if each.reason == "outlier"] == [2, 3]
    assert {each.weight_micro for each in found if not each.merged} == {0}


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_merge_comes_nearer_with_any_rule_though_two_of_eight_point_back_tenfold(
    name: str,
) -> None:
    base, wanted = tensors(1), tensors(2)
    sent = members(base, wanted, 8)
    sent[:2] = [{at: each * -9 for at, each in one.items()} for one in sent[:2]]
    terms = MergeTerms(DENSE, OuterTerms("sgd", 1.0), aggregate=name, faulty=2, length_bound=1e6)  # type: ignore[arg-type]
    merged = merge(base, {}, [contribution(at, each) for at, each in enumerate(sent)], terms)
    assert distance(merged.weights, dict(wanted)) < distance(dict(base), dict(wanted))


def test_a_plain_mean_is_carried_off_by_the_same_two() -> None:
    base, wanted = tensors(1), tensors(2)
    sent = members(base, wanted, 8)
    sent[:2] = [{at: each * -9 for at, each in one.items()} for one in sent[:2]]
    terms = MergeTerms(DENSE, OuterTerms("sgd", 1.0), clip=False)
    merged = merge(base, {}, [contribution(at, each) for at, each in enumerate(sent)], terms)
    assert distance(merged.weights, dict(wanted)) > distance(dict(base), dict(wanted))


@pytest.mark.parametrize("seed", range(3))
def test_in_which_order_contributions_arrived_leaves_no_trace(seed: int) -> None:
    _, sent, _ = several()
    turned = random.Random(seed).sample(sent, len(sent))
    assert all_merges(turned) == all_merges(sent)


def test_the_memory_goes_on_where_it_stopped() -> None:
    base, sent, judge = several()
    terms = replace(GATED, aggregate="centred_clip")
    first = merge(base, {}, sent, terms, judge)
    assert {each.split(".")[0] for each in first.memory} == {"momentum", "aggregate"}
    second = merge(first.weights, first.memory, sent, terms, judge)
    forgetful = merge(first.weights, {}, sent, terms, judge)
    assert digest(second) != digest(forgetful)


def test_a_late_contribution_weighs_less_and_takes_no_others_place() -> None:
    base, sent, _ = several()
    late = replace(sent[0], age=1)
    found = merge(base, {}, [*sent, late], TERMS).verdicts
    assert [(each.index, each.age) for each in found][:2] == [(0, 0), (0, 1)]
    assert found[1].weight_micro / found[0].weight_micro == pytest.approx(0.5**0.5, rel=1e-4)


def test_of_the_largest_values_each_is_the_mean_of_those_who_sent_it() -> None:
    base, codec = {"w": np.zeros((64, 64), np.float32)}, codec_of(SPARSE)
    rng = np.random.default_rng(0)
    deltas = [{"w": rng.standard_normal((64, 64)).astype(np.float32)} for _ in range(3)]
    sent = [
        replace(contribution(at, each, tokens=at + 1), payload=codec.encode(each))
        for at, each in enumerate(deltas)
    ]
    terms = MergeTerms(SPARSE, OuterTerms("sgd", 1.0), clip=False)
    moved = -merge(base, {}, sent, terms).weights["w"]
    read = [codec.decode(each.payload, {"w": (64, 64)}) for each in sent]
    above = sum((at + 1) * each.values["w"].astype(np.float64) for at, each in enumerate(read))
    below = sum((at + 1) * each.sent["w"] for at, each in enumerate(read) if each.sent)
    assert 64 < (below > 0).sum() <= 3 * 64
    np.testing.assert_allclose(moved, above / np.maximum(below, 1), rtol=1e-6)


def test_where_nothing_is_left_the_error_says_of_each_why() -> None:
    base, sent, judge = several()
    spoilt = [replace(each, payload=each.payload[:9]) for each in sent]
    with pytest.raises(NothingToMerge, match="8 payload") as told:
        merge(base, {}, spoilt, GATED, judge)
    assert {each.reason for each in told.value.verdicts} == {"payload"}
    with pytest.raises(NothingToMerge, match="none of 0"):
        merge(base, {}, [], TERMS)
    krum = replace(GATED, aggregate="multi_krum", faulty=2)
    with pytest.raises(NothingToMerge, match=r"6 contributions .* at least 7") as told:
        merge(base, {}, sent, krum, judge)
    assert len(told.value.verdicts) == 8


def test_a_merge_that_would_break_the_weights_is_none() -> None:
    base = {"w": np.full(2, -3.4e38, np.float32)}
    sent = contribution(0, {"w": np.full(2, 2.0**40, np.float32)})
    last = {"momentum.w": np.full(2, 3e38, np.float32)}
    with pytest.raises(NothingToMerge, match="diverged"):
        merge(base, last, [sent], TERMS)


def test_terms_that_cannot_be_met_are_refused_at_once() -> None:
    assert replace(TERMS, codec=SPARSE, aggregate="multi_krum").fewest == 3
    for wrong in (
        {"aggregate": "best"},
        {"faulty": -1},
        {"length_bound": 0.5},
        {"codec": SPARSE, "aggregate": "median"},
    ):
        with pytest.raises(ValueError, match=r"expected|another codec"):
            replace(TERMS, **wrong)  # type: ignore[arg-type]
    assert replace(TERMS, aggregate="trimmed_mean", faulty=2).fewest == 5
    base, sent, _ = several()
    with pytest.raises(ValueError, match="no judge"):
        merge(base, {}, sent, GATED)
    with pytest.raises(ValueError, match="not float32"):
        merge({name: each.astype(np.float64) for name, each in base.items()}, {}, sent, TERMS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "around",
    [
        {"OMP_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    ],
)
def test_bits_are_the_same_with_other_threads_and_older_instructions(
    around: dict[str, str],
) -> None:
    paths = os.pathsep.join(each for each in sys.path if each)
    found = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(merge_case.__file__))],
        env={"PYTHONPATH": paths, **around},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    instructions, merges = found.stdout.splitlines()
    if "X86_V3" in around.get("NPY_DISABLE_CPU_FEATURES", ""):
        assert instructions == "False"
    assert merges == str(all_merges(shapes=LARGE))
