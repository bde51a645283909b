"""`plan serve`, several models: a cascade of this one with a large one, and k specialists with a router."""

from dataclasses import dataclass
from typing import Any

from archipel.planning.laws import cascade, scaling, specialists
from archipel.planning.laws.specialists import Fields
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import FLOP, MONEY, SPECIALISTS, bounded, checked
from archipel.planning.questions.serve_asked import share
from archipel.planning.questions.serve_money import PER_MILLION, Hosted, Own
from archipel.planning.questions.train_fit import FitQ, best_loss, best_params, best_tokens, fit_of
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of


@dataclass(frozen=True)
class Cascade:
    """Small first, large when needed; and the same calls by a router."""

    escalated: Quantity
    cost: Quantity
    routed: Quantity
    saved: Quantity
    routed_saved: Quantity
    recovered: Quantity
    largest: Quantity


@dataclass(frozen=True)
class Specialists:
    """Both ways of spending one budget."""

    count: Quantity
    flop: Quantity
    fit: FitQ
    generalist: Quantity
    generalist_tokens: Quantity
    generalist_loss: Quantity
    size: Quantity
    loss: Quantity
    gain: Quantity
    worth: Quantity
    """The generalist's budget that would do as well, over this one."""
    stored: Quantity


def cascade_of(own: Own, large: Hosted, request: ServeRequest, shelf: Shelf) -> Cascade:
    """Costs per million tokens, and how much of the gap is kept."""
    escalated = shelf["cascade.strong_share"]
    if request.escalate:
        escalated = share(
            request.escalate, "cascade.escalated", "--escalate", "requests that need the large one"
        )
    costs = [(own.cost, PER_MILLION), (large.cost, PER_MILLION), (escalated, "1")]
    spoken = f"{own.cost.name} + {escalated.name} × {large.cost.name}"
    cost = derive(
        "cascade.cost", PER_MILLION, costs, cascade.cascade_cost, spoken,
        "a million tokens, small first",
    )  # fmt: skip
    routed = derive(
        "router.cost", PER_MILLION, costs, cascade.router_cost,
        f"(1 − {escalated.name}) × {own.cost.name} + {escalated.name} × {large.cost.name}",
        "a million tokens, router before both",
    )  # fmt: skip
    saved, routed_saved = (
        (1 - each / large.cost).named(f"{name}.saving", "saved against the large one", "percent")
        for name, each in (("cascade", cost), ("router", routed))
    )
    skill = shelf["serve.router_skill"]
    kept = derive(
        "router.recovered", "percent", [(escalated, "1"), (skill, "1")],
        lambda calls, exponent: 100.0 * cascade.recovered(calls, exponent),
        f"1 − (1 − {escalated.name})^{skill.name}", "gap between small and large recovered",
    )  # fmt: skip
    largest = derive(
        "cascade.largest", "percent", [(own.cost, PER_MILLION), (large.cost, PER_MILLION)],
        lambda small, big: 100.0 * cascade.largest_escalation(small, big),
        f"1 − {own.cost.name} / {large.cost.name}",
        "escalated share above which the large one alone is cheaper",
    )  # fmt: skip
    return Cascade(escalated, cost, routed, saved, routed_saved, kept, largest)


def specialists_of(request: ServeRequest, shelf: Shelf) -> Specialists:
    """One budget spent both ways, under one published fit."""
    count = _count(request)
    fit = fit_of(shelf.choose("law.chinchilla", request.fit, "fit"), shelf)
    flop = _budget(request, shelf)
    alone = best_params(fit, flop, "generalist.params")
    alone_loss = best_loss(fit, flop, "generalist.loss")
    fields = _fields(count, request, shelf)
    size = fit.apply(
        "specialists.params", "param", [(alone, "param"), (flop, "FLOP"), *fields], _best,
        ("argmin of the loss over sizes", "best size of one specialist"),
    )  # fmt: skip
    loss = fit.apply(
        "specialists.loss", "nat/token", [(size, "param"), (flop, "FLOP"), *fields], _loss,
        ("inside × expert + the rest × base", "loss over all requests, specialists and router"),
    )  # fmt: skip
    worth = fit.apply(
        "specialists.worth", "1", [(loss, "nat/token"), (flop, "FLOP")],
        lambda target, spent, constants: scaling.flop_for_loss(target, constants) / spent,
        ("C of a generalist of specialists.loss / C", "times the budget that a generalist needs"),
    )  # fmt: skip
    gain = (alone_loss - loss).named("specialists.gain", "loss below the generalist", "nat/token")
    stored = (size * (count + 1)).named("specialists.stored", "parameters of all", "param")
    tokens = best_tokens(fit, flop, "generalist.tokens")
    return Specialists(
        count, flop, fit, alone, tokens, alone_loss, size, loss, gain, worth, stored
    )  # fmt: skip


def _count(request: ServeRequest) -> Quantity:
    number = bounded(request.specialists, SPECIALISTS, "--specialists")
    return given("specialists.count", number, "1", "--specialists", "specialists")


def _fields(count: Quantity, request: ServeRequest, shelf: Shelf) -> list[tuple[Quantity, str]]:
    """The parents of `Fields`, in its order but for the base's share, which follows from two of them."""
    inside = shelf["serve.inside"]
    if request.domain_share:
        inside = share(
            request.domain_share,
            "specialists.inside",
            "--domain-share",
            "requests inside the fields",
        )
    names = ("serve.transfer", "specialist.size_factor", "specialist.training_share")
    parts = [shelf[name] for name in (*names, "specialist.router_accuracy")]
    return [(count, "1"), *((part, "1") for part in parts), (inside, "1")]


def fields_from(
    count: Any, transfer: Any, factor: Any, part: Any, accuracy: Any, inside: Any
) -> Fields:
    """`Fields` from plain numbers: the base takes what the specialists leave."""
    left = specialists.base_share(count, part)
    return Fields(count, transfer, factor, left, accuracy, inside)


def _best(alone: Any, flop: Any, *rest: Any) -> Any:
    *given_fields, fit = rest
    return specialists.best_params(alone, flop, fields_from(*given_fields), fit)


def _loss(size: Any, flop: Any, *rest: Any) -> Any:
    *given_fields, fit = rest
    return specialists.together_loss(size, flop, fields_from(*given_fields), fit)


def _budget(request: ServeRequest, shelf: Shelf) -> Quantity:
    """The training budget as compute, bought at the rental price of an H100 if it is money."""
    kinds = {"compute": "FLOP", "money": "USD"}
    which, value = kind_of(request.training_budget, kinds, "--training-budget")
    checked(
        value, FLOP if which == "compute" else MONEY, request.training_budget, "--training-budget"
    )
    about = "training compute of all together"
    if which == "compute":
        return given("specialists.flop", value, "FLOP", "--training-budget", about)
    money = given("specialists.budget", value, "USD", "--training-budget", "training budget")
    useful = shelf["accelerator.h100.bf16"] * shelf["mfu.default"]
    return (money / shelf["rental.h100"] * useful).named("specialists.flop", about, "FLOP")
