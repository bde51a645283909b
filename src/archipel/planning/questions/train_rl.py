"""The reinforcement-learning stage: rollouts, what generating and learning cost, and the pass rate to expect."""

from dataclasses import dataclass
from typing import Any

from archipel.planning.laws import rl_curve
from archipel.planning.mistakes import Impossible
from archipel.planning.plan import Cell, Lines, Series, Table
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import ACCELERATOR_HOURS, LENGTH, ROLLOUTS, bounded
from archipel.planning.questions.train_curves import band, log_grid
from archipel.planning.questions.train_fleet import Fleet, centre
from archipel.planning.requests.train import TrainRequest
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Learning:
    """One reinforcement-learning stage."""

    hours: Quantity
    generating: Quantity
    learning: Quantity
    share: Quantity
    inefficiency: Quantity
    tokens: Quantity
    rollouts: Quantity
    flop: Quantity
    """Of learning and generating together, as arithmetic."""
    curve: "CurveQ"
    rate: Quantity


@dataclass(frozen=True)
class CurveQ:
    """A recipe's compute curve as quantities."""

    recipe: str
    start: Quantity
    asymptote: Quantity
    midpoint: Quantity
    exponent: Quantity

    @property
    def parents(self) -> list[tuple[Quantity, str]]:
        """In the order of `rl_curve.Curve`'s fields."""
        hours = (self.midpoint, "accelerator*h")
        return [(self.start, "1"), (self.asymptote, "1"), hours, (self.exponent, "1")]


def curve_of(request: TrainRequest, shelf: Shelf) -> CurveQ:
    """The curve of the recipe asked for."""
    return _curve(shelf.choose("law.scalerl", request.rl_recipe, "recipe"), shelf)


def _curve(recipe: str, shelf: Shelf) -> CurveQ:
    """A published curve; a recipe without its own steepness takes ScaleRL's."""
    own = f"law.scalerl.{recipe}.exponent"
    return CurveQ(
        recipe,
        shelf["law.rl_curve.start"],
        shelf[f"law.scalerl.{recipe}.asymptote"],
        shelf["law.rl_curve.midpoint"],
        shelf[own if own in shelf else "law.scalerl.scalerl.exponent"],
    )


def _rate(hours: Quantity, curve: CurveQ, name: str) -> Quantity:
    return derive(
        name,
        "percent",
        [(hours, _HOURS), *curve.parents],
        lambda c, *of: 100.0 * rl_curve.pass_rate(c, rl_curve.Curve(*of)),
        f"R0 + (A − R0)/(1 + (C_mid/rl.hours)^B), {curve.recipe}",
        "pass rate at the end, if the published curve held",
    )


def rollout_tokens(request: TrainRequest, shelf: Shelf) -> Quantity:
    """Mean tokens of one rollout."""
    if not request.rollout_tokens:
        return shelf["rl.tokens_per_rollout"]
    value = bounded(request.rollout_tokens, LENGTH, "--rollout-tokens")
    about = "mean generated tokens of one rollout"
    return given("rl.rollout_tokens", value, "token/rollout", "--rollout-tokens", about)


def hours_asked(request: TrainRequest) -> Quantity | None:
    """The accelerator-hours that the person gave."""
    if not request.rl_hours:
        return None
    value = bounded(request.rl_hours, ACCELERATOR_HOURS, "--rl-hours")
    about = "accelerator-hours of reinforcement learning"
    return given("rl.hours_asked", value, "accelerator*h", "--rl-hours", about)


def rollouts_asked(request: TrainRequest) -> Quantity | None:
    """The rollouts that the person gave."""
    if not request.rollouts:
        return None
    value = bounded(request.rollouts, ROLLOUTS, "--rollouts")
    return given("rl.rollouts", value, "rollout", "--rollouts", "rollouts, all steps together")


def learning(
    active: Quantity, hours: Quantity | None, fleet: Fleet, request: TrainRequest, shelf: Shelf
) -> Learning:
    """The stage for accelerator-hours, or for the rollouts asked if `hours` is None."""
    ratio, each = shelf["rl.inference_per_training"], rollout_tokens(request, shelf)
    per_token = shelf["law.flop.training"] * active
    rollouts = rollouts_asked(request)
    if hours is None and rollouts is not None:
        tokens = (rollouts * each).named("rl.tokens", "rollout tokens", "token")
        busy = (tokens * per_token / fleet.rate).named("rl.learning_hours", "learning", _HOURS)
        hours = (busy * (1.0 + ratio)).named("rl.hours", "accelerator-hours", _HOURS)
    elif hours is not None:
        hours = hours.named("rl.hours", "accelerator-hours", _HOURS)
        busy = (hours / (1.0 + ratio)).named("rl.learning_hours", "learning", _HOURS)
        tokens = (busy * fleet.rate / per_token).named("rl.tokens", "rollout tokens", "token")
        rollouts = (tokens / each).named("rl.rollouts", "rollouts, all steps together", "rollout")
    else:
        raise Impossible("--stage rl: add --budget, --rl-hours or --rollouts")
    return _learning(active, (hours, busy, tokens, rollouts), request, shelf)


