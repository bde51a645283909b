"""The market's bench finds a lie that pays where there is one, and none where none may pay."""

import json
from dataclasses import replace
from itertools import islice

import pytest
from click.testing import CliRunner

from archipel.bench.market import ARMS, Arm, Outcome, Plan, outcomes
from archipel.bench.market_report import broken, summary, table
from archipel.cli.bench_market import ARM_NAMES, command

CLAIMED = [arm for arm in ARMS if arm.is_claimed]
OTHERS = [arm for arm in ARMS if not arm.is_claimed]


def silent(text: str) -> None:
    """Nobody listens."""


def few(arm: Arm, markets: int, replies: int = 4) -> list[Outcome]:
    return list(outcomes(arm, Plan(markets, replies), silent))


@pytest.mark.parametrize("arm", CLAIMED, ids=lambda arm: arm.name)
def test_no_lie_pays_where_none_may(arm: Arm) -> None:
    found = few(arm, 60)
    assert broken({arm.name: found}) == []
    assert sum(each.tried for each in found) > 300


@pytest.mark.slow
@pytest.mark.parametrize("arm", CLAIMED, ids=lambda arm: arm.name)
def test_no_lie_pays_in_thousands_of_markets(arm: Arm) -> None:
    assert broken({arm.name: few(arm, 5000, 8)}) == []


@pytest.mark.parametrize("arm", OTHERS, ids=lambda arm: arm.name)
def test_lies_that_pay_are_found_where_the_assumptions_do_not_hold(arm: Arm) -> None:
    """So the search can find them: were a claimed arm's rule broken, it would be seen."""
    found = few(arm, 60)
    row = summary(arm, found)
    assert row["markets_where_a_lie_pays"] > 3
    assert row["largest_gain_over_spent"] > 0.01
    assert row["gain_over_spent"]["mean"] > 0
    assert row["gain_over_spent"]["low"] < row["gain_over_spent"]["high"]


def test_a_claim_that_fails_is_named() -> None:
    arm = CLAIMED[0]
    found = few(arm, 11)
    wrong = [*found, replace(found[0], gain=1)]
    assert broken({arm.name: wrong}) == [arm.name]
    assert broken({OTHERS[0].name: wrong}) == []


def test_a_seed_draws_the_same_markets_and_another_draws_others() -> None:
    arm = ARMS[2]
    assert few(arm, 11) == list(islice(outcomes(arm, Plan(50), silent), 11))
    assert few(arm, 11) != list(outcomes(arm, Plan(11, seed=1), silent))


def test_paid_is_never_less_than_cost_and_the_table_names_what_was_assumed() -> None:
    found = few(ARMS[1], 22)
    assert all(each.spent >= each.cost for each in found)
    text = table({ARMS[1].name: found})
    assert ARMS[1].assumption in text
    assert "collusion" not in text


def test_the_command_prints_every_arm_asked_for() -> None:
    assert tuple(arm.name for arm in ARMS) == ARM_NAMES
    asked = ["--arm", "newcomers", "--arm", "withholding", "--markets", "11", "--json"]
    shown = CliRunner().invoke(command, asked)
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)["arms"]
    assert [(row["arm"], row["markets"]) for row in rows] == [
        ("newcomers", 11),
        ("withholding", 11),
    ]
