"""`plan claims`: every reading computed from the tables, judged by one stated rule; a person may add claims."""

import math
from functools import cache

import numpy as np
import pytest

from archipel.planning.answering import Setting
from archipel.planning.asking import Ask
from archipel.planning.formula import formula
from archipel.planning.mistakes import CannotPlan, Impossible, UnitMismatch, UnknownName
from archipel.planning.plan import Plan
from archipel.planning.questions import claims_verdict as rule
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import bibliography, read_own, shelf
from planning.asked import constant, data, value

OWN = """
[claims.mine]
says = "renting 1,000 H100 for a year costs 10 million dollars"
claimed = {{value = 10, unit = "MUSD", kind = "published", source = "a newspaper, 2026"}}
compare = "{compare}"
{extra}
[claims.mine.readings]
market = "{formula}"
"""
RENT = "1000 * claim.one_machine * rental.h100 * lab.year * claim.one_year"


@cache
def _every() -> dict:
    return data("claims", all=True)


def _own(formula: str = RENT, compare: str = "about", extra: str = "") -> Plan:
    table = read_own(OWN.format(formula=formula, compare=compare, extra=extra), "mine.toml")
    return Ask("claims", REQUESTS["claims"](claim="mine"), Setting(samples=50), table).plan()


def _verdicts(found: dict) -> dict[str, str]:
    return {row[0]: row[1] for row in found["tables"][0]["rows"]}


# --- the computed figures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "units", "expected", "tolerance", "source"),
    [
        ("lab-100m.h100-press", "MUSD", math.sqrt(250 * 400), 1e-4, "press: 25,000 to 40,000 each"),
        ("lab-100m.h100-cluster", "MUSD", 492.5, 0.02, "bill of materials of 2024, 1,250 servers"),
        ("hour-100m.claimed", "USD/(accelerator*h)", 1.14, 0.002, "100 M over 10,000 GPUs x 8,766 h"),
        ("server-5kw.h100-nameplate", "kW/server", 10.2, 1e-6, "DGX H100 data sheet"),
        ("server-5kw.a100-nameplate", "kW/server", 6.5, 1e-6, "DGX A100 data sheet"),
        ("server-5kw.a100-average", "kW/server", 4.875, 1e-6, "6.5 kW x 0.75, Epoch"),
        ("server-5kw.b200-nameplate", "kW/server", 14.3, 1e-6, "DGX B200 data sheet"),
        ("gpus-over-half.development", "percent", 57, 1e-6, "Epoch: hardware 47 to 67 percent"),
        ("gpus-over-half.bernstein", "percent", 39, 1e-6, "Bernstein 2025"),
        ("gpus-over-half.gigawatt-year", "percent", 60, 0.03, "Epoch 2026: about 60 percent"),
        ("gpus-lose-value.performance", "1", 10**-0.42, 1e-6, "10^(-0.14 x 3)"),
        ("advantage-peaks.published", "year", 3.34, 0.002, "arXiv 2507.07931"),
        ("advantage-peaks.refit", "year", 2.90, 0.002, "with arXiv 2404.10102"),
        ("penalty.few", "1", 1.5, 0.003, "Epoch 2025: 8 groups"),
        ("forint-35bn.august", "MUSD", 100, 0.05, "350 forints to the dollar in the press"),
        ("nvidia-1400.market", "USD", 4e12, 0.01, "first passed on 9 July 2025"),
        ("rl-parity.echo2", "1", 35.75 / 35.30, 1e-6, "ECHO-2 against verl"),
        ("deepseek-cheaper.run-gpt4", "1", 5.576 / 40, 1e-6, "DeepSeek-V3 report over Epoch's GPT-4"),
        ("no-multi-site.strangers-general", "1", 4.75, 0.02, "Covenant-72B: 4.8e23 FLOP"),
        ("bigger-cannot-last.unbounded", "1", 2.0, 1e-9, "a lead that grows by a constant factor"),
    ],
)  # fmt: skip
def test_published_figures(
    name: str, units: str, expected: float, tolerance: float, source: str
) -> None:
    assert value(_every(), name, units) == pytest.approx(expected, rel=tolerance), source


