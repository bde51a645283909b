"""`plan decentralise`, one way of working together: exchange, waiting, penalty, churn, checking, cost.

The chain from price to cost: hours of useful work x penalty(n) x (1 + checking) / (goodput x utilisation x
kept share), at the market's price; the same work on one cluster at its own goodput and price. Only part of
reinforcement learning is bought from the market: the learner stays where it is, and waits as others do.
"""

from dataclasses import dataclass

from archipel.planning.laws.churn import blocking_goodput, elastic_goodput
from archipel.planning.laws.site_penalty import penalty
from archipel.planning.laws.staleness import steps_between_versions
from archipel.planning.laws.synchronisation import (
    broadcast_seconds,
    exposed_seconds,
    gather_seconds,
    ring_seconds,
    utilisation,
)
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import BITS, STEPS, bounded, share_of
from archipel.planning.questions.decentralise_market import Prices
from archipel.planning.questions.decentralise_run import METHODS, Run
from archipel.planning.requests.decentralise import DecentraliseRequest
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Chain:
    """One method, from an hour bought to a useful one."""

    name: str
    title: str
    steps: Quantity
    """Between exchanges."""
    wire: Quantity
    payload: Quantity
    """What one member sends."""
    exchange: Quantity
    compute: Quantity
    """One round's computing."""
    utilisation: Quantity
    penalty: Quantity
    goodput: Quantity
    checked: Quantity
    """Work paid per work kept, by checking and throwing away."""
    factor: Quantity
    """Accelerator-hours paid per useful one."""


@dataclass(frozen=True)
class Way(Chain):
    """The same with its costs."""

    hours: Quantity
    """Bought on the market."""
    central_hours: Quantity
    cost: Quantity
    central_cost: Quantity
    ratio: Quantity
    break_even: Quantity
    time: Quantity


def way_of(
    method: str, chosen: bool, run: Run, prices: Prices, request: DecentraliseRequest, shelf: Shelf
) -> Way:
    """A method's chain; options about the method count only for the chosen one."""
    asked = request if chosen else DecentraliseRequest(verification=request.verification)
    steps = _steps(method, asked, shelf)
    compute = _compute(method, run, steps)
    wire = wire_of(method, asked, shelf)
    payload, exchange = _exchange(method, run, wire, shelf)
    used = _utilisation(method, compute, exchange, shelf)
    extra = derive(
        f"{method}.penalty", "1",
        [(run.sites, "site"), (shelf[f"{_table(method)}.penalty_exponent"], "1")],
        penalty, f"decentral.sites^{_table(method)}.penalty_exponent",
        "compute for the same loss, over one site",
    )  # fmt: skip
    kept = _goodput(method, run, compute, exchange, shelf)
    checked = _checked(method, asked, shelf)
    factor = (extra * checked / (kept * used)).named(
        f"{method}.factor", "hours paid per useful hour on the market", "1"
    )
    chain = Chain(
        method, shelf.fact(f"{_table(method)}.title", method),
        steps, wire, payload, exchange, compute, used, extra, kept, checked, factor,
    )  # fmt: skip
    return _costed(chain, run, prices, shelf)


def _table(method: str) -> str:
    return f"method.{METHODS[method]}"


def _steps(method: str, asked: DecentraliseRequest, shelf: Shelf) -> Quantity:
    """Optimiser steps between exchanges: asked for, by the staleness allowed, as published."""
    about = "steps between exchanges"
    if asked.steps_per_sync:
        value = bounded(asked.steps_per_sync, STEPS, "--steps-per-sync")
        return given(f"{method}.steps_per_sync", value, "1", "--steps-per-sync", about)
    if method == "rl-rollouts":
        allowed = shelf["rl.staleness_safe"]
        if asked.staleness:
            value = bounded(asked.staleness, STEPS, "--staleness")
            allowed = given("rl.staleness", value, "1", "--staleness", "versions allowed to lag")
        return derive(
            f"{method}.steps_per_sync", "1", [(allowed, "1")], steps_between_versions,
            f"max({allowed.name} − 1, 1)", about,
        )  # fmt: skip
    return shelf[f"{_table(method)}.steps_per_sync"]


def _compute(method: str, run: Run, steps: Quantity) -> Quantity:
    """The computing between two exchanges: by the sites, or by the learner that they feed."""
    if method == "rl-rollouts":
        step = run.train_time
    else:
        step = run.flop / run.steps / (run.fleet * run.speed)
    return (step * steps).named(f"{method}.compute", "computing between exchanges", "s")


def wire_of(method: str, asked: DecentraliseRequest, shelf: Shelf) -> Quantity:
    """Bits per parameter that a member sends, asked for or as published."""
    if not asked.bits:
        return shelf[f"{_table(method)}.wire"]
    value = bounded(asked.bits, BITS, "--bits")
    return given(f"{method}.wire", value, "bit/param", "--bits", "bits per parameter sent")


