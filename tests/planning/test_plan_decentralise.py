"""`plan decentralise`: published figures come out of it, and its trade-offs point the right way."""

import math
import re

import pytest

from archipel.planning.answering import named
from archipel.planning.asking import Ask
from archipel.planning.mistakes import (
    CannotPlan,
    Conflict,
    Impossible,
    UnitMismatch,
    UnknownName,
)
from archipel.planning.quantity import Quantity, ancestry
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import read_own
from archipel.planning.units import spell
from archipel.planning.wording import plan_text
from planning import asked

REQUEST = REQUESTS["decentralise"]
HOME = {"bandwidth": "60 Mbit/s", "supply": "1e7"}


def data(**options):
    return asked.data("decentralise", **options)


def value(found, name):
    return found["quantities"][name]["value"]


def centre(name, **options):
    return asked.centre("decentralise", name, **options)


def centres(**options):
    """Every central value as `data` gives it; nothing is drawn."""
    _, of = planned(said=False, **options)
    draws = Draws(count=1)
    rows = {name: {"value": draws.centre(q), "unit": spell(q.unit)} for name, q in of.items()}
    return {"quantities": rows}


def planned(*, said=True, **options):
    """What is said, and the quantities, of which nothing else is computed."""
    plan = Ask("decentralise", REQUEST(**options)).plan()
    return plan.said(Draws()) if said else "", named(plan)


def test_deepseek_v3_over_home_lines_takes_the_published_millennia():
    """Epoch (Sevilla, 2025): about 5,000 years of naive data parallel."""
    found = centres(
        params="671B", active_params="37B", tokens="14.8T", batch="62.9M",
        method="data-parallel", per_site="256", **HOME,
    )  # fmt: skip
    assert value(found, "naive.total") == pytest.approx(5000, rel=0.08)
    assert value(found, "naive.exchange") == pytest.approx(8.28 * 24 * 60, rel=0.01)


def test_ten_minutes_at_home_hold_six_hundred_million_parameters_naively():
    """Epoch (Sevilla, 2025)."""
    assert centre("naive.largest", **HOME) == pytest.approx(6e8, rel=0.07)


def test_both_readings_of_sparse_compression_are_shown():
    """Advertised by its authors, and as their public code stores it."""
    found = centres(method="sparseloco")
    assert value(found, "sparseloco.compression.advertised") == pytest.approx(146.3, rel=1e-3)
    assert value(found, "sparseloco.compression.stored") == pytest.approx(102.4, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "reduction"),
    [
        ({"method": "diloco", "steps_per_sync": "100"}, 400),  # INTELLECT-1: 8 of 32 bits
        ({"method": "diloco", "steps_per_sync": "500", "bits": "32"}, 500),  # DiLoCo (2023)
        ({"method": "data-parallel"}, 1),
    ],
)
def test_bits_saved_are_as_published(options, reduction):
    assert centre("sync.reduction", **options) == pytest.approx(reduction)


def test_sixty_two_gigabytes_reach_the_generators_in_the_published_time():
    """INTELLECT-2 (2025): 62 GB at 590 Mbit/s in 14 min."""
    found = centre("rl.broadcast_whole", params="31B", method="rl-rollouts", bandwidth="590 Mbit/s")
    assert found == pytest.approx(14 * 60, rel=0.01)


def test_a_delta_of_seven_billion_parameters_is_as_small_as_published():
    """PULSE (2026): 14 GB of weights, 108 MB of changes."""
    found = centre("rl-rollouts.payload", params="7B", method="rl-rollouts")
    assert found == pytest.approx(0.108, rel=0.01)


@pytest.mark.parametrize("price", ["1.2", "$1.20", "1.2 USD/h", "$1.20/h"])
def test_a_price_may_be_written_as_people_do(price):
    assert centre("market.price", price=price) == pytest.approx(1.2)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"price": "1"}, {"method": "rl-rollouts"}, {"method": "sparseloco"}, {"sites": "1"},
        {"bandwidth": "home"}, {"download": "1 Gbit/s"}, {"params": "1T", "active_params": "30B"},
        {"accelerator": "rtx4090", "per_site": "1"}, {"budget": "10k USD"}, {"mfu": "0.4"},
    ],
)  # fmt: skip
def test_every_answer_fits_a_screen_and_no_name_means_two_things(options):
    plan = Ask("decentralise", REQUEST(**options)).plan()
    cells = [cell for table in plan.tables for row in table.rows for cell in row]
    shown = [*plan.answers, *(cell for cell in cells if isinstance(cell, Quantity))]
    derived = [each for each in ancestry(shown) if each.name and each.parents]
    assert len({each.name for each in derived}) == len(derived)
    lines = plan_text(data(**options)).splitlines()
    assert len(lines) <= 135
    assert len(plan_text(data(**options), brief=True).splitlines()) <= 45
    verdict = data(**options)["verdict"]
    assert verdict.startswith(("With ", "This cannot run: "))
    assert len(verdict) <= 400


