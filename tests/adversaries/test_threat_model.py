"""The page about threats reckons with numbers that hold."""

import re
from pathlib import Path

from archipel.bench.reckoning import Rules, Terms, gain, lives
from archipel.lab.consequences import SLASH
from archipel.records.recipe_audit import AuditSection

PAGE = (Path(__file__).parents[2] / "docs/explanation/threat-model.md").read_text()


def said(quantity: str) -> float:
    found = re.search(rf"^\| {quantity} \| ([\d.]+) \|$", PAGE, re.M)
    assert found is not None, quantity
    return float(found[1])


def mean_gain(verified: int, stake: float, share: float = 1.0) -> float:
    terms = Terms(
        saved=said("share of it saved"), cost=said("cost of a unit"), stake=stake,
        rejoining=said("cost of a new key"),
    )  # fmt: skip
    rules = Rules(round(said("floor") * 1e6))
    found = lives(share, 1.0, rules, verified, trials=400, seed=0)
    return sum(gain(life.forged, terms) for life in found) / len(found)


def test_the_page_speaks_of_the_default_rate() -> None:
    assert said("floor") == AuditSection().floor


def test_a_newcomer_gains_nothing_and_a_known_node_gains_without_a_stake() -> None:
    known = int(said("answers found right before"))
    assert mean_gain(0, said("stake")) == 0
    assert 15 < mean_gain(known, said("stake")) < 25


def test_a_newcomer_that_forges_a_small_part_gains_as_the_page_says() -> None:
    found = re.search(r"at a share of ([\d.]+) it forges about (\d+) units", PAGE)
    assert found is not None
    forged = mean_gain(0, said("stake"), float(found[1])) + 1
    assert abs(forged - float(found[2])) < 2


def test_with_the_stake_that_the_page_names_cheating_loses_money() -> None:
    found = re.search(
        r"stake of at least (\d+) prices, which a hard verdict takes \(up to (\d+)\)", PAGE
    )
    assert found is not None
    assert int(found[1]) <= int(found[2]) == SLASH
    assert mean_gain(int(said("answers found right before")), float(found[1])) < 0
