"""How old may a rollout be? Every loss at every age, in one process, by a ring buffer of policies.

Update v learns from groups that version max(0, v - age) sampled: the same tasks, noise and number of
samples in every arm of a seed. Several minibatches per update are the hard case, because the policy
moves within an update as well. Arms: the losses of `training.losses` and a control without any
correction (the ratio taken as 1).
Part of what a high age costs is plain lag: a rollout of version v - age cannot teach more than that
version's successor knew. The line "lag alone" shows it: the fresh run, `age` versions before its end.
What it does not show: one tiny model on one task says little about a large one.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from archipel.bench.central import Bench, prepare
from archipel.bench.intervals import MeanOfSeeds, mean_of_seeds
from archipel.bench.kept import Kept
from archipel.records.recipe import Recipe
from archipel.training.optimiser import Diverged
from archipel.training.trainer import Trainer

LOSSES: dict[str, dict[str, Any]] = {
    "trust_region": {"name": "trust_region"},
    "ppo_clip": {"name": "ppo_clip"},
    "tis": {"name": "tis"},
    "cispo": {"name": "cispo"},
    "uncorrected": {"name": "cispo", "cispo_low": 1.0, "cispo_high": 1.0},
}
SURVIVES = 0.97
"""A loss survives an age if it keeps this share of its own reward at age 0."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    losses: tuple[str, ...] = tuple(LOSSES)
    ages: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    seeds: tuple[int, ...] = (0, 1, 2)
    versions: int = 100
    minibatches: int = 4
    learning_rate: float = 1e-4


QUICK = Plan(ages=(0, 4, 16), seeds=(0, 1), versions=60)


@dataclass(frozen=True)
class Arm:
    """One loss at one age with one seed."""

    loss: str
    age: int
    seed: int
    greedy: float
    """Share of held-out tasks answered exactly right, greedy, at the end."""
    reward: float
    """Mean reward of sampled completions on held-out tasks at the end; 0 if it diverged."""
    diverged: bool
    mismatch_kl: float
    """Mean over the last quarter of updates, nats per token."""
    effective_sample_fraction: float
    held_back_fraction: float
    curve: list[float] = field(default_factory=list)
    """Training reward of each update, as sampled by the old policy."""
    reward_before_end: dict[int, float] = field(default_factory=dict)
    """Held-out reward so many versions before the end."""


def measure(
    recipe: Recipe, plan: Plan, folder: Path, on_arm: Callable[[Arm], None] = lambda arm: None
) -> list[dict[str, Any]]:
    """Run every arm that this folder does not have; one row each. One supervised stage per seed serves all of its arms.

    Raises:
        NotOurs: the folder holds another's steps.
    """
    torch.set_num_threads(1)
    kept, rows = Kept(folder), []
    for seed in plan.seeds:
        start = _with(recipe, plan, LOSSES["trust_region"], seed)
        bench = cache(partial(prepare, start, b"bench-%d" % seed))
        for loss in plan.losses:
            own = _with(recipe, plan, LOSSES[loss], seed)
            for age in plan.ages:
                early = plan.ages if age == 0 else ()
                asked = {
                    "part": "staleness", "recipe": own.digest, "start": start.digest, "loss": loss,
                    "age": age, "early": early,
                }  # fmt: skip
                run = partial(_of_bench, bench, own, loss, age, early)
                arm = kept.value(asked, Arm, run)
                on_arm(arm)
                rows.append(asdict(arm))
    return rows


def _of_bench(
    bench: Callable[[], Bench], recipe: Recipe, loss: str, age: int, early: Sequence[int]
) -> Arm:
    return run_arm(bench(), recipe, loss, age, early)