def test_covenant_72b_computes_for_the_share_of_time_it_published():
    """Covenant-72B (2026): 20 sites of 8 B200, SparseLoCo, 70 s per exchange, computing 94.5%."""
    found = centres(
        params="72B", tokens="1.1T", accelerator="b200", sites="20", method="sparseloco",
        bandwidth="6 Gbit/s",
    )  # fmt: skip
    assert value(found, "run.flop") == pytest.approx(4.8e23, rel=0.02)
    assert value(found, "sync.exchange") == pytest.approx(70, rel=0.05)
    assert value(found, "sync.utilisation") == pytest.approx(94.5, rel=0.02)


def test_asks_lie_around_their_median():
    found = centres()
    low, middle, high = (value(found, n) for n in ("market.ask_10", "rental.h100", "market.ask_90"))
    assert low < middle < high
    assert low * high == pytest.approx(middle**2, rel=1e-6)


def test_both_sources_of_the_penalty_stand_beside_each_other():
    found = centres(sites="8")
    assert value(found, "penalty.epoch") == pytest.approx(1.5, rel=0.01)
    assert value(found, "penalty.joint_fit") == pytest.approx(8**0.2355, rel=1e-3)


def test_the_market_costs_the_same_exactly_at_the_break_even_price():
    even = centre("break_even", central_price="2", price="1")
    found = centres(central_price="2", price=str(2 * even))
    assert value(found, "market.cost_ratio") == pytest.approx(1)


def test_rollouts_break_even_where_learner_and_generators_together_cost_the_cluster():
    options = {"method": "rl-rollouts", "central_price": "2"}
    even = centre("break_even", price="1", **options)
    assert centre("market.cost_ratio", price=str(2 * even), **options) == pytest.approx(1)


def test_cost_is_proportional_to_price():
    one, three = (centre("market.cost", price=price) for price in ("1", "3"))
    assert three == pytest.approx(3 * one)


def test_a_subsidy_stripped_out_raises_the_price_by_what_buyers_did_not_pay():
    asked = centres(price="1")
    stripped = centres(price="1", subsidy="75 percent")
    assert value(stripped, "market.unsubsidised") == pytest.approx(4)
    assert value(stripped, "market.cost") == pytest.approx(4 * value(asked, "market.cost"))


@pytest.mark.parametrize(
    "method", ["data-parallel", "diloco", "streaming-diloco", "sparseloco", "rl-rollouts"]
)
def test_a_faster_line_never_costs_more_and_more_churn_never_less(method):
    slow = centre("market.cost", method=method, bandwidth="20 Mbit/s")
    fast = centre("market.cost", method=method, bandwidth="2 Gbit/s")
    assert fast <= slow
    calm = centre("market.cost", method=method, churn="0.01/day")
    rough = centre("market.cost", method=method, churn="5/day")
    assert calm < rough


def test_one_site_has_no_penalty_and_exchanges_nothing():
    found = centres(sites="1")
    assert value(found, "diloco.penalty") == 1
    assert value(found, "diloco.exchange") == 0
    assert value(found, "diloco.utilisation") == 1


def test_more_sites_need_more_compute_and_clear_dearer():
    few, many = centres(sites="4"), centres(sites="64")
    assert value(few, "diloco.penalty") < value(many, "diloco.penalty")
    assert value(few, "market.price") < value(many, "market.price")


def test_a_stay_is_the_inverse_of_a_rate():
    rate = centre("churn.leaving", churn="0.25/day")
    assert centre("churn.leaving", churn="4 days") == pytest.approx(rate)


def test_a_budget_buys_the_tokens_whose_run_costs_it():
    found = centres(budget="50k USD")
    assert value(found, "market.cost") == pytest.approx(50_000, rel=0.01)
    again = centres(tokens=str(value(found, "run.tokens")))
    assert value(again, "market.cost") == pytest.approx(50_000, rel=0.01)


