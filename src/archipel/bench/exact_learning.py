"""Does reinforcement learn from exact rollouts what it learns from fp32's? The central loop, paired by seed."""

from collections.abc import Iterator, Sequence
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


def learn(recipe: Recipe, seed: int, kinds: Sequence[str], updates: int) -> Iterator[Arm]:
    """Every kind from the same start, tasks and noise."""
    run = recipe.run.model_copy(update={"seed": seed, "versions": updates, "max_staleness": 0})
    chosen = recipe.model_copy(update={"run": run})
    bench = prepare(chosen, b"exact %d" % seed)
    for kind in kinds:
        engine = LocalEngine(bench.config, arithmetic=arithmetic_named(kind, bench.config))
        sampler = replace(bench, engine=engine)
        reports: list[UpdateReport] = []
        trainer = Trainer(bench.fresh_model(), chosen)
        reinforce(trainer, sampler.rehearsal(), reports.append)
        skill = bench.evaluate(trainer.published_state(), updates)
        late = [each.reward_mean for each in reports[-10:]]
        yield Arm(seed, kind, skill.reward, skill.greedy, sum(late) / len(late))


def summary(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Means over seeds, and each kind's difference from the first, paired; of seeds that have both."""
    kinds = list(dict.fromkeys(arm.kind for arm in arms))
    first = {arm.seed: arm for arm in arms if arm.kind == kinds[0]}
    rows = []
    for kind in kinds:
        mine = [arm for arm in arms if arm.kind == kind and arm.seed in first]
        rows.append({
            "kind": kind,
            "reward": asdict(mean_of_seeds([arm.reward for arm in mine])),
            "greedy": asdict(mean_of_seeds([arm.greedy for arm in mine])),
            "difference": asdict(mean_of_seeds([a.reward - first[a.seed].reward for a in mine])),
        })  # fmt: skip
    return rows