def run_arm(bench: Bench, recipe: Recipe, loss: str, age: int, early: Sequence[int] = ()) -> Arm:
    """Train from the bench's starting weights on rollouts that are `age` versions old.

    early: also evaluate so many versions before the end.
    """
    trainer = Trainer(bench.fresh_model(), recipe)
    rehearsal = bench.rehearsal(recipe)
    size = recipe.run.groups_per_update
    policies = deque([trainer.published_state()], maxlen=age + 1)
    reports, diverged, before_end = [], False, {}
    for version in range(recipe.run.versions):
        indices = range(version * size, (version + 1) * size)
        groups = rehearsal.groups(policies[0], max(0, version - age), indices)
        try:
            reports.append(trainer.update(groups))
        except Diverged:
            diverged = True
            break
        policies.append(trainer.published_state())
        left = recipe.run.versions - trainer.version
        if left in early:
            before_end[left] = bench.evaluate(policies[-1], trainer.version).reward
    skill = bench.evaluate(trainer.published_state(), trainer.version)
    late = reports[-max(1, len(reports) // 4) :]
    return Arm(
        loss=loss,
        age=age,
        seed=recipe.run.seed,
        greedy=0.0 if diverged else skill.greedy,
        reward=0.0 if diverged else skill.reward,
        diverged=diverged,
        mismatch_kl=_mean([report.mismatch_kl for report in late]),
        effective_sample_fraction=_mean([report.effective_sample_fraction for report in late]),
        held_back_fraction=_mean([report.held_back_fraction for report in late]),
        curve=[report.reward_mean for report in reports],
        reward_before_end=before_end,
    )


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per loss and age: mean reward, and its ratio to the same loss and seed at age 0 with interval."""
    fresh = {(row["loss"], row["seed"]): row["reward"] for row in rows if row["age"] == 0}
    summary = []
    for loss, age in dict.fromkeys((row["loss"], row["age"]) for row in rows):
        arms = [row for row in rows if (row["loss"], row["age"]) == (loss, age)]
        ratios = [
            row["reward"] / fresh[loss, row["seed"]]
            for row in arms
            if fresh.get((loss, row["seed"]), 0.0) > 0.0
        ]
        ratio = mean_of_seeds(ratios) if ratios else MeanOfSeeds(math.nan, math.nan, math.nan, 0)
        summary.append(
            {
                "loss": loss,
                "age": age,
                "seeds": len(arms),
                "reward": _mean([row["reward"] for row in arms]),
                "greedy": _mean([row["greedy"] for row in arms]),
                "ratio": ratio.mean,
                "ratio_half_width": ratio.half_width,
                "survives": ratio.mean >= SURVIVES,
                "diverged": sum(row["diverged"] for row in arms),
                "mismatch_kl": _mean([row["mismatch_kl"] for row in arms]),
            }
        )
    return summary


def lag_alone(rows: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Age -> mean ratio of the fresh runs' reward `age` versions before the end to that at the end."""
    fresh = [row for row in rows if row["age"] == 0 and row["reward"] > 0.0]
    ages = sorted({age for row in fresh for age in row["reward_before_end"]})
    return {
        age: _mean([row["reward_before_end"][age] / row["reward"] for row in fresh]) for age in ages
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Losses down, ages across; a cell is the ratio to age 0 and its 95 percent half-width."""
    summary, lag = summarise(rows), lag_alone(rows)
    ages = sorted({row["age"] for row in summary})
    lines = ["loss           " + "".join(f"age {age:<12}" for age in ages)]
    for loss in dict.fromkeys(row["loss"] for row in summary):
        cells = {row["age"]: row for row in summary if row["loss"] == loss}
        lines.append(f"{loss:<15}" + "".join(_cell(cells.get(age)) for age in ages))
    lines.append(f"{'lag alone':<15}" + "".join(f"{lag.get(age, math.nan):<16.3f}" for age in ages))
    lines.append(
        f"ratio of final held-out reward to the same loss at age 0 (+- 95 % of seeds); "
        f"* = below {SURVIVES}, ! = a seed diverged"
    )
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Final reward against age, and how far the policies had moved apart, as a PNG."""
    summary, lag = summarise(rows), lag_alone(rows)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for loss in dict.fromkeys(row["loss"] for row in summary):
        arms = sorted((row for row in summary if row["loss"] == loss), key=lambda row: row["age"])
        ages = [row["age"] for row in arms]
        widths = [0.0 if math.isnan(w := row["ratio_half_width"]) else w for row in arms]
        left.errorbar(
            ages, [row["ratio"] for row in arms], widths, marker="o", capsize=3, label=loss
        )
        right.plot(ages, [max(row["mismatch_kl"], 1e-9) for row in arms], marker="o", label=loss)
    left.plot(list(lag), list(lag.values()), color="black", linestyle=":", label="lag alone")
    left.axhline(SURVIVES, color="grey", linewidth=0.8, linestyle="--")
    left.set(xlabel="age of rollouts (versions)", ylabel="final reward / reward at age 0")
    right.set(xlabel="age of rollouts (versions)", ylabel="KL(old || new), nats per token")
    right.set_yscale("log")
    left.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return " " * 16
    mark = "!" if row["diverged"] else "" if row["survives"] else "*"
    return f"{row['ratio']:.3f} +- {row['ratio_half_width']:.3f}{mark}".ljust(16)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _with(recipe: Recipe, plan: Plan, loss: dict[str, Any], seed: int) -> Recipe:
    """The recipe with the plan's pace, this loss and this seed; checked again as a whole."""
    fields = recipe.model_dump()
    fields["run"] |= {"versions": plan.versions, "seed": seed}
    fields["loss"] = loss
    fields["optimiser"] |= {
        "minibatches": plan.minibatches,
        "learning_rate": plan.learning_rate,
    }
    return Recipe.model_validate(fields)