def test_active_parameters_decide_the_work_and_all_of_them_the_exchange():
    dense, sparse = centres(tokens="100B"), centres(tokens="100B", active_params="2B")
    assert value(sparse, "run.flop") == pytest.approx(value(dense, "run.flop") / 4)
    assert value(sparse, "diloco.payload") == value(dense, "diloco.payload")


def test_checking_everything_costs_as_much_again():
    none, all_ = (centre("market.cost", verification=share) for share in ("0", "1"))
    assert all_ == pytest.approx(2 * none)


def test_the_learner_stays_busy_with_the_generators_that_the_rule_activates():
    found = centres(method="rl-rollouts", staleness="4")
    assert value(found, "rl-rollouts.steps_per_sync") == 3
    assert value(found, "rl.activate") >= value(found, "market.accelerators")
    assert value(found, "rl.broadcast_whole") > 100 * value(found, "rl-rollouts.exchange")


def test_a_model_too_large_for_a_site_is_said_with_the_size_that_fits():
    found = data(params="70B", per_site="8")
    assert any("at least 14 accelerators" in remark for remark in found["remarks"])
    assert "cannot hold" in found["verdict"]


@pytest.mark.parametrize(
    ("options", "mistake", "words"),
    [
        ({"method": "dilocco"}, UnknownName, "'diloco'"),
        ({"accelerator": "h1000"}, UnknownName, "'h100'"),
        ({"bandwidth": "ofice"}, UnknownName, "'office'"),
        ({"budget": "5 kW"}, UnitMismatch, "money"),
        ({"churn": "often"}, UnitMismatch, "--churn"),
        ({"bandwidth": "3 kW"}, UnitMismatch, "Mbit/s"),
        ({"bandwidth": "3 parsec"}, UnitMismatch, "home, office, datacentre"),
        ({"sites": "1.5"}, Impossible, "whole number"),
        ({"bits": "1e30"}, Impossible, "--bits"),
        ({"staleness": "4"}, Conflict, "drop --staleness"),
        (
            {"method": "rl-rollouts", "staleness": "4", "steps_per_sync": "3"},
            Conflict, "--steps-per-sync",
        ),
        ({"price": "1", "supply": "500"}, Conflict, "drop --supply"),
        ({"budget": "1k", "tokens": "1B"}, Conflict, "drop --tokens"),
        ({"sites": "100000"}, Impossible, "at most 375 sites"),
        ({"budget": "0.01"}, Impossible, "at least $"),
        ({"active_params": "9B"}, Impossible, "--params"),
        ({"subsidy": "1"}, Impossible, "below 1"),
        ({"price": "1", "spot": True}, Conflict, "--spot"),
        ({"region": "eu"}, UnknownName, "unknown region 'eu'"),
        ({"accelerator": "gaudi2"}, CannotPlan, "--central-price"),
        ({"country": "atlantis"}, UnknownName, "'atlantis'"),
        ({"deadline": "0"}, Impossible, "--deadline"),
        ({"mfu": "1.4"}, Impossible, "--mfu"),
        ({"verification": "200 percent"}, Impossible, "0 to 1"),
    ],
)  # fmt: skip
def test_bad_input_names_the_problem_and_the_way_out(options, mistake, words):
    with pytest.raises(mistake) as caught:
        Ask("decentralise", REQUEST(**options)).plan()
    assert words in str(caught.value)


def test_a_method_too_dear_to_show_leaves_the_picture_but_not_the_table():
    found = data(bandwidth="10 Mbit/s", supply="1e6")
    assert "data-parallel" in [row[0] for row in found["tables"][0]["rows"]]
    for chart in found["charts"][:2]:
        assert max(max(line["y"]) for line in chart["series"]) <= 100


@pytest.mark.parametrize("written", ["1Gbps", "1 Gbit/s", "1000 Mbps", "1000mbps", "1 Gb/s"])
def test_a_line_may_be_written_as_it_is_advertised(written):
    assert value(centres(bandwidth=written), "site.upload") == pytest.approx(1000)


