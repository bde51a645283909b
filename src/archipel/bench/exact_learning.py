"""Does reinforcement learn from exact rollouts what it learns from fp32's? The central loop, paired by seed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from archipel.bench.central import prepare
from archipel.bench.intervals import mean_of_seeds
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.scoring import arithmetic_named
from archipel.records.recipe import Recipe
from archipel.training.report import UpdateReport
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer


@dataclass(frozen=True)
class Arm:
    """One run; skill is measured in fp32, whatever sampled the rollouts."""

    seed: int
    kind: str
    reward: float
    greedy: float
    last_reward: float
    """Mean of the last ten updates' batches, as sampled."""


def learn(
    recipe: Recipe, kinds: Sequence[str], seeds: Sequence[int], updates: int,
    tell: Callable[[str], None],
) -> list[Arm]:  # fmt: skip
    """Every kind from the same start, tasks and noise of each seed."""
    arms = []
    for seed in seeds:
        run = recipe.run.model_copy(update={"seed": seed, "versions": updates, "max_staleness": 0})
        chosen = recipe.model_copy(update={"run": run})
        tell(f"learning: seed {seed}, supervised stage")
        bench = prepare(chosen, b"exact %d" % seed)
        for kind in kinds:
            tell(f"learning: seed {seed}, rollouts in {kind}")
            engine = LocalEngine(bench.config, arithmetic=arithmetic_named(kind, bench.config))
            sampler = replace(bench, engine=engine)
            reports: list[UpdateReport] = []
            trainer = Trainer(bench.fresh_model(), chosen)
            reinforce(trainer, sampler.rehearsal(), reports.append)
            skill = bench.evaluate(trainer.published_state(), updates)
            late = [each.reward_mean for each in reports[-10:]]
            arms.append(Arm(seed, kind, skill.reward, skill.greedy, sum(late) / len(late)))
    return arms


def summary(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Means over seeds, and each kind's difference from the first, paired."""
    kinds = list(dict.fromkeys(arm.kind for arm in arms))
    first = {arm.seed: arm for arm in arms if arm.kind == kinds[0]}
    rows = []
    for kind in kinds:
        mine = [arm for arm in arms if arm.kind == kind]
        rows.append({
            "kind": kind,
            "reward": asdict(mean_of_seeds([arm.reward for arm in mine])),
            "greedy": asdict(mean_of_seeds([arm.greedy for arm in mine])),
            "difference": asdict(mean_of_seeds([a.reward - first[a.seed].reward for a in mine])),
        })  # fmt: skip
    return rows
