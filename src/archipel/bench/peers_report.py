"""What `peers` measured, for people, for machines and as a picture.

Ratios are TRL's figure over ours, paired by seed: above 1, ours is less. Law: a ratio that cannot be
formed (an arm that never got there) is counted, never left out in silence.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_of_seeds
from archipel.bench.peers import ARMS, TRL, Arm


@dataclass(frozen=True)
class Row:
    """One arm over all seeds."""

    arm: str
    train_s: MeanOfSeeds
    cpu_s: MeanOfSeeds
    setup_s: MeanOfSeeds
    """Imports, construction and, for the distributed arm, the start of all processes."""
    greedy_before: MeanOfSeeds
    greedy_after: MeanOfSeeds
    reward_before: MeanOfSeeds
    reward_after: MeanOfSeeds
    num_reached: int
    """Seeds in which the target was reached."""
    target_s: MeanOfSeeds | None
    """Training time to the target, over those seeds."""
    train_ratio: MeanOfSeeds | None
    """TRL's wall-clock over this arm's, for equal updates."""
    cpu_ratio: MeanOfSeeds | None
    target_ratio: MeanOfSeeds | None
    """TRL's wall-clock to the target over this arm's, where both reached it."""


def arm_line(arm: Arm, target: float) -> str:
    """One arm that has ended, on a line."""
    reached, judged = arm.seconds_to(target), arm.judged[-1]
    return (
        f"seed {arm.seed}  {arm.arm:<11}  {arm.train_s:6.1f} s wall  {arm.cpu_s:6.1f} s processor"
        f"  greedy {judged.greedy:.3f}  reward {judged.reward:.3f}"
        f"  {target:g} after {'-' if reached is None else f'{reached:.1f} s'}"
    )


def summarise(arms: Sequence[Arm], target: float) -> list[Row]:
    """One row per arm, TRL first."""
    theirs = {arm.seed: arm for arm in arms if arm.arm == TRL}
    rows = []
    for name in ARMS:
        mine = [arm for arm in arms if arm.arm == name]
        if mine:
            rows.append(_row(name, mine, theirs, target))
    return rows


def _row(name: str, mine: Sequence[Arm], theirs: Mapping[int, Arm], target: float) -> Row:
    reached = [s for arm in mine if (s := arm.seconds_to(target)) is not None]
    paired = [(theirs[arm.seed], arm) for arm in mine if name != TRL and arm.seed in theirs]
    to_target = [(them.seconds_to(target), us.seconds_to(target)) for them, us in paired]
    return Row(
        arm=name,
        train_s=mean_of_seeds([arm.train_s for arm in mine]),
        cpu_s=mean_of_seeds([arm.cpu_s for arm in mine]),
        setup_s=mean_of_seeds([arm.result.import_s + arm.result.construct_s for arm in mine]),
        greedy_before=mean_of_seeds([arm.judged[0].greedy for arm in mine]),
        greedy_after=mean_of_seeds([arm.judged[-1].greedy for arm in mine]),
        reward_before=mean_of_seeds([arm.judged[0].reward for arm in mine]),
        reward_after=mean_of_seeds([arm.judged[-1].reward for arm in mine]),
        num_reached=len(reached),
        target_s=_mean(reached),
        train_ratio=_mean([them.train_s / us.train_s for them, us in paired]),
        cpu_ratio=_mean([them.cpu_s / us.cpu_s for them, us in paired]),
        target_ratio=_mean([them / us for them, us in to_target if them and us]),
    )


def _mean(values: Sequence[float]) -> MeanOfSeeds | None:
    return mean_of_seeds(values) if values else None


def table(arms: Sequence[Arm], target: float) -> str:
    """For people."""
    if not arms:
        return NOTHING_YET
    rows = summarise(arms, target)
    num_seeds = len({arm.seed for arm in arms})
    updates = arms[0].result.points[-1][0]
    lines = [f"{updates} updates, {num_seeds} seeds; means and 95 percent intervals over seeds"]
    lines += [
        f"{row.arm:<12} training {row.train_s} s wall, {row.cpu_s} s processor; set-up {row.setup_s} s"
        for row in rows
    ]
    lines += [
        f"{row.arm:<12} held-out greedy {row.greedy_before} -> {row.greedy_after}, "
        f"sampled reward {row.reward_before} -> {row.reward_after}"
        for row in rows
    ]
    lines += [
        f"{row.arm:<12} to greedy {target:g}: {row.target_s} s, reached by {row.num_reached} of {num_seeds}"
        for row in rows
    ]
    lines += [
        f"TRL / {row.arm:<12} wall {row.train_ratio}, processor {row.cpu_ratio}, "
        f"wall to greedy {target:g} {row.target_ratio}"
        for row in rows
        if row.arm != TRL
    ]
    loads = [arm.load for arm in arms]
    lines.append(
        f"load of the machine before each arm: {min(loads):.1f} to {max(loads):.1f} "
        "(about 1 is what the arm before left behind; more means others used the cores too)"
    )
    lines += sorted({f"{arm.arm}: {arm.result.software}, {arm.setting}" for arm in arms})
    return "\n".join(lines)


def to_json(arms: Sequence[Arm], target: float, tuned: Mapping[str, float]) -> dict[str, Any]:
    """For machines."""
    return {
        "target": target,
        "tuning_s_per_update": dict(tuned),
        "rows": [asdict(row) for row in summarise(arms, target)],
        "arms": [asdict(arm) for arm in arms],
    }


def save(values: Mapping[str, Any], path: Path) -> None:
    """Write the JSON."""
    path.write_text(json.dumps(values, indent=2))


def draw(arms: Sequence[Arm], path: Path) -> None:
    """Held-out accuracy over training time: every seed thin, colours by arm."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=130)
    for number, name in enumerate(ARMS):
        for arm in (arm for arm in arms if arm.arm == name):
            axes.plot(
                [each.seconds for each in arm.judged],
                [each.greedy for each in arm.judged],
                color=f"C{number}",
                alpha=0.6,
                label=name if arm.seed == arms[0].seed else None,
            )
    axes.set_xlabel("seconds of training (wall-clock, two cores)")
    axes.set_ylabel("held-out greedy accuracy")
    axes.set_title("Same model, task, samples and updates")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