def test_the_labs_are_those_of_plan_lab() -> None:
    lab, claims = data("lab", accelerators="10000", kind="h100"), _every()
    for there, here, units in (
        ("lab.purchase", "lab-100m.h100-lab", "USD"),
        ("lab.cost_per_hour", "hour-100m.h100-owned", "USD/(accelerator*h)"),
        ("lab.accelerators_share", "gpus-over-half.chips", "percent"),
    ):
        assert value(claims, here, units) == pytest.approx(value(lab, there, units)), here


def test_months_and_the_yearly_price_tell_the_same() -> None:
    found = _every()
    months = value(found, "access-100m.h100-months", "month")
    price = value(found, "hour-100m.h100-market") / value(found, "hour-100m.claimed")
    assert months * price == pytest.approx(12.0, rel=1e-6)


def test_a_break_even_price_is_where_costs_are_equal() -> None:
    found = _every()
    for few in ("8", "1000"):
        over = value(found, f"apart-is-cheaper.pretrain-{few}")
        slack = value(found, f"price-makes-up.pretrain-{few}.ratio")
        assert over * slack == pytest.approx(1.0, rel=1e-9)


def test_without_checks_and_losses_only_waiting_and_distance_cost() -> None:
    nothing = (
        "decentral.verify.share=0",
        "decentral.verify.rejected=0",
        "decentral.availability.rented=1",
    )
    found = data("claims", *nothing, all=True)
    assert value(found, "overhead.rl") == pytest.approx(1.0)
    busy = constant("decentral.utilisation.covenant")
    assert value(found, "apart-is-cheaper.pretrain-same-price") == pytest.approx(8**0.195 / busy)
    checked = data("claims", *nothing[1:], "decentral.verify.share=0.2", all=True)
    assert value(checked, "overhead.training") == pytest.approx(1.2 / busy), "a replay costs a step"


def test_if_small_models_gain_as_much_the_lead_is_the_published_one() -> None:
    alike = ("frontier.algorithmic.rate_small=2.8", "frontier.algorithmic.rate_frontier=2.8")
    found = data("claims", *alike, all=True)
    for name in ("advantage-peaks.{}", "bigger-cannot-last.{}"):
        one, other = (
            ("published", "small-slower") if "peaks" in name else ("loss", "loss-small-slower")
        )
        assert value(found, name.format(other)) == pytest.approx(value(found, name.format(one)))
    slower = _every()
    by_hand = math.log(math.log(1.4 * 2.23 * 3.57) / math.log(1.96)) / (
        0.155 * math.log(3.57 * 2.23 / 1.4)
    )
    assert value(slower, "advantage-peaks.small-slower") == pytest.approx(by_hand, rel=1e-6)


def test_costs_scale_with_the_price() -> None:
    price = constant("purchase.h100")
    twice = data("claims", f"purchase.h100={2 * price} USD/accelerator", claim="lab-100m")
    once = data("claims", claim="lab-100m")
    ratio = value(twice, "lab-100m.h100-market") / value(once, "lab-100m.h100-market")
    assert ratio == pytest.approx(2.0)


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_known_contradictions_are_exposed_not_hidden() -> None:
    found = _verdicts(_every())
    for slug in ("lab-100m", "server-5kw", "gpus-over-half", "no-multi-site", "apart-is-cheaper"):
        assert found[slug] == rule.DEPENDS, slug
    assert found["llama4-date"] == rule.FAILS, "it was April 2025"
    assert found["five-of-fifteen"] == rule.NO_NUMBER


def test_a_claim_that_only_one_reading_saves_says_so() -> None:
    rows = {row[0]: row[-1] for row in _every()["tables"][1]["rows"]}
    assert rows["price-makes-up.rl"] == "holds, only so read"
    assert rows["price-makes-up.pretrain-1000"] == rule.FAILS
    assert rows["gpus-lose-value.resale"] == rule.HOLDS