@pytest.mark.parametrize("bandwidth", ["datacentre", "60 Mbit/s", "office", "1 Gbit/s"])
@pytest.mark.parametrize("supply", ["400", "3000", "1e6"])
def test_the_share_of_worlds_and_not_the_centre_says_who_wins(bandwidth, supply):
    verdict, _ = planned(bandwidth=bandwidth, supply=supply)
    found = re.match(r"With diloco (.*?), (?:the market )?(cheaper|dearer) in (.*?)% of", verdict)
    said = int(found[3].removeprefix("more than "))
    share = said if found[2] == "cheaper" else 100 - said
    expected = "market wins" if share >= 60 else "market loses" if share <= 40 else "undecided"
    assert expected in found[1], verdict


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"bandwidth": "10 Mbit/s", "method": "data-parallel", "price": "0.001"},
            "the machines last",
        ),
        ({"params": "30B", "sites": "2", "tokens": "5T", "price": "0.001"}, "the machines last"),
        ({"params": "8B", "sites": "1", "tokens": "2T", "price": "0.001"}, "too long to pay"),
        ({"deadline": "2 days", "price": "0.001"}, "too late: it takes"),
        ({"params": "70B", "sites": "2", "price": "0.001"}, "cannot hold"),
    ],
)
def test_what_nobody_can_wait_for_or_hold_says_so_first_and_is_not_called_cheaper(options, reason):
    verdict, of = planned(**options)
    at = Draws(count=1).centre
    assert at(of["market.cost_ratio"]) < 1 or "10 Mbit/s" in options.values()
    assert reason in verdict.partition(". ")[0]
    assert not re.search("wins|cheaper", verdict)
    limit = at(of["market.deadline" if "deadline" in options else "train.longest"].to("day"))
    for best in re.findall("Cheapest here: (.*?),", verdict):
        faster = at(of[f"{best}.ratio"]) / at(of["market.cost_ratio"])  # at one price
        assert faster * at(of["market.time"]) <= limit


@pytest.mark.parametrize("options", [{}, {"method": "sparseloco", "bandwidth": "1 Gbit/s"}])
def test_the_sites_that_a_deadline_needs_keep_it_and_one_fewer_does_not(options):
    needed = centre("deadline.sites", deadline="3 days", **options)
    assert 16 < needed < 375
    enough, fewer = (
        centre("market.time", sites=f"{n:.0f}", **options) for n in (needed, needed - 1)
    )
    assert enough <= 3 < fewer


def test_a_deadline_that_no_number_of_sites_keeps_is_said_to_be_out_of_reach():
    verdict, of = planned(deadline="2 hours")
    assert math.isinf(Draws(count=1).centre(of["deadline.sites"]))
    assert "No number of sites on offer would change that" in verdict


def test_spot_and_regions_are_taken_from_the_tables_and_spot_else_by_its_discount():
    discount = asked.constant("decentral.price.interruptible_discount")
    price = centre("market.price")
    assert centre("market.price", spot=True) == pytest.approx((1 - discount) * price)
    rent = '{value = VALUE, unit = "USD/(accelerator*h)", kind = "assumed", source = "me"}'
    own = read_own(
        f"[rental.spot]\nh100 = {rent.replace('VALUE', '1')}\n"
        f"[rental.region.eu]\nh100 = {rent.replace('VALUE', '4')}\n",
        "own.toml",
    )
    expected = {("spot", True): 1.0, ("region", "eu"): 4.0}
    for (option, chosen), median in expected.items():
        plan = Ask("decentralise", REQUEST(**{option: chosen}), own=own).plan()
        rows = next(table.rows for table in plan.tables if table.title == "From price to cost")
        asks = next(row[1] for row in rows if row[0] == "median ask")
        assert Draws(count=1).centre(asks) == median
    with pytest.raises(UnknownName, match="'eu'"):
        Ask("decentralise", REQUEST(region="eux"), own=own).plan()


def test_carbon_is_the_electricity_at_the_grids_carbon_and_a_cluster_needs_less_of_it():
    found = centres(country="usa=1,fra=3")
    mean = (asked.constant("energy.carbon.usa") + 3 * asked.constant("energy.carbon.fra")) / 4
    energy = asked.value(found, "market.energy", "kWh")
    assert asked.value(found, "market.co2", "g") == pytest.approx(energy * mean)
    assert value(found, "central.co2") < value(found, "market.co2")
    bought, alone = value(found, "diloco.hours"), value(found, "diloco.central_hours")
    assert energy / bought == pytest.approx(asked.value(found, "central.energy", "kWh") / alone)


def test_churn_that_takes_nothing_has_no_row_of_its_own():
    def kept(**options):
        rows = next(t for t in data(**options)["tables"] if t["title"] == "From price to cost")
        return [row[0] for row in rows["rows"] if "churn" in str(row[0])]

    assert kept(churn="5/day")
    assert not kept(churn="0/day")
