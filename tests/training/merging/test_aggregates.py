"""Each rule by hand, what it withstands, and when it refuses."""

import random
from itertools import pairwise

import numpy as np
import pytest

from archipel.training.merging.aggregates import AGGREGATES, AggregateName, aggregated
from archipel.training.merging.aggregates.multi_krum import krum_scores
from archipel.training.merging.contributions import NothingToMerge, Opened
from archipel.training.merging.sums import norm_of, squared_distance
from training.merging.merge_case import opened, tensors

HUGE = np.float32(2.0**40)


def rows(*values: list[float], tokens: tuple[int, ...] = ()) -> list[Opened]:
    return [
        opened(at, {"w": np.array(each, np.float32)}, tokens=tokens[at] if tokens else 1)
        for at, each in enumerate(values)
    ]


def result(name: AggregateName, given: list[Opened], faulty: int = 0) -> list[float]:
    return aggregated(name, given, faulty).values["w"].tolist()  # type: ignore[no-any-return]


def test_a_mean_is_weighted_by_tokens() -> None:
    assert result("mean", rows([1, 0], [5, -4], tokens=(3, 1))) == [2, -1]


def test_a_late_contribution_weighs_less() -> None:
    given = [
        opened(0, {"w": np.array([1], np.float32)}),
        opened(1, {"w": np.array([4], np.float32)}, age=3),
    ]
    assert given[1].weight == 500_000
    assert result("mean", given) == [2]


def test_a_coordinate_is_the_mean_of_those_who_sent_it() -> None:
    given = rows([2, 0, 0], [4, 8, 0], tokens=(1, 1))
    sent = ([True, False, False], [True, True, False])
    given = [
        Opened(each.contribution, each.values, {"w": np.array(mask)})
        for each, mask in zip(given, sent, strict=True)
    ]
    assert result("mean", given) == [3, 8, 0], "nobody sent the last, and one alone the second"


def test_medians_and_trimmed_means_by_hand() -> None:
    given = rows([1, -5], [2, 7], [9, 0], [4, 1], tokens=(1, 1, 1, 1000))
    assert result("median", given) == [3, 0.5]
    assert result("median", given[:3]) == [2, 0]
    assert result("trimmed_mean", given, 1) == [3, 0.5]
    assert result("trimmed_mean", given, 0) == [4, 0.75]


def test_krum_scores_by_hand_and_keeps_who_has_company() -> None:
    given = rows([0], [1], [3], [7], [100])
    # Squared distances to the two nearest: n - f - 2 = 2.
    assert krum_scores(given, 1) == [1 + 9, 1 + 4, 4 + 9, 16 + 36, 93**2 + 97**2]
    found = aggregated("multi_krum", given, 1)
    assert found.values["w"].tolist() == [2.75]
    assert found.weights == (1_000_000,) * 4 + (0,)


def test_of_equal_krum_scores_the_lower_index_is_kept() -> None:
    found = aggregated("multi_krum", rows([1], [1], [1], [1], [1]), 1)
    assert [each > 0 for each in found.weights] == [True] * 4 + [False]


def test_centred_clipping_by_hand() -> None:
    # v = 0: distances 1, 2, 9, tau = 2: v = (1 + 2 + 2) / 3 = 5/3.
    # v = 5/3: distances 2/3, 1/3, 22/3, tau = 2/3: v = 5/3 + (-2/3 + 1/3 + 2/3) / 3 = 16/9.
    # v = 16/9: distances 7/9, 2/9, 65/9, tau = 7/9: v = 16/9 + (-7/9 + 2/9 + 7/9) / 3 = 50/27.
    assert result("centred_clip", rows([1], [2], [9])) == pytest.approx([50 / 27], rel=1e-6)


def test_centred_clipping_begins_with_the_last_aggregate() -> None:
    given = rows([1], [2], [9])
    last = {"w": np.array([50], np.float32)}
    assert aggregated("centred_clip", given, 0, last).values["w"] != result("centred_clip", given)


