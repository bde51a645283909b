"""Clearing: the lowest sufficient set, at a price that nobody can better by lying."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.clearing import Ask, CannotClear, Clearing, Pricing, Terms, clear

SEED = b"head"
OPERATORS = ("a", "b", "c", "d", "e", "f")
FEW = settings(max_examples=40, deadline=None)

ASKS = st.lists(
    st.builds(
        Ask,
        seller=st.sampled_from([f"s{i}" for i in range(10)]),
        operator=st.sampled_from(OPERATORS),
        micro=st.integers(1, 30),
        lots=st.integers(1, 4),
    ),
    max_size=10,
    unique_by=lambda each: each.seller,
)
QUALITIES = st.dictionaries(st.sampled_from(OPERATORS), st.integers(300, 1000))
TERMS = st.builds(
    Terms,
    wanted=st.integers(1, 8),
    reserve_micro=st.integers(1, 40),
    operator_cap=st.integers(1, 5),
    explore_permille=st.sampled_from([0, 200, 500]),
    newcomer_permille=st.sampled_from([600, 1000]),
)
PLAIN = Terms(wanted=2, reserve_micro=100, operator_cap=9, explore_permille=0)


def lots_of(found: Clearing) -> dict[str, int]:
    return {each.seller: len(each.prices) for each in found.awards}


def singles(*micro: int) -> list[Ask]:
    return [Ask(f"s{i}", f"o{i}", each) for i, each in enumerate(micro)]


def full(asks: Sequence[Ask], quality: int = 1000) -> dict[str, int]:
    return {each.operator: quality for each in asks}


def test_single_lots_of_equal_quality_are_paid_the_first_price_not_bought() -> None:
    asks = singles(10, 30, 20, 40)
    found = clear(PLAIN, asks, full(asks), SEED)
    assert [(each.seller, each.prices) for each in found.awards] == [("s0", (30,)), ("s2", (30,))]
    assert (found.price_micro, found.short, found.spent_micro) == (30, 0, 60)


def test_where_too_few_offer_the_reserve_is_the_price_and_the_rest_is_short() -> None:
    asks = singles(10, 101)
    found = clear(PLAIN, asks, full(asks), SEED)
    assert lots_of(found) == {"s0": 1}
    assert (found.price_micro, found.short) == (100, 1)


def test_ranking_and_payment_follow_quality() -> None:
    asks = singles(10, 18, 30)
    found = clear(replace(PLAIN, wanted=1), asks, {"o0": 500, "o1": 1000, "o2": 1000}, SEED)
    assert [(each.seller, each.prices) for each in found.awards] == [("s1", (20,))]
    found = clear(replace(PLAIN, wanted=1), asks, {"o0": 501, "o1": 900, "o2": 1000}, SEED)
    assert [(each.seller, each.prices) for each in found.awards] == [("s0", (18 * 501 // 900,))]


def test_a_seller_of_many_lots_is_paid_for_the_lots_it_pushed_out() -> None:
    asks = [Ask("big", "big", 10, 2), *singles(20, 50)]
    found = clear(PLAIN, asks, full(asks), SEED)
    assert found.awards[0].prices == (20, 50)
    uniform = clear(replace(PLAIN, pricing=Pricing.UNIFORM), asks, full(asks), SEED)
    assert uniform.awards[0].prices == (20, 20)


def test_one_operators_nodes_share_its_cap_and_never_set_its_price() -> None:
    asks = [Ask("x1", "x", 1), Ask("x2", "x", 2), Ask("x3", "x", 3), *singles(50, 60)]
    found = clear(PLAIN, asks, full(asks), SEED)
    assert [(each.seller, each.prices) for each in found.awards] == [("x1", (50,)), ("x2", (60,))]
    capped = clear(replace(PLAIN, operator_cap=1), asks, full(asks), SEED)
    assert [(each.seller, each.prices) for each in capped.awards] == [("s0", (60,)), ("x1", (60,))]


@given(TERMS, ASKS, QUALITIES)
@FEW
def test_nobody_is_paid_below_the_ask_and_the_budget_is_kept(
    terms: Terms, asks: list[Ask], qualities: dict[str, int]
) -> None:
    ask_of = {each.seller: each for each in asks}
    for pricing in Pricing:
        found = clear(replace(terms, pricing=pricing), asks, qualities, SEED)
        bought = sum(lots_of(found).values())
        assert bought + found.short == terms.wanted
        assert found.spent_micro <= terms.reserve_micro * bought
        by_operator = Counter[str]()
        for award in found.awards:
            assert min(award.prices) >= ask_of[award.seller].micro
            assert len(award.prices) <= ask_of[award.seller].lots
            assert award.is_newcomer == (award.operator not in qualities)
            by_operator[award.operator] += len(award.prices)
        assert all(number <= terms.operator_cap for number in by_operator.values())
        welcomed = [each for each in found.awards if each.is_newcomer]
        assert len(welcomed) <= terms.wanted * terms.explore_permille // 1000
        assert all(by_operator[each.operator] == 1 for each in welcomed)


@given(TERMS, ASKS, QUALITIES, st.randoms(use_true_random=False))
@FEW
def test_the_order_of_asks_says_nothing(
    terms: Terms, asks: list[Ask], qualities: dict[str, int], chance: random.Random
) -> None:
    mixed = asks[:]
    chance.shuffle(mixed)
    again = dict(reversed(qualities.items()))
    assert clear(terms, mixed, again, SEED) == clear(terms, asks, qualities, SEED)


@given(TERMS, ASKS, QUALITIES)
@FEW
def test_no_other_set_within_the_caps_has_a_lower_score(
    terms: Terms, asks: list[Ask], qualities: dict[str, int]
) -> None:
    """Exchange: a lot not bought, that its operator's cap leaves room for, is no better than any bought."""
    terms = replace(terms, explore_permille=0)
    found = clear(terms, asks, qualities, SEED)
    lots, of_operator = lots_of(found), Counter[str]()
    for award in found.awards:
        of_operator[award.operator] += len(award.prices)
    score = {
        a.seller: Fraction(a.micro, qualities[a.operator]) for a in asks if a.operator in qualities
    }
    for ask in (a for a in asks if a.operator in qualities and lots.get(a.seller, 0) < a.lots):
        within = score[ask.seller] <= Fraction(terms.reserve_micro, 1000)
        is_free = of_operator[ask.operator] < terms.operator_cap
        assert not (within and is_free and found.short)
        for award in found.awards:
            if is_free or award.operator == ask.operator:
                assert score[award.seller] <= score[ask.seller] or not within


