"""The demo's market: what its run offers for rollouts, and what energy costs where each of its machines pretends to stand.

A credit is a millionth of a dollar here, so that what a tiny model costs can be told in whole ones. Prices are those of
the planner's dated tables, and a test compares them.
"""

from dataclasses import dataclass

from archipel.demo.plan import DOOMED, FAST, LATE, SLOW, SLY
from archipel.records.recipe import Recipe
from archipel.records.recipe_charter import CharterSection
from archipel.records.recipe_market import MarketSection

CREDIT_USD = 1e-6
VCPU_USD_PER_HOUR = 0.0408
"""A rented processor, on demand (`cloud.vcpu`)."""
VCPU_WORDS = "AWS m7g.large, on demand, us-east-1, June 2026: cloud.vcpu in the planner's tables"
RATE = 14_000.0
"""Tokens that one processor samples of this model in a second of its time, as measured where the demo was made: for the
reserve alone; what the ending compares is measured anew."""
RESERVE = VCPU_USD_PER_HOUR / 3600 / RATE * 1e6 / CREDIT_USD
"""Credits for a million tokens: nothing is bought that a rented processor would do for less."""
LOTS, ROUND_S, PHASE_S = 2, 10.0, 2.5
"""Two machines keep the learner busy; they are asked for anew so often; so long for seals, and for opening them."""
_BUDGET_TIMES = 4.0
"""For audits, second copies and work that is done again; the unspent comes back."""
_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a machine pretends to stand."""

    region: str
    usd_per_kwh: float


STANDS = {
    FAST: Stand("us", 0.17),
    SLOW: Stand("de", 0.418),
    DOOMED: Stand("hu", 0.113),
    LATE: Stand("no", 0.123),
    SLY: Stand("bg", 0.142),
}
"""Households in 2025, with taxes (`energy.household`)."""


def traded(recipe: Recipe) -> Recipe:
    """The recipe with a market, a posted price that is the reserve's, and the default charter: who works for it owns it."""
    tokens = recipe.run.group_size * recipe.sampling.max_new_tokens
    posted_micro = round(RESERVE * tokens)  # credits a million tokens are micro-credits a token
    market = MarketSection(
        reserve=RESERVE,
        lots=LOTS,
        lot=RATE / 2,
        period_s=ROUND_S,
        commit_s=PHASE_S,
        reveal_s=PHASE_S,
        deposit=0.0,
        operator_cap=1,
        explore=0.5,
        central_price=RESERVE,
    )
    lease = recipe.lease.model_copy(update={"price_micro": posted_micro})
    return recipe.model_copy(update={"lease": lease, "market": market, "charter": CharterSection()})


def budget_micro(recipe: Recipe) -> int:
    """What is set aside for the run: every group at the reserve or the posted price, and more for what else may be."""
    run = recipe.run
    tokens = run.group_size * recipe.sampling.max_new_tokens
    group_micro = max(tokens * RESERVE, recipe.lease.price_micro)
    return round(_BUDGET_TIMES * run.versions * run.groups_per_update * group_micro)


def stand_options(name: str) -> list[str]:
    """What a node of this name is told when it joins."""
    stand = STANDS[name]
    return [
        *("--energy-price", str(stand.usd_per_kwh)),
        *("--region", stand.region),
        *("--credit-usd", str(CREDIT_USD)),
    ]