def _exchange(method: str, run: Run, wire: Quantity, shelf: Shelf) -> tuple[Quantity, Quantity]:
    """What a member sends, and how long until all have everything."""
    payload = (run.params * wire).named(f"{method}.payload", "one member sends", "GB")
    name, about = f"{method}.exchange", "one exchange"
    if method == "rl-rollouts":
        spoken = f"{payload.name} / {run.down.name}"
        parents = [(payload, "bit"), (run.down, "bit/s")]
        return payload, derive(name, "s", parents, broadcast_seconds, spoken, about)
    if method == "sparseloco":
        dense = (run.params * shelf["decentralise.merged_bits"]).named(
            f"{method}.merged", "the merged update, dense", "GB"
        )
        parents = [
            (payload, "bit"), (dense, "bit"), (run.sites, "site"),
            (run.up, "bit/s"), (run.down, "bit/s"),
        ]  # fmt: skip
        spoken = (
            f"max({payload.name} / {run.up.name}, min((decentral.sites − 1) × {payload.name}, "
            f"{dense.name}) / {run.down.name})"
        )
        return payload, derive(name, "s", parents, gather_seconds, spoken, about)
    parents = [(payload, "bit"), (run.sites, "site"), (run.line, "bit/s")]
    spoken = f"2 × (1 − 1/decentral.sites) × {payload.name} / {run.line.name}"
    return payload, derive(name, "s", parents, ring_seconds, spoken, about)


def _utilisation(method: str, compute: Quantity, exchange: Quantity, shelf: Shelf) -> Quantity:
    overlap = shelf[f"{_table(method)}.overlap"]
    exposed = derive(
        f"{method}.exposed", "s", [(exchange, "s"), (compute, "s"), (overlap, "1")],
        exposed_seconds,
        f"{exchange.name} − min({overlap.name} × {exchange.name}, {compute.name})",
        "waiting in each exchange",
    )  # fmt: skip
    return derive(
        f"{method}.utilisation", "1", [(compute, "s"), (exposed, "s")], utilisation,
        f"{compute.name} / ({compute.name} + {exposed.name})", "share of time spent computing",
    )  # fmt: skip


def _goodput(
    method: str, run: Run, compute: Quantity, exchange: Quantity, shelf: Shelf
) -> Quantity:
    """What churn leaves of the paid time."""
    name, about = f"{method}.goodput", "share of paid time that churn leaves"
    if method == "data-parallel":
        parents = [
            (run.churn, "1/h"), (run.sites, "site"),
            (shelf["reliability.checkpoint.blocking"], "h"), (shelf["decentral.rejoin"], "h"),
        ]  # fmt: skip
        spoken = "every departure stops all sites; checkpoints at Young's interval"
        return derive(name, "1", parents, blocking_goodput, spoken, about)
    lasting = compute + exchange
    parents = [(run.churn, "1/h"), (lasting, "h"), (shelf["decentral.rejoin"], "h")]
    spoken = f"1 / (1 + churn.rate × (({compute.name} + {exchange.name})/2 + decentral.rejoin))"
    return derive(name, "1", parents, elastic_goodput, spoken, about)


def _checked(method: str, asked: DecentraliseRequest, shelf: Shelf) -> Quantity:
    """Paid per kept: a share is checked at a price, and some is thrown away."""
    share = shelf["decentral.verify.share"]
    if asked.verification:
        value = share_of(asked.verification, "--verification")
        about = "share of delivered work that is checked"
        share = given("verification.share", value, "1", "--verification", about)
    generated = method == "rl-rollouts"
    cost = shelf["decentral.verify.cost_ratio" if generated else "decentralise.replay_cost"]
    rejected = shelf["decentral.verify.rejected"]
    return ((1 + share * cost) / (1 - rejected)).named(
        f"{method}.verification", "work paid per work kept", "1"
    )


def _costed(chain: Chain, run: Run, prices: Prices, shelf: Shelf) -> Way:
    """Hours and money, on the market and on one cluster."""
    method = chain.name
    outside, learning = run.hours, None
    if method == "rl-rollouts":
        outside = run.hours * shelf["rl.inference_per_training"]
        learning = (run.hours / chain.utilisation).named(
            "rl.learner.hours", "hours of the learner", "accelerator*h"
        )
    bought = (outside * chain.factor).named(f"{method}.hours", "hours bought", "accelerator*h")
    useful = outside if learning is None else outside + run.hours
    central = (useful / prices.central_goodput).named(
        f"{method}.central_hours", "hours on one cluster", "accelerator*h"
    )
    cost = bought * prices.paid
    if learning is not None:
        cost = cost + learning * prices.central
    spare = central if learning is None else central - learning
    cost = cost.named(f"{method}.cost", "the run on the market", "USD")
    alone = (central * prices.central).named(
        f"{method}.central_cost", "the run on one cluster", "USD"
    )
    even = (spare / bought).named(
        f"{method}.break_even", "price ratio below which the market is cheaper", "1"
    )
    lasting = (bought / run.fleet / prices.availability).named(
        f"{method}.time", "time on these sites", "day"
    )
    ratio = (cost / alone).named(f"{method}.ratio", "cost over one cluster", "1")
    return Way(
        **vars(chain),
        hours=bought,
        central_hours=central,
        cost=cost,
        central_cost=alone,
        ratio=ratio,
        break_even=even,
        time=lasting,
    )