@given(TERMS, ASKS, QUALITIES, st.integers(0, 9), st.integers(1, 29))
@FEW
def test_asking_less_never_loses_lots(
    terms: Terms, asks: list[Ask], qualities: dict[str, int], which: int, less: int
) -> None:
    if not asks:
        return
    own = asks[which % len(asks)]
    cheaper = [replace(a, micro=max(1, a.micro - less)) if a is own else a for a in asks]
    before = lots_of(clear(terms, asks, qualities, SEED)).get(own.seller, 0)
    if own.operator in qualities:
        assert lots_of(clear(terms, cheaper, qualities, SEED)).get(own.seller, 0) >= before


@given(TERMS, ASKS, QUALITIES, st.integers(0, 5), st.data())
@FEW
def test_no_operator_gains_by_other_asks_or_by_holding_lots_back(
    terms: Terms, asks: list[Ask], qualities: dict[str, int], which: int, data: st.DataObject
) -> None:
    """The asks are the costs; one operator changes all of its asks at once."""
    operator, cost = OPERATORS[which], {each.seller: each.micro for each in asks}
    lied = list[Ask]()
    for ask in asks:
        if ask.operator != operator:
            lied.append(ask)
        elif data.draw(st.booleans()):
            micro, lots = data.draw(st.integers(1, 45)), data.draw(st.integers(1, ask.lots))
            lied.append(replace(ask, micro=micro, lots=lots))

    def gain(found: Clearing) -> int:
        return sum(
            sum(price - cost[each.seller] for price in each.prices)
            for each in found.awards
            if each.operator == operator
        )

    assert gain(clear(terms, lied, qualities, SEED)) <= gain(clear(terms, asks, qualities, SEED))


