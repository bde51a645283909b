"""What a parity measurement found: rows paired by seed, for people, for machines and as a picture."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipel.bench.intervals import MeanOfSeeds, mean_of_seeds
from archipel.bench.parity import CENTRAL, Arm


@dataclass(frozen=True)
class Row:
    """One staleness bound against the centralised run."""

    arm: str
    reward_ratio: MeanOfSeeds
    greedy_ratio: MeanOfSeeds
    equal_weights: int
    """Seeds in which the final weights are equal bit for bit."""
    num_seeds: int
    samples: int
    staleness: dict[str, int]


def summarise(arms: Sequence[Arm]) -> list[Row]:
    """Ratios paired by seed."""
    central = {arm.seed: arm for arm in arms if arm.arm == CENTRAL}
    rows = []
    for name in dict.fromkeys(arm.arm for arm in arms if arm.arm != CENTRAL):
        mine = [arm for arm in arms if arm.arm == name]
        ages: dict[str, int] = {}
        for arm in mine:
            for age, count in arm.staleness.items():
                ages[age] = ages.get(age, 0) + count
        rows.append(
            Row(
                arm=name,
                reward_ratio=mean_of_seeds(
                    [_ratio(arm.reward, central[arm.seed].reward) for arm in mine]
                ),
                greedy_ratio=mean_of_seeds(
                    [_ratio(arm.greedy, central[arm.seed].greedy) for arm in mine]
                ),
                equal_weights=sum(arm.digest == central[arm.seed].digest for arm in mine),
                num_seeds=len(mine),
                samples=mine[0].samples,
                staleness=ages,
            )
        )
    return rows


def _ratio(value: float, reference: float) -> float:
    """Not a number where there is nothing to compare with."""
    return value / reference if reference else math.nan


def table(arms: Sequence[Arm]) -> str:
    """For people."""
    if not arms:
        return "no arm has ended yet"
    lines = [
        "arm    reward ratio to central   greedy ratio             equal weights  staleness seen"
    ]
    for row in summarise(arms):
        seen = " ".join(f"{age}:{count}" for age, count in sorted(row.staleness.items()))
        lines.append(
            f"{row.arm:<5}  {row.reward_ratio!s:<24}  {row.greedy_ratio!s:<23}  "
            f"{row.equal_weights}/{row.num_seeds:<11}  {seen}"
        )
    rewards = mean_of_seeds([arm.reward for arm in arms if arm.arm == CENTRAL])
    lines.append(f"central reward {rewards}; {arms[0].samples} sampled rollouts in every arm")
    return "\n".join(lines)


def to_json(arms: Sequence[Arm]) -> dict[str, Any]:
    """For machines."""
    return {"rows": [asdict(row) for row in summarise(arms)], "arms": [asdict(arm) for arm in arms]}


def draw(arms: Sequence[Arm], path: Path) -> None:
    """Mean curves of every arm, shaded from the worst to the best seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=130)
    for name in dict.fromkeys(arm.arm for arm in arms):
        curves = [arm.curve for arm in arms if arm.arm == name]
        columns = list(zip(*curves, strict=True))
        at = range(1, len(columns) + 1)
        axes.plot(at, [sum(column) / len(column) for column in columns], label=name)
        axes.fill_between(at, [min(c) for c in columns], [max(c) for c in columns], alpha=0.12)
    axes.set_xlabel("policy version")
    axes.set_ylabel("mean reward of the batch")
    axes.set_title("Centralised and distributed RL, equal samples")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def save(arms: Sequence[Arm], path: Path) -> None:
    """Write every arm as JSON."""
    path.write_text(json.dumps(to_json(arms), indent=2))
