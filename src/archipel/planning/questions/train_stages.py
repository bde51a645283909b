"""A run's stages: how accelerator time is split over them, and what each trains on, takes and costs.

Shares are of accelerator time, so that a stage that generates (reinforcement learning) and one that only
trains can share one budget.
"""

from dataclasses import dataclass

from archipel.planning.mistakes import Conflict, Impossible, nearest
from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, given, pure, total
from archipel.planning.questions import train_rl
from archipel.planning.questions.bounds import WEIGHT, bounded
from archipel.planning.questions.train_asked import STAGES, Asked
from archipel.planning.questions.train_fit import FitQ
from archipel.planning.questions.train_fleet import Bill, Fleet, bill, centre, hours_of
from archipel.planning.questions.train_memory import Model
from archipel.planning.questions.train_rl import Learning
from archipel.planning.questions.train_size import Size, counting, size_of
from archipel.planning.requests.train import TrainRequest
from archipel.planning.tables import Shelf

TITLES = {
    "pretrain": "pre-training",
    "mid": "mid-training",
    "sft": "supervised fine-tuning",
    "rl": "reinforcement learning",
}


@dataclass(frozen=True)
class Setup:
    """What every stage is computed with."""

    asked: Asked
    fit: FitQ
    fleet: Fleet
    request: TrainRequest
    shelf: Shelf


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str
    tokens: Quantity
    flop: Quantity
    bill: Bill


@dataclass(frozen=True)
class Run:
    """All stages of a run on one fleet."""

    model: Model
    size: Size | None
    """Of pre-training; None when a model that exists is continued."""
    stages: tuple[Stage, ...]
    bill: Bill
    learning: Learning | None
    fleet: Fleet


def run_of(setup: Setup) -> Run:
    """The run on a fleet of known size."""
    if setup.asked.stage in ("mid", "sft", "rl"):
        return _continued(setup)
    weights = _weights(setup)
    fixed = train_rl.hours_asked(setup.request)
    size = size_of(setup.asked, setup.fit, _pretrain_flop(setup, weights, fixed), setup.shelf)
    size = counting(size, setup.fleet.attention)
    first = hours_of(size.flop, setup.fleet, "pretrain.hours")
    stages = [_stage("pretrain", size.tokens, size.counted or size.flop, first, setup)]
    for name in ("mid", "sft"):
        if name in weights:
            hours = first * (weights[name] / weights["pretrain"])
            stages.append(_later(name, size.active, hours, setup))
    if fixed is None and "rl" in weights and not setup.request.rollouts:
        fixed = first * (weights["rl"] / weights["pretrain"])
    learning = None
    if fixed is not None or setup.request.rollouts:
        learning = train_rl.learning(size.active, fixed, setup.fleet, setup.request, setup.shelf)
        stages.append(_rl_stage(learning, setup))
    return _together(Model(size.params, size.active), size, stages, learning, setup)


def _continued(setup: Setup) -> Run:
    """A later stage alone, of a model that exists."""
    asked, fleet = setup.asked, setup.fleet
    whole = _budget_hours(setup)
    params = asked.params
    if params is None:
        raise Conflict(f"--stage {asked.stage}: add --params")
    active = asked.active or params
    if asked.stage == "rl":
        hours = whole or train_rl.hours_asked(setup.request)
        learning = train_rl.learning(active, hours, fleet, setup.request, setup.shelf)
        stages = [_rl_stage(learning, setup)]
        return _together(Model(params, active), None, stages, learning, setup)
    if whole is None and asked.tokens is not None:
        flop = (setup.shelf["law.flop.training"] * active * asked.tokens).to("FLOP")
        whole = hours_of(flop, fleet)
    if whole is None:
        raise Impossible(f"--stage {asked.stage}: add --tokens or --budget")
    return _together(
        Model(params, active), None, [_later(asked.stage, active, whole, setup)], None, setup
    )


def _budget_hours(setup: Setup) -> Quantity | None:
    """The accelerator-hours that the budget buys; None without a budget."""
    asked, fleet = setup.asked, setup.fleet
    if asked.budget is None:
        return None
    if asked.budget_kind == "money":
        hours = asked.budget / fleet.price
    elif asked.budget_kind == "time":
        hours = asked.budget * fleet.count
    else:
        hours = asked.budget / fleet.rate
    return hours.named("train.budget_hours", "accelerator-hours of the budget", "accelerator*h")