_HOURS = "accelerator*h"


def _learning(
    active: Quantity,
    parts: tuple[Quantity, Quantity, Quantity, Quantity],
    request: TrainRequest,
    shelf: Shelf,
) -> Learning:
    hours, busy, tokens, rollouts = parts
    ratio = shelf["rl.inference_per_training"]
    inefficiency = derive(
        "rl.generation_inefficiency",
        "1",
        [(ratio, "1")],
        rl_curve.generation_inefficiency,
        "rl.inference_per_training × 6 / 2",
        "accelerator-time of a generated FLOP over a training FLOP",
    )
    flop = derive(
        "rl.flop",
        "FLOP",
        [(active, "param"), (tokens, "token")],
        lambda n, t: rl_curve.learning_flop(n, t) + rl_curve.generation_flop(n, t),
        "(6 + 2) × parameters × rl.tokens",
        "arithmetic of learning and generating",
    )
    share = derive(
        "rl.generating_share", "percent", [(ratio, "1")],
        lambda r: 100.0 * rl_curve.generation_share(r), "ratio / (1 + ratio)", "share spent generating",
    )  # fmt: skip
    curve = curve_of(request, shelf)
    generating = (hours - busy).named("rl.generation_hours", "generating", _HOURS)
    rate = _rate(hours, curve, "rl.pass_rate")
    return Learning(
        hours, generating, busy, share, inefficiency, tokens, rollouts, flop, curve, rate
    )


def table(of: Learning, shelf: Shelf) -> Table:
    """Where the accelerator-hours go."""
    published = shelf["rl.generation_share"].to("percent")
    published = published.named("rl.generation_share_published", "share spent generating, SkyRL")
    ceiling = of.curve.asymptote.to("percent").named("rl.ceiling", "ceiling of the pass rate")
    rows: list[tuple[Cell, ...]] = [
        (each.about, each)
        for each in (of.rollouts, of.tokens, of.flop, of.hours, of.generating, of.learning)
    ]
    rows += [
        ("share spent generating", of.share),
        ("the same in one published run (SkyRL)", published),
        (of.inefficiency.about, of.inefficiency),
        (f"{of.rate.about} ({of.curve.recipe}, 8B)", of.rate),
        (ceiling.about, ceiling),
    ]
    return Table("Reinforcement learning", ("", ""), tuple(rows))


def recipes_table(of: Learning, shelf: Shelf) -> Table:
    """The same hours under every published recipe's curve, from the same start."""
    rows: list[tuple[Cell, ...]] = []
    for recipe in shelf.members("law.scalerl"):
        curve = _curve(recipe, shelf)
        ceiling = curve.asymptote.to("percent").named(f"rl.{recipe}.ceiling", "ceiling")
        title = shelf.fact(f"law.scalerl.{recipe}.title", curve.asymptote.about)
        rows.append((recipe, ceiling, _rate(of.hours, curve, f"rl.{recipe}.pass_rate"), title))
    columns = ("recipe", "ceiling", "pass rate at the end", "")
    return Table("Pass rate under each published recipe (8B)", columns, tuple(rows))


def published_table(shelf: Shelf) -> Table:
    """Reinforcement-learning runs whose accelerator-hours are documented."""
    group = "rl.accelerator_hours"
    found = [(name, shelf[f"{group}.{name}"]) for name in shelf.members(group)]
    rows = tuple((name, each, each.about) for name, each in found)
    return Table("Documented reinforcement learning", ("", "hours", ""), rows)


def chart(of: Learning) -> Lines:
    """The compute curve, with where the stage ends."""
    hours = log_grid(100.0, 200_000.0, 60)
    centre_curve = [centre(each) for each, _ in of.curve.parents]

    def law(*constants: Any) -> Any:
        return 100.0 * rl_curve.pass_rate(hours, rl_curve.Curve(*constants))

    low, high = band([each for each, _ in of.curve.parents], law)
    line = Series(of.curve.recipe, hours, law(*centre_curve), low, high)
    end = centre(of.hours)
    return Lines(
        f"Pass rate against RL compute ({of.curve.recipe}, 8B model)",
        "accelerator-hours",
        "pass rate, percent",
        (line,),
        log_x=True,
        mark_x=((end, "this plan"),),
    )
