"""Shares divided by a charter: to the last unit, and splitting an identity is worth nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.ownership import TREASURY, divided, moved
from archipel.records.recipe_charter import (
    MILLION,
    UNITS,
    CharterSection,
    CharterTerms,
    Contributor,
    charter_terms,
)
from people import identity

DIDS = sorted(identity(f"contributor {n}").did for n in range(3))
amounts = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-5, 10**15), max_size=8)


@st.composite
def charters(draw: st.DrawFn) -> CharterTerms:
    cuts = sorted(draw(st.lists(st.integers(0, MILLION), min_size=3, max_size=3)))
    parts = [high - low for low, high in zip([0, *cuts], [*cuts, MILLION], strict=True)]
    weights = draw(st.lists(st.integers(1, 10**9), min_size=1, max_size=3))
    named = tuple(
        Contributor(did=did, weight=each) for did, each in zip(DIDS, weights, strict=False)
    )
    return CharterTerms(
        providers=parts[0], sponsors=parts[1], data=parts[2], treasury=parts[3],
        ballots="shares", quorum=0, majority=MILLION // 2, voting_ms=1000, least=0,
        contributors=named if parts[2] else None,
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(charters(), amounts, amounts)
def test_every_unit_has_a_holder_and_nobody_has_more_than_its_part_comes_to(
    charter, earned, funded
) -> None:
    held = divided(charter, earned=earned, funded=funded)
    assert sum(held.values()) == UNITS
    assert all(units > 0 for who, units in held.items() if who != TREASURY)
    assert held[TREASURY] >= charter.treasury * (UNITS // MILLION)
    unclaimed, each_part = 0, UNITS // MILLION
    for given_by, part in ((earned, charter.providers), (funded, charter.sponsors)):
        if not any(each > 0 for each in given_by.values()):
            unclaimed += part * each_part
    rounded = held[TREASURY] - charter.treasury * each_part - unclaimed
    assert 0 <= rounded < len(earned) + len(funded) + len(DIDS)


@settings(deadline=None, max_examples=40)
@given(charters(), amounts, st.lists(st.integers(0, 10**14), min_size=1, max_size=100))
def test_several_identities_never_come_to_more_than_the_one_that_they_are(
    charter, others, pieces
) -> None:
    one = divided(charter, earned={**others, "one": sum(pieces)}, funded={})
    split = {f"piece {n}": each for n, each in enumerate(pieces)}
    many = divided(charter, earned={**others, **split}, funded={})
    assert sum(many.get(name, 0) for name in split) <= one.get("one", 0)
    for name in others:
        assert many.get(name) == one.get(name), "nor does anybody else lose or gain"


@settings(deadline=None, max_examples=25)
@given(charters(), amounts, amounts)
def test_the_order_in_which_pay_came_says_nothing(charter, earned, funded) -> None:
    back = dict(reversed(earned.items()))
    assert divided(charter, earned=earned, funded=funded) == divided(
        charter, earned=back, funded=dict(reversed(funded.items()))
    )


transfers = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcdef"), st.integers(-1, 10**12)),
    max_size=30,
)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10**12), min_size=1), transfers)
def test_whatever_is_given_on_all_is_still_held_and_nobody_holds_less_than_nothing(
    held, given_on
) -> None:
    total = sum(held.values())
    for source, target, units in given_on:
        may = source != target and 1 <= units <= held.get(source, 0)
        if not may:
            with pytest.raises(ValueError, match="units of"):
                moved(held, source, target, units)
            continue
        after = held | moved(held, source, target, units)
        held = {who: each for who, each in after.items() if each is not None}
        assert min(held.values()) > 0
        assert sum(held.values()) == total


def test_a_charter_says_whose_all_of_it_is() -> None:
    whole = charter_terms(CharterSection())
    assert whole is not None
    assert (whole.providers, whole.sponsors, whole.data, whole.treasury) == (
        700_000, 200_000, 0, 100_000,
    )  # fmt: skip
    assert charter_terms(None) is None
    with pytest.raises(ValueError, match=r"add up to 1\.1, expected 1"):
        CharterSection(providers=0.8)
    with pytest.raises(ValueError, match="name whose that part is"):
        CharterSection(data=0.1, treasury=0.0)
    with pytest.raises(ValueError, match="name whose that part is"):
        CharterSection(contributors={DIDS[0]: 1})
    with pytest.raises(ValueError, match="add up to 999999"):
        CharterTerms.model_validate(whole.model_dump() | {"providers": 699_999})
    named = {"data": 100_000, "treasury": 0}
    with pytest.raises(ValueError, match="in the order of their keys"):
        CharterTerms.model_validate(
            whole.model_dump()
            | named
            | {"contributors": tuple({"did": did, "weight": 1} for did in reversed(DIDS))}
        )
