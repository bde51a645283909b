"""The page about threats reckons with numbers that hold."""

import re
from pathlib import Path
from random import Random

import pytest

from archipel.bench import reckoning
from archipel.bench.reckoning import (
    Rules,
    Terms,
    best_gain,
    found_where,
    gain,
    lives,
    mean_units,
    units_at_cost,
)
from archipel.lab.consequences import SLASH
from archipel.records.recipe_audit import AuditSection

PAGE = (Path(__file__).parents[2] / "docs/explanation/threat-model.md").read_text()
DEFAULT = AuditSection()
RULES = Rules(round(DEFAULT.floor * 1e6), stake=DEFAULT.stake)
FORMER = Rules(100_000)
"""By version 1 of the rules: nobody vouches."""


def said(quantity: str) -> float:
    found = re.search(rf"^\| {quantity} \| ([\d.]+) \|$", PAGE, re.M)
    assert found is not None, quantity
    return float(found[1])


def rows() -> list[tuple[float, float, float, float, float]]:
    """(share of the work, units and gain of a newcomer, the same of a known node)"""
    number = r"(-?[\d.]+)"
    line = rf"^\| {number} \| {number} \| {number} \| {number} \| {number} \|$"
    return [tuple(map(float, found)) for found in re.findall(line, PAGE, re.M)]  # type: ignore[misc]  # five of them


def test_the_page_speaks_of_the_default_recipe() -> None:
    assert said("floor") == DEFAULT.floor
    assert said("stake, in prices") == DEFAULT.stake
    assert said("part of an answer that is looked at") == DEFAULT.part
    assert DEFAULT.stake <= SLASH, "a hard verdict takes all of it"


@pytest.mark.parametrize(
    "row",
    [row if row[0] >= 0.3 else pytest.param(row, marks=pytest.mark.slow) for row in rows()],
    ids=lambda row: f"{row[0]:g}",
)
def test_cheating_in_any_share_of_the_work_loses_money(row: tuple[float, ...]) -> None:
    terms = Terms(
        saved=said("share of it saved"), cost=said("cost of a unit"), rejoining=said("cost of a new key")
    )  # fmt: skip
    share = row[0]
    for verified, units, gained in (
        (0, *row[1:3]),
        (int(said("answers found right before")), *row[3:]),
    ):
        found = lives(share, 1.0, RULES, verified, trials=50, seed=0)
        mean = sum(gain(life, terms) for life in found) / len(found)
        assert mean <= 0
        assert abs(mean - gained) < 1 + abs(gained) / 5
        assert abs(mean_units(found) - units) < 1 + units / 3


def test_the_page_has_the_shares_of_the_adversary_bench() -> None:
    assert [row[0] for row in rows()] == [1.0, 0.3, 0.1, 0.03]


def test_a_full_time_cheat_that_is_known_is_slashed_within_ten_units() -> None:
    assert mean_units(lives(1.0, 1.0, RULES, reckoning.KNOWN, trials=100, seed=1)) <= 10


def test_no_way_of_choosing_when_to_cheat_gains_anything() -> None:
    assert best_gain(RULES) == 0


def test_without_a_stake_or_at_half_the_rate_some_way_of_cheating_gains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert best_gain(FORMER, sweeps=10) > 0.5
    honest = reckoning.chance
    monkeypatch.setattr(
        reckoning, "chance", lambda *args, **named: max(honest(*args, **named) // 8, 1)
    )
    assert best_gain(RULES, sweeps=3) > 0


def test_no_draw_of_beginnings_finds_an_edited_last_token_more_often_than_it_reads() -> None:
    places, part = [n / 16 for n in range(1, 17)], DEFAULT.part
    whole = found_where([1.0] * round(100 * part) + [0.0] * round(100 * (1 - part)), places)
    assert whole == [part] * 16
    assert found_where([part] * 100, places)[-1] == 0
    for seed in range(50):
        random = Random(seed)
        drawn = [random.betavariate(random.uniform(0.05, 3), 2) for _ in range(100)]
        found = found_where(drawn, places)
        assert min(found) == found[-1] <= sum(drawn) / len(drawn)


def test_the_page_says_how_many_units_an_edited_token_takes_at_what_audits_may_cost() -> None:
    number = r"([\d.]+)"
    told = re.findall(rf"^\| {number} \| {number} \|$", PAGE, re.M)
    assert [row[0] for row in told] == ["0.17", "0.25", "0.32"]
    for whole, units in told:
        assert abs(units_at_cost(float(whole), 0.03) - float(units)) < 0.06
    assert units_at_cost(0.26, 0.03) <= 10
    assert 1 / (DEFAULT.floor * 0.65) < 10.3


def friends() -> list[tuple[float, float, float]]:
    """(share of audits that are friends', units, gain)"""
    number = r"(-?[\d.]+)"
    found = re.findall(rf"^\| {number} \| {number} \| {number} \|$", PAGE, re.M)
    return [tuple(map(float, each)) for each in found]  # type: ignore[misc]  # three of them


def test_the_page_says_how_many_friends_among_auditors_make_cheating_pay() -> None:
    assert [row[0] for row in friends()] == [0.5, 0.6, 0.8]
    for share, units, gained in friends():
        detected = (1 - share) * (1 + share * DEFAULT.floor)
        found = lives(1.0, detected, RULES, reckoning.KNOWN, trials=100, seed=0)
        mean = sum(gain(life, Terms(saved=1, cost=1)) for life in found) / len(found)
        assert (mean > 0) == (gained > 0)
        assert abs(mean - gained) < 3
        assert abs(mean_units(found) - units) < 3