def honest_and(faulty: int, lie: np.float32, seed: int = 0) -> tuple[list[Opened], list[Opened]]:
    """Seven honest ones about one place, and so many others among them."""
    honest = [tensors(1, 1.0) for _ in range(7)]
    for at, each in enumerate(honest):
        for name, noise in tensors(10 + at, 0.1).items():
            each[name] = each[name] + noise
    lies = [{name: np.full_like(each, lie) for name, each in honest[0].items()}] * faulty
    mixed = [(each, True) for each in honest] + [(each, False) for each in lies]
    random.Random(seed).shuffle(mixed)
    everyone = [opened(at, each) for at, (each, _) in enumerate(mixed)]
    return everyone, [each for each, (_, sound) in zip(everyone, mixed, strict=True) if sound]


@pytest.mark.parametrize("lie", [HUGE, -HUGE, np.float32(0.01)])
@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
def test_coordinates_stay_between_honest_values_whatever_the_faulty_say(
    name: AggregateName, lie: np.float32
) -> None:
    everyone, honest = honest_and(3, lie)
    found = aggregated(name, everyone, 3).values
    for at, each in found.items():
        sound = np.stack([one.values[at] for one in honest])
        assert (sound.min(0) <= each).all()
        assert (each <= sound.max(0)).all()


@pytest.mark.parametrize("lie", [HUGE, -HUGE])
def test_krum_leaves_the_faulty_out_and_clipping_bounds_them_where_a_mean_is_lost(
    lie: np.float32,
) -> None:
    everyone, honest = honest_and(2, lie)
    truth = tensors(1)
    spread = max(squared_distance(each.values, truth) for each in honest) ** 0.5
    found = aggregated("multi_krum", everyone, 2)
    sound = {each.contribution.index for each in honest}
    assert {at for at, weight in enumerate(found.weights) if weight} <= sound
    assert squared_distance(found.values, truth) ** 0.5 <= spread
    clipped = aggregated("centred_clip", everyone, 2).values
    assert squared_distance(clipped, truth) ** 0.5 <= norm_of(truth)
    assert norm_of(aggregated("mean", everyone, 2).values) > 1e6 * norm_of(truth)


@pytest.mark.parametrize("name", AGGREGATES)
def test_the_order_of_members_does_not_matter_beyond_rounding(name: AggregateName) -> None:
    everyone, _ = honest_and(1, np.float32(0.5))
    turned = [opened(at, each.values) for at, each in enumerate(reversed(everyone))]
    found, other = (aggregated(name, each, 1).values for each in (everyone, turned))
    for at in found:
        np.testing.assert_allclose(found[at], other[at], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("faulty", [0, 1, 3])
def test_a_rule_refuses_fewer_than_its_condition_allows(name: AggregateName, faulty: int) -> None:
    fewest = AGGREGATES[name].fewest(faulty)
    given = rows(*([float(at)] for at in range(fewest)))
    assert aggregated(name, given, faulty).values["w"].shape == (1,)
    with pytest.raises(NothingToMerge, match="wait for more"):
        aggregated(name, given[:-1], faulty)


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "centred_clip"])
def test_what_was_not_sent_is_no_zero(name: AggregateName) -> None:
    given = rows([1], [2], [3])
    given[1] = Opened(given[1].contribution, given[1].values, {"w": np.array([False])})
    with pytest.raises(NothingToMerge, match="zeros"):
        aggregated(name, given, 1)


@pytest.mark.parametrize("name", AGGREGATES)
def test_stretches_do_not_change_what_a_rule_gives(
    name: AggregateName, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone, _ = honest_and(1, np.float32(0.5))
    whole = aggregated(name, everyone, 1).values
    monkeypatch.setattr("archipel.training.merging.sums.CHUNK", 7)
    cut = aggregated(name, everyone, 1).values
    for at in whole:
        # Lengths may round otherwise; a coordinate that was forgotten or taken twice would not be near.
        np.testing.assert_allclose(whole[at], cut[at], rtol=1e-6)


def test_both_zeros_are_one() -> None:
    for given in pairwise([rows([0.0], [-0.0]), rows([-0.0], [0.0]), rows([-0.0], [-0.0])]):
        first, second = (aggregated("median", each, 0).values["w"] for each in given)
        assert first.tobytes() == second.tobytes()