@pytest.mark.parametrize(
    ("comparison", "computed", "share"),
    [
        ("about", 14.9, 1.0),
        ("about", 6.7, 1.0),
        ("about", 15.1, 0.0),
        ("about", 6.6, 0.0),
        ("range", 8.0, 1.0),
        ("range", 12.1, 0.0),
        ("at least", 10.0, 1.0),
        ("more than", 10.0, 0.0),
        ("at most", 10.0, 1.0),
        ("less than", 10.0, 0.0),
    ],
)
def test_the_rule_in_one_world(comparison: str, computed: float, share: float) -> None:
    """Claimed: 10, as a range 8 to 12; about: within a factor of 1.5."""
    assert rule.share_true(comparison, computed, 10.0, (8.0, 12.0), 1.5) == share


def test_the_rule_counts_worlds() -> None:
    worlds = np.array([9.0, 11.0, 12.0, 13.0])
    assert rule.share_true("more than", worlds, 10.0, (0.0, 0.0), 1.5) == 0.75
    assert rule.share_true("more than", worlds, worlds + 1.0, (0.0, 0.0), 1.5) == 0.0, "paired"


def test_a_verdict_and_its_opposite_are_decided_alike() -> None:
    for share in np.linspace(0.0, 1.0, 41):
        mirrored = {rule.HOLDS: rule.FAILS, rule.FAILS: rule.HOLDS, rule.OPEN: rule.OPEN}
        assert rule.verdict(1.0 - share, 0.66) == mirrored[rule.verdict(share, 0.66)], share
    ends = [rule.verdict(share, 0.75) for share in (0.75, 0.5, 0.25)]
    assert ends == [rule.HOLDS, rule.OPEN, rule.FAILS]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([], rule.NO_NUMBER),
        ([rule.HOLDS, rule.HOLDS], rule.HOLDS),
        ([rule.HOLDS, rule.FAILS, rule.OPEN], rule.DEPENDS),
        ([rule.FAILS, rule.OPEN, rule.OPEN], rule.OPEN),
        ([rule.FAILS, rule.FAILS, rule.OPEN], rule.FAILS),
        ([rule.OPEN], rule.OPEN),
    ],
)
def test_a_claim_is_judged_by_its_readings(readings: list[str], expected: str) -> None:
    assert rule.overall(readings) == expected


def test_a_stricter_rule_decides_less() -> None:
    def undecided(likely: str) -> int:
        rows = data("claims", f"claim.rule.likely={likely}", all=True)["tables"][1]["rows"]
        return sum(row[-1] == rule.OPEN for row in rows)

    assert undecided("0.51") <= undecided("0.66") <= undecided("0.95")
    assert undecided("0.51") < undecided("0.95")


# --- form -----------------------------------------------------------------------------------------------------------


def test_every_claim_has_a_source_and_every_reading_words() -> None:
    found, known = _every(), bibliography()
    for row in found["tables"][0]["rows"]:
        assert row[-1] in known, row[0]
    facts = shelf().facts
    for name in facts:
        if name.startswith("claims.") and ".readings." in name:
            assert name.replace(".readings.", ".words.") in facts, name
        if name.startswith("claims.") and ".words." in name:
            assert name.replace(".words.", ".readings.") in facts, name


def test_all_readings_are_listed_on_demand_and_the_list_says_how_many_there_are() -> None:
    short, every = data("claims"), _every()
    assert 0 < len(short["tables"][1]["rows"]) < len(every["tables"][1]["rows"])
    assert short["title"] == every["title"]
    assert f"{len(every['tables'][1]['rows'])} readings" in every["title"]
    tallies = [row[2] for row in short["tables"][0]["rows"]]
    assert sum(int(each.split(" of ")[1]) for each in tallies if each != "none") == len(
        every["tables"][1]["rows"]
    )


def test_one_claim_shows_formulas_sources_and_who_made_it() -> None:
    found = data("claims", claim="SERVER-5kw")
    titles = [table["title"] for table in found["tables"]]
    assert titles == ["Claims", "Readings", "As claimed", "How it is computed"]
    formulas = {row[0]: row for row in found["tables"][3]["rows"]}
    assert "dgx-h100-sheet" in formulas["server-5kw.h100-nameplate"][2]
    assert "depends on the reading" in found["title"]


