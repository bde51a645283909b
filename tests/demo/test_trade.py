"""The demo's market pays what its tables say, and never more than a rented processor."""

from archipel.cli.recipes import find_recipe
from archipel.demo.plan import CAST
from archipel.demo.trade import (
    CREDIT_USD,
    RATE,
    RESERVE,
    STANDS,
    VCPU_USD_PER_HOUR,
    budget_micro,
    stand_options,
    traded,
)
from archipel.planning.tables import shelf
from archipel.records.recipe_market import market_terms

COUNTRIES = {"us": "usa", "de": "deu", "hu": "hun", "no": "nor", "bg": "bgr"}


def test_prices_are_those_of_the_dated_tables() -> None:
    tables = shelf()
    assert tables.entry("cloud.vcpu").figure.value == VCPU_USD_PER_HOUR
    for name, stand in STANDS.items():
        country = COUNTRIES[stand.region]
        assert tables.entry(f"energy.household.{country}").figure.value == stand.usd_per_kwh, name
    assert STANDS.keys() == CAST.keys()


def test_the_reserve_is_what_a_rented_processor_would_ask() -> None:
    an_hour = RATE * 3600 / 1e6 * RESERVE * CREDIT_USD
    assert abs(an_hour - VCPU_USD_PER_HOUR) < 1e-9
    recipe = traded(find_recipe("secret-order"))
    tokens = recipe.run.group_size * recipe.sampling.max_new_tokens
    terms = market_terms(
        recipe.market, posted_micro=recipe.lease.price_micro, tokens_per_group=tokens
    )
    assert terms is not None
    assert terms.reserve_micro == round(RESERVE * 1e6)
    assert abs(recipe.lease.price_micro / tokens - RESERVE) < 1
    assert recipe.digest == traded(find_recipe("secret-order")).digest


def test_the_budget_pays_every_token_several_times() -> None:
    recipe = traded(find_recipe("secret-order"))
    run = recipe.run
    groups = run.versions * run.groups_per_update
    assert budget_micro(recipe) >= 3 * groups * recipe.lease.price_micro


def test_every_machine_says_where_it_stands() -> None:
    for name in CAST:
        assert stand_options(name).count("--energy-price") == 1