def test_ties_are_broken_by_the_seed_and_every_operator_wins_some() -> None:
    asks = singles(10, 10, 10)
    terms = replace(PLAIN, wanted=1)
    winners = Counter(
        clear(terms, asks, full(asks), bytes([i])).awards[0].seller for i in range(240)
    )
    assert all(40 <= winners[each.seller] <= 120 for each in asks)
    assert clear(terms, asks, full(asks), b"x") == clear(terms, asks, full(asks), b"x")


def test_scores_that_differ_least_are_told_apart() -> None:
    """1/998 and 1/999, and the same beside large whole numbers: no rounding makes them equal."""
    for whole in (0, 10**8):
        asks = [Ask("s0", "o0", 1 + 998 * whole), Ask("s1", "o1", 1 + 999 * whole)]
        terms = replace(PLAIN, wanted=1, reserve_micro=10**12)
        for seed in range(8):
            found = clear(terms, asks, {"o0": 998, "o1": 999}, bytes([seed]))
            assert found.awards[0].seller == "s1"


def test_a_newcomer_earns_at_the_clearing_price_and_no_more_than_the_share_is_explored() -> None:
    asks = [*singles(*[10] * 20, 30), *[Ask(f"new{i}", f"new{i}", 20) for i in range(5)]]
    known = {a.operator: 1000 for a in asks if not a.seller.startswith("new")}
    terms = Terms(wanted=20, reserve_micro=100, operator_cap=1, explore_permille=100)
    found = clear(terms, asks, known, SEED)
    assert [each for each in found.awards if each.is_newcomer] == []
    assert found.short == 2  # the 19th measured lot costs 10, for which no newcomer works
    scarce = [*asks[:17], *asks[20:]]
    found = clear(terms, scarce, known, SEED)
    newcomers = [each for each in found.awards if each.is_newcomer]
    assert [each.prices for each in newcomers] == [(100 * 800 // 1000,)] * 2
    welcomed = {
        each.seller
        for i in range(40)
        for each in clear(terms, scarce, known, bytes([i])).awards
        if each.is_newcomer
    }
    assert welcomed == {f"new{i}" for i in range(5)}


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"wanted": 0}, "wanted = 0; expected 1 to 65536"),
        ({"reserve_micro": 10**12 + 1}, "reserve_micro"),
        ({"operator_cap": 0}, "operator_cap"),
        ({"explore_permille": 501}, "explore_permille"),
        ({"newcomer_permille": 1001}, "newcomer_permille"),
    ],
)
def test_terms_out_of_bounds_are_refused(terms: dict[str, int], words: str) -> None:
    with pytest.raises(CannotClear, match=words):
        replace(PLAIN, **terms)  # type: ignore[arg-type]


def test_asks_out_of_bounds_are_refused() -> None:
    for micro, lots in ((0, 1), (-1, 1), (10**12 + 1, 1), (1, 0), (1, 4097)):
        with pytest.raises(CannotClear, match="expected 1 to"):
            Ask("s", "o", micro, lots)
    with pytest.raises(CannotClear, match="two asks of s0"):
        clear(PLAIN, singles(1) * 2, {}, SEED)
    for quality in (0, 1001):
        with pytest.raises(CannotClear, match="a quality of"):
            clear(PLAIN, singles(1), {"o0": quality}, SEED)


def test_an_ask_at_its_own_share_of_the_reserve_is_bought_and_one_above_is_not() -> None:
    half = {"o0": 500}
    assert lots_of(clear(PLAIN, singles(50), half, SEED)) == {"s0": 1}
    assert lots_of(clear(PLAIN, singles(51), half, SEED)) == {}


def test_the_price_is_anothers_where_one_offers_more_than_is_wanted() -> None:
    asks = [Ask("s0", "o0", 10, lots=5), Ask("s1", "o1", 20)]
    found = clear(PLAIN, asks, full(asks), SEED)
    assert lots_of(found) == {"s0": 2}
    assert found.price_micro == 20, "not the ask of the winner's own third lot"