def _pretrain_flop(
    setup: Setup, weights: dict[str, Quantity], fixed: Quantity | None
) -> Quantity | None:
    """The compute that the budget leaves to pre-training."""
    whole = _budget_hours(setup)
    if whole is None:
        return None
    if fixed is not None:
        if centre(fixed) >= centre(whole):
            raise Impossible(
                f"--rl-hours {centre(fixed):,.0f}: the whole budget buys "
                f"{centre(whole):,.0f} accelerator-hours; ask for fewer, or a larger --budget"
            )
        whole = whole - fixed
    if setup.asked.budget_kind == "flop" and len(weights) == 1 and fixed is None:
        return setup.asked.budget
    flop = whole * setup.fleet.rate
    if len(weights) > 1:
        flop = flop * (weights["pretrain"] / total(list(weights.values())))
    return flop.named("train.flop_budget", "compute left to pre-training", "FLOP")


def _weights(setup: Setup) -> dict[str, Quantity]:
    """The weight of each stage in accelerator time."""
    request, shelf = setup.request, setup.shelf
    if setup.asked.stage == "pretrain":
        return {"pretrain": pure(1.0)}
    weights = (
        _shares_asked(request.shares)
        if request.shares
        else {name: shelf[f"train.weight.{name}"] for name in STAGES}
    )
    if request.rl_hours or request.rollouts:
        weights.pop("rl", None)
    return weights


def _shares_asked(text: str) -> dict[str, Quantity]:
    weights: dict[str, Quantity] = {}
    seen: set[str] = set()
    for part in text.split(","):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        if not sign:
            raise Impossible(f"--shares: got {part!r}, expected e.g. pretrain=80,mid=10,sft=2,rl=8")
        name = name.casefold()
        if name not in STAGES:
            raise nearest(name, STAGES, "stage in --shares")
        if name in seen:
            raise Conflict(f"--shares: {name} stands there twice; keep one")
        seen.add(name)
        value = bounded(number, WEIGHT, f"--shares {name}")
        if value:
            weights[name] = given(f"train.weight.{name}", value, "1", "--shares", TITLES[name])
    if "pretrain" not in weights:
        raise Impossible(
            "--shares: pretrain needs a share; to continue a model that exists use --stage "
            "mid, sft or rl with --params"
        )
    return {name: weights[name] for name in STAGES if name in weights}


def shares_sum(text: str) -> float:
    """What the shares asked for add up to."""
    return sum(centre(weight) for weight in _shares_asked(text).values())


def _stage(name: str, tokens: Quantity, flop: Quantity, hours: Quantity, setup: Setup) -> Stage:
    return Stage(name, tokens, flop, bill(hours, setup.fleet, setup.request, setup.shelf, name))


def _later(name: str, active: Quantity, hours: Quantity, setup: Setup) -> Stage:
    """A stage of plain training that fills its hours with tokens."""
    named = hours.named(f"{name}.hours", "accelerator-hours", "accelerator*h")
    flop = (named * setup.fleet.rate).named(f"{name}.flop", "training compute", "FLOP")
    tokens = (flop / (setup.shelf["law.flop.training"] * active)).named(
        f"{name}.tokens", "training tokens", "token"
    )
    return _stage(name, tokens, flop, named, setup)


def _rl_stage(of: Learning, setup: Setup) -> Stage:
    return _stage("rl", of.tokens, of.flop, of.hours, setup)


def _together(
    model: Model,
    size: Size | None,
    stages: list[Stage],
    learning: Learning | None,
    setup: Setup,
) -> Run:
    hours = total([stage.bill.hours for stage in stages]).named(
        "train.accelerator_hours", "accelerator-hours", "accelerator*h"
    )
    whole = bill(hours, setup.fleet, setup.request, setup.shelf, "train")
    return Run(model, size, tuple(stages), whole, learning, setup.fleet)


def table(run: Run) -> Table:
    """What each stage takes."""
    rows: list[tuple[Cell, ...]] = []
    for stage in run.stages:
        part = (stage.bill.hours / run.bill.hours).named(
            f"{stage.name}.share", "share of accelerator time", "percent"
        )
        each = stage.bill
        rows.append((TITLES[stage.name], stage.tokens, stage.flop, part, each.cost, each.days))
    return Table("Stages", ("", "tokens", "FLOP", "share", "rent", "time"), tuple(rows))
