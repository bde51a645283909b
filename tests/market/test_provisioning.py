"""Provisioning: the learner is kept busy by the cheapest nodes, and trifles change nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.provisioning import (
    CannotProvide,
    Hysteresis,
    Pace,
    Supply,
    Why,
    provision,
    required_rate_micro,
)

NONE = Hysteresis(price_permille=0, slack_permille=0)
PACE = Pace(train_ms=10_000, rollouts=100, period=4, utilisation_permille=1000)
"""400 rollouts in 40 s."""

SUPPLIES = st.lists(
    st.builds(
        Supply,
        node=st.sampled_from([f"n{i}" for i in range(9)]),
        rate_micro=st.integers(0, 20_000_000),
        price_micro=st.integers(1, 50),
        fetch_ms=st.integers(0, 50_000),
        is_barred=st.booleans(),
    ),
    max_size=9,
    unique_by=lambda each: each.node,
)
ACTIVE = st.frozensets(st.sampled_from([f"n{i}" for i in range(9)]))


def nodes(*prices: int, rate: int = 4_000_000) -> list[Supply]:
    """Node i at prices[i], each with 160 less 16 for its fetching, 144 rollouts a period."""
    return [Supply(f"n{i}", rate, price, 4000) for i, price in enumerate(prices)]


def test_the_required_rate_is_echo_2s() -> None:
    assert required_rate_micro(PACE, 0) == 10_000_000
    assert required_rate_micro(PACE, 20_000) == 20_000_000
    assert required_rate_micro(replace(PACE, utilisation_permille=500), 0) == 5_000_000
    with pytest.raises(CannotProvide, match="40000 ms between versions: publish less often"):
        required_rate_micro(PACE, 40_000)


@given(SUPPLIES, ACTIVE, st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_the_set_suffices_wherever_any_does_and_who_may_not_work_never_does(
    supplies: list[Supply], active: frozenset[str], price: int, slack: int
) -> None:
    found = provision(PACE, supplies, active, Hysteresis(price, slack))
    unfit = {s.node for s in supplies if s.is_barred or not s.rate_micro or s.fetch_ms >= 40_000}
    brought = {
        s.node: s.rate_micro * (40_000 - s.fetch_ms) for s in supplies if s.node not in unfit
    }
    need = PACE.needed * 1_000_000_000
    assert found.suffices == (sum(brought.values()) >= need)
    assert set(found.reasons) == {s.node for s in supplies}
    assert not unfit & set(found.active)
    assert sum(brought[n] for n in found.active) // 1_000_000_000 == found.brought
    assert found == provision(PACE, list(reversed(supplies)), active, Hysteresis(price, slack))


@given(SUPPLIES, ACTIVE, st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_while_nothing_changes_the_set_never_grows_again_so_it_settles(
    supplies: list[Supply], active: frozenset[str], price: int, slack: int
) -> None:
    for _ in range(len(supplies) + 2):
        before = active
        active = frozenset(provision(PACE, supplies, before, Hysteresis(price, slack)).active)
    assert active == before
    dearer = [replace(s, price_micro=s.price_micro + 100) for s in supplies if s.node not in active]
    same = [s for s in supplies if s.node in active]
    assert active >= set(provision(PACE, same + dearer, active, Hysteresis(price, slack)).active)


@given(SUPPLIES)
@settings(max_examples=40, deadline=None)
def test_without_hysteresis_the_set_is_the_cheapest_and_none_of_its_last_is_superfluous(
    supplies: list[Supply],
) -> None:
    found = provision(PACE, supplies, frozenset(), NONE)
    price = {s.node: s.price_micro for s in supplies}
    fit = [n for n, why in found.reasons.items() if why in {Why.CHEAPEST, Why.SPARE}]
    spare = [price[n] for n in fit if n not in found.active]
    assert all(price[n] <= min(spare, default=price[n]) for n in found.active)
    if found.active:
        fewer = [s for s in supplies if s.node in found.active[:-1]]
        assert not provision(PACE, fewer, frozenset(), NONE).suffices


def test_equal_links_need_exactly_the_required_rate() -> None:
    need = required_rate_micro(PACE, 4000)
    for rate, suffices in ((need, True), (need - 1000, False)):
        assert provision(PACE, nodes(1, rate=rate), frozenset(), NONE).suffices == suffices


def test_a_departure_wakes_the_next_cheapest() -> None:
    before = provision(PACE, nodes(1, 2, 3, 4), frozenset(), Hysteresis())
    assert before.active == ("n0", "n1", "n2")
    left = [each for each in nodes(1, 2, 3, 4) if each.node != "n1"]
    after = provision(PACE, left, frozenset(before.active), Hysteresis())
    assert after.active == ("n0", "n2", "n3")
    assert after.reasons["n3"] is Why.CHEAPEST


def test_a_slightly_cheaper_node_replaces_nobody_and_a_much_cheaper_one_does() -> None:
    active = frozenset(("n0", "n1", "n2"))
    trifle = provision(PACE, nodes(100, 100, 100, 95), active, Hysteresis())
    assert set(trifle.active) == active
    assert Why.KEPT in trifle.reasons.values()
    worth = provision(PACE, nodes(100, 100, 100, 80), active, Hysteresis())
    assert "n3" in worth.active
    assert len(worth.active) == 3


def test_a_link_that_grows_slow_brings_less_and_at_last_nothing() -> None:
    supplies = nodes(1, 2, 3, 4)
    slow = provision(
        PACE, [replace(supplies[0], fetch_ms=30_000), *supplies[1:]], frozenset(), NONE
    )
    assert slow.active == ("n0", "n1", "n2", "n3")
    dead = provision(
        PACE, [replace(supplies[0], fetch_ms=40_000), *supplies[1:]], frozenset(), NONE
    )
    assert dead.reasons["n0"] is Why.LINK
    assert dead.active == ("n1", "n2", "n3")


def test_a_verdict_and_an_unmeasured_node_are_out_at_once() -> None:
    supplies = nodes(1, 2, 3, 4, 5)
    changed = [
        replace(supplies[0], is_barred=True),
        replace(supplies[1], rate_micro=0),
        *supplies[2:],
    ]
    found = provision(PACE, changed, frozenset(("n0", "n1", "n2")), Hysteresis())
    assert found.active == ("n2", "n3", "n4")
    assert (found.reasons["n0"], found.reasons["n1"]) == (Why.VERDICT, Why.UNMEASURED)


def test_a_node_too_many_is_released_only_with_slack() -> None:
    active = frozenset(("n0", "n1", "n2", "n3"))
    need_432 = replace(PACE, rollouts=105)
    kept = provision(need_432, nodes(1, 2, 3, 4), active, Hysteresis())
    assert kept.reasons["n3"] is Why.SLACK
    assert provision(need_432, nodes(1, 2, 3, 4), frozenset(), Hysteresis()).active == (
        "n0",
        "n1",
        "n2",
    )
    released = provision(replace(PACE, rollouts=93), nodes(1, 2, 3, 4), active, Hysteresis())
    assert released.active == ("n0", "n1", "n2")


def test_impossible_figures_are_refused() -> None:
    with pytest.raises(CannotProvide, match="period of 1 or more"):
        Pace(train_ms=0, rollouts=1, period=1)
    with pytest.raises(CannotProvide, match="1 to 1000"):
        Pace(train_ms=1, rollouts=1, period=1, utilisation_permille=1001)
    with pytest.raises(CannotProvide, match="each once"):
        provision(PACE, [*nodes(1), *nodes(2)], frozenset(), NONE)
