"""What can be asked about the frontier's advantage."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class MeekRequest:
    """A fixed budget against the frontier: how long the advantage lasts, when scale stops paying."""

    budget: str = option("", "what the fixed side spends on training; default: 1000 USD")
    frontier: str = option("", "what the frontier spends now; default: the largest known run")
    c0: str = option("", "compute at equal budgets, in FLOP; default: what the budget buys now")
    law: str = option("besiroglu", "loss law: meek (as published) or one of the Chinchilla fits")
    g_invest: str = option("", "growth of the frontier's investment, factor per year")
    g_alg: str = option("", "algorithmic progress alike at every scale, factor per year")
    g_hw: str = option("", "growth of compute per dollar, factor per year")
    years: str = option("15", "how many years ahead to look")
    threshold: str = option("0.05", "loss gap in nat per token that no longer matters")
    value: str = option("", "worth of one benchmark point; default: 10M USD, a guess")
    nat_value: str = option("", "worth of 0.01 nat per token, instead of --value")
    spend: str = option("100M USD", "budget to split between better methods and compute")