def test_a_claim_no_number_decides_says_what_would() -> None:
    found = data("claims", claim="five-of-fifteen")
    assert any("snapshot of the ranking" in remark for remark in found["remarks"])


def test_a_person_adds_a_claim_in_a_table() -> None:
    plan = _own()
    assert plan.title.startswith("“renting 1,000 H100")
    assert "does not hold" in plan.title, "1,000 x 2.95 x 8,766 h is 26 million"
    assert "does not hold" not in _own(compare="at least").title


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "kind", "words"),
    [
        ("rental.h10 * claim.one_year", UnknownName, "did you mean 'rental.h1"),
        ("model.h100.lb", UnknownName, "model.h100.lab"),
        ("rental.h100@1999-01", UnknownName, "no vintage 1999-01 .known: 2023-10"),
        ("rental.h100 +", CannotPlan, "got 'the end', expected a name or a number"),
        ("(rental.h100", CannotPlan, "expected a closing bracket"),
        ("rental.h100 rental.h100", CannotPlan, "expected an operator"),
        ("__import__", CannotPlan, "expected names such as"),
        ("rental.h100", UnitMismatch, "claims.mine.readings.market: got USD/accelerator/h"),
        ("rental.h100 + claim.one_year", UnitMismatch, "measure different things"),
        ("(" * 30 + "rental.h100" + ")" * 30, CannotPlan, "more than 20 brackets"),
        ("1 + " * 200 + "1", CannotPlan, "expected at most 400"),
    ],
)
def test_a_formula_that_cannot_be_read_is_named(formula: str, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        _own(formula)


@pytest.mark.parametrize(
    ("compare", "extra", "kind", "words"),
    [
        ("atleast", "", UnknownName, "did you mean 'at least'"),
        ("range", "", CannotPlan, "needs a figure with low and high"),
        (
            "about",
            'sayz = "x"',
            UnknownName,
            "unknown key of claims.mine 'sayz'; did you mean 'says'",
        ),
    ],
)
def test_a_claim_that_cannot_be_read_is_named(
    compare: str, extra: str, kind: type, words: str
) -> None:
    with pytest.raises(kind, match=words):
        _own(compare=compare, extra=extra)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[claims.mine]\ncompare = "about"', "'says' is missing"),
        ('[claims.mine]\nsays = "x"\nclaimed = "claim.budget"', "'readings' are missing"),
    ],
)
def test_what_a_claim_lacks_is_named(table: str, words: str) -> None:
    with pytest.raises(CannotPlan, match=words):
        Ask("claims", REQUESTS["claims"](), own=read_own(table, "mine.toml")).plan()


def test_an_unknown_claim_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'gpus-over-half'"):
        data("claims", claim="gpu-over-half")
    with pytest.raises(CannotPlan, match="--claim: got ','"):
        data("claims", claim=",")


@pytest.mark.parametrize("override", ["claim.rule.likely=0.3", "claim.rule.about=0.5"])
def test_a_rule_that_contradicts_itself_is_refused(override: str) -> None:
    with pytest.raises(Impossible, match=r"claim.rule.\w+: got 0.\d, expected"):
        data("claims", override)


def test_formulas_bind_as_on_paper() -> None:
    known = shelf()
    text = "1 + 2 * 3 - 8 / (2 + 2) - 1"
    found = formula(text, lambda name, _: known[name], "test")
    assert Draws().centre(found) == 4.0
    named = formula("purchase.a100-80 - purchase.a100-80", lambda name, _: known[name], "test")
    assert Draws().centre(named) == 0.0, "a hyphen belongs to the name, a minus has spaces"


@pytest.mark.parametrize("formula", ["claim.budget / 0", "claim.budget / 0 - claim.budget / 0"])
def test_a_reading_that_is_no_number_is_an_error_and_not_a_verdict(formula: str) -> None:
    with pytest.raises(CannotPlan, match=r"claims\.mine\.readings\.\w+: .*expected a number"):
        _own(formula)
