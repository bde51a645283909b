"""What `bench real` measured, for people, for machines and as a picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archipel.bench.intervals import mean_of_seeds
from archipel.bench.real import RealArm


def arm_line(arm: RealArm) -> str:
    """One arm that has ended, on a line."""
    last = arm.judged[-1]
    value, low, high = last.greedy
    return (
        f"{arm.task:<12} seed {arm.seed}  {arm.arm:<18} greedy {arm.judged[0].greedy[0]:.3f} -> "
        f"{value:.3f} [{low:.3f}, {high:.3f}] after {last.update} updates, {last.seconds:.0f} s wall, "
        f"{last.cpu_s:.0f} s processor, load {arm.load:.1f}"
    )


def table(arms: Sequence[RealArm]) -> str:
    """Means over seeds, for people."""
    lines = [
        f"{'task':<12} {'arm':<18} {'before':>7} {'after, over seeds':>24} {'processor s':>24}"
    ]
    for task, name in dict.fromkeys((arm.task, arm.arm) for arm in arms):
        mine = [arm for arm in arms if (arm.task, arm.arm) == (task, name)]
        after = mean_of_seeds([arm.judged[-1].greedy[0] for arm in mine])
        spent = mean_of_seeds([arm.judged[-1].cpu_s for arm in mine])
        before = mine[0].judged[0].greedy[0]
        lines.append(f"{task:<12} {name:<18} {before:7.3f} {after!s:>24} {spent.mean:24.0f}")
    return "\n".join(lines)


def to_json(arms: Sequence[RealArm]) -> list[dict[str, Any]]:
    """Every arm, for machines."""
    rows = []
    for arm in arms:
        judged = [asdict(each) | {"greedy": each.greedy} for each in arm.judged]
        rows.append(asdict(arm) | {"judged": judged})
    return rows


def save(arms: Sequence[RealArm], path: Path) -> None:
    """As a file; called after every arm, so that Ctrl-C loses one arm at most."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(json.dumps(to_json(arms), indent=2))
    aside.replace(path)


def draw(arms: Sequence[RealArm], path: Path) -> None:
    """Held-out accuracy by update, a panel for each task, a line for each arm and seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tasks, names = (
        list(dict.fromkeys(getattr(arm, key) for arm in arms)) for key in ("task", "arm")
    )
    figure, panels = pyplot.subplots(
        1, len(tasks), figsize=(6 * len(tasks), 4.2), dpi=130, squeeze=False, sharey=True
    )
    for panel, task in zip(panels[0], tasks, strict=True):
        for arm in (each for each in arms if each.task == task):
            first = arm.seed == min(each.seed for each in arms)
            panel.plot(
                [each.update for each in arm.judged],
                [each.greedy[0] for each in arm.judged],
                "o-",
                color=f"C{names.index(arm.arm)}",
                label=arm.arm if first else None,
            )
        panel.set_title(task)
        panel.set_xlabel("updates")
        panel.set_ylim(-0.02, 1.02)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("held-out greedy accuracy")
    panels[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
