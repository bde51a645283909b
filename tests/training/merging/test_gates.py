"""What each gate lets through, and what it says of the rest."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from archipel.training.exchange import BadContribution, codec_of
from archipel.training.merging.clipping import clipped, lower_median
from archipel.training.merging.contributions import MAX_TOKENS, age_weight, ordered, shares
from archipel.training.merging.loss_gate import (
    GateTerms,
    Judge,
    Judged,
    Unmeasurable,
    judged,
    refusals,
)
from archipel.training.merging.sums import norm
from archipel.training.merging.validity import opened as read
from archipel.training.merging.validity import within
from training.merging.merge_case import DENSE, SHAPES, contribution, likes, opened, tensors


def reasons(*scores: int | None, own: int | None = None, share: float = 0.25) -> list[str | None]:
    found = refusals([Judged(each, own) for each in scores], GateTerms(share))
    return [None if each is None else each[0] for each in found]


def test_a_score_must_be_above_a_quarter_of_the_median() -> None:
    assert reasons(100, 80, 40, 21, 11) == [None] * 5
    assert reasons(100, 80, 80, 21, 20) == [None, None, None, None, "loss"]
    assert reasons(100, 80, 80, 0, -50) == [None, None, None, "loss", "loss"]


def test_of_two_in_the_middle_the_lower_is_the_median() -> None:
    assert reasons(400, 101, 40, 26) == [None] * 4
    assert reasons(4000, 3000, 400, 100) == [None, None, None, "loss"]


def test_a_bad_text_does_not_stop_a_run_and_still_stops_what_is_far_below() -> None:
    assert reasons(5, -40, -60, -69, -70, -90, -1000, share=0.25)[:2] == [None, None]
    assert reasons(-40, -60, -69, -106, -400) == [None, None, None, None, "loss"]


def test_the_limit_is_exact_for_integers_that_no_float_holds() -> None:
    large = 2**70
    share = float(Fraction(1, 4))
    assert reasons(4 * large, 4 * large, large + 1, share=share) == [None, None, None]
    assert reasons(4 * large, 4 * large, large, share=share) == [None, None, "loss"]


def test_whoever_makes_own_text_alone_likelier_is_told_so() -> None:
    assert reasons(100, 90, -3, own=50) == [None, None, "own_data"]
    assert reasons(100, 90, -3, own=-1) == [None, None, "loss"]
    assert reasons(100, 90, 3, own=50) == [None, None, "loss"]


def test_what_has_no_loss_is_refused_and_does_not_move_the_median() -> None:
    assert reasons(100, None, 90, None, None) == [None, "loss", None, "loss", "loss"]
    assert reasons(None, None) == ["loss", "loss"]


def test_a_judge_sees_the_base_less_the_probed_share() -> None:
    base, delta = {"w": np.array([3, 1], np.float32)}, {"w": np.array([2, -4], np.float32)}
    seen = list[list[float]]()

    def loss(weights) -> int:  # type: ignore[no-untyped-def]
        seen.append(weights["w"].tolist())
        return len(seen)

    found = judged(base, [opened(0, delta)], GateTerms(step=0.5), Judge(loss))
    assert seen == [[3, 1], [2, 3]]
    assert found == [Judged(-1)]


def test_weights_that_break_are_not_shown_to_the_judge_and_a_judge_may_find_no_loss() -> None:
    base = {"w": np.array([-3e38], np.float32)}

    def loss(weights) -> int:  # type: ignore[no-untyped-def]
        assert np.isfinite(weights["w"]).all()
        if weights["w"][0] > 0:
            raise Unmeasurable("too warm")
        return 5

    sent = [
        opened(at, {"w": np.array([each], np.float32)})
        for at, each in enumerate((3e38, -3.2e38, 0))
    ]
    assert judged(base, sent, GateTerms(), Judge(loss)) == [Judged(None), Judged(None), Judged(0)]


def test_the_own_text_is_that_of_the_contribution() -> None:
    base, wanted = tensors(1), tensors(2)
    sent = [opened(at, tensors(3 + at)) for at in range(2)]
    own = Judge(
        likes(wanted).held_out, lambda weights, about: about.index * 10 + int(weights is base)
    )
    assert [each.own_score for each in judged(base, sent, GateTerms(), own)] == [1, 1]


def test_payloads_and_counts_out_of_form_are_refused_with_a_sentence() -> None:
    sound = contribution(0, tensors(1))
    codec = codec_of(DENSE)
    assert read(sound, codec, SHAPES).sent is None
    for wrong in (
        replace(sound, payload=sound.payload[:-1]),
        replace(sound, payload=b"\0" + sound.payload[1:]),
        replace(sound, tokens=0),
        replace(sound, tokens=MAX_TOKENS + 1),
        replace(sound, steps=0),
        replace(sound, age=-1),
        contribution(0, {**tensors(1), "b.bias": np.zeros(8, np.float32)}),
    ):
        with pytest.raises(BadContribution, match="expected"):
            read(wrong, codec, SHAPES)


def test_a_length_beyond_the_bound_of_the_median_is_refused() -> None:
    unit = {"w": np.array([1.0], np.float32)}
    sent = [opened(at, {"w": unit["w"] * scale}) for at, scale in enumerate((1, 2, 2, 20, 20.1))]
    assert [each is None for each in within(sent, 10.0)] == [True, True, True, True, False]
    assert within([], 10.0) == []


def test_no_tensor_is_longer_than_the_median_and_shorter_ones_keep_their_bits() -> None:
    sent = [opened(at, tensors(at, scale)) for at, scale in enumerate((1, 0.5, 300, 2, 1000))]
    cut = clipped(sent)
    for name in SHAPES:
        limit = lower_median([norm(each.values[name]) for each in sent])
        for before, after in zip(sent, cut, strict=True):
            length = norm(before.values[name])
            if length <= limit:
                assert after.values[name].tobytes() == before.values[name].tobytes()
            else:
                assert norm(after.values[name]) == pytest.approx(limit, rel=1e-6)
                np.testing.assert_allclose(
                    after.values[name] * (length / limit), before.values[name], rtol=1e-5
                )


def test_where_most_send_nothing_of_a_tensor_nothing_of_it_is_left() -> None:
    zero = {"w": np.zeros(3, np.float32)}
    cut = clipped([opened(0, zero), opened(1, zero), opened(2, {"w": np.ones(3, np.float32)})])
    assert all(not each.values["w"].any() for each in cut)


def test_of_two_the_shorter_is_the_median_so_that_half_cannot_raise_it() -> None:
    assert lower_median([7.0, 1.0]) == 1.0
    assert lower_median([7.0, 1.0, 3.0]) == 3.0


def test_weights_of_age_fall_with_the_root() -> None:
    assert [age_weight(each) for each in (0, 1, 3, 8)] == [1_000_000, 707_106, 500_000, 333_333]
    assert shares([1, 1, 2]) == [250_000, 250_000, 500_000]
    assert shares([10**9, 1, 0]) == [999_999, 1, 0], "what is merged counts with something"


def test_contributions_are_taken_by_index_and_each_place_once() -> None:
    sent = [
        contribution(2, tensors(1)),
        contribution(0, tensors(1), age=1),
        contribution(0, tensors(1)),
    ]
    assert [(each.index, each.age) for each in ordered(sent)] == [(0, 0), (0, 1), (2, 0)]
    with pytest.raises(ValueError, match="one for each"):
        ordered([sent[0], sent[0]])
