"""What `bench train` measured, for people and for machines.

Ratios are our tokens a second over the other's, paired by seed: above 1, ours is faster. Law: an arm without a figure
is a row that says why.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archipel.bench.intervals import MeanOfSeeds, mean_of_seeds
from archipel.bench.train import OURS, TrainArm

Cell = tuple[str, str, str]
"""Size, lengths, type."""


def arm_line(arm: TrainArm) -> str:
    """One arm that has ended, on a line."""
    job = arm.job
    what = f"{job.size} {job.lengths} {job.dtype} seed {job.seed}  {job.arm:<16}"
    if arm.outcome is None:
        return f"{what}  missing: {arm.missing}"
    return (
        f"{what} {arm.tokens_per_s:8.0f} tokens/s  {arm.outcome.peak_bytes / 1e6:7.0f} MB  "
        f"loss {arm.outcome.losses[0]:+.5f} .. {arm.outcome.losses[-1]:+.5f}  load {arm.load:.1f}"
    )


def rows_of(arms: Sequence[TrainArm]) -> list[dict[str, Any]]:
    """A row for each arm of each size, lengths and type, over seeds."""
    rows = []
    for cell, name in dict.fromkeys((_cell(arm), arm.job.arm) for arm in arms):
        mine = {arm.job.seed: arm for arm in arms if (_cell(arm), arm.job.arm) == (cell, name)}
        ours = {arm.job.seed: arm for arm in arms if (_cell(arm), arm.job.arm) == (cell, OURS)}
        rows.append(_row(cell, name, mine, ours))
    return rows


def _row(
    cell: Cell, name: str, mine: dict[int, TrainArm], ours: dict[int, TrainArm]
) -> dict[str, Any]:
    measured = [arm for arm in mine.values() if arm.outcome is not None]
    pairs = [
        (ours[arm.job.seed], arm)
        for arm in measured
        if arm.job.seed in ours and ours[arm.job.seed].outcome is not None
    ]
    ratio = by_cpu = None
    if name != OURS:
        ratio = _mean(pairs, lambda a, b: a.tokens_per_s / b.tokens_per_s)
        by_cpu = _mean(pairs, lambda a, b: a.tokens_per_cpu_s / b.tokens_per_cpu_s)
    return {
        "size": cell[0],
        "lengths": cell[1],
        "dtype": cell[2],
        "arm": name,
        "seeds": len(measured),
        "missing": next((arm.missing for arm in mine.values() if arm.outcome is None), ""),
        "tokens_per_s": _mean(measured, lambda arm: arm.tokens_per_s),
        "tokens_per_cpu_s": _mean(measured, lambda arm: arm.tokens_per_cpu_s),
        "peak_mb": _mean(measured, lambda arm: arm.outcome.peak_bytes / 1e6),
        "ours_over_it": ratio,
        "ours_over_it_by_cpu": by_cpu,
        "loss_apart": max((_apart(*pair) for pair in pairs), default=None),
        "version_share": _mean([arm for arm in measured if arm.outcome.version_cpu_s], _share),  # type: ignore[union-attr]
    }


def _cell(arm: TrainArm) -> Cell:
    return arm.job.size, arm.job.lengths, arm.job.dtype


def _apart(ours: TrainArm, theirs: TrainArm) -> float:
    """Largest difference of the losses of the same update."""
    if ours.outcome is None or theirs.outcome is None:
        return float("nan")
    pairs = zip(ours.outcome.losses, theirs.outcome.losses, strict=False)
    return max(abs(one - other) for one, other in pairs)


def _share(arm: TrainArm) -> float:
    """Processor time of making a version, of that and the update together."""
    if arm.outcome is None:
        return float("nan")
    made, learned = sum(arm.outcome.version_cpu_s[1:]), sum(arm.outcome.cpu_s[1:])
    return made / max(made + learned, 1e-9)


def _mean(items: Sequence[Any], of: Callable[..., float]) -> MeanOfSeeds | None:
    values = [of(*item) if isinstance(item, tuple) else of(item) for item in items]
    return mean_of_seeds(values) if values else None


def table(arms: Sequence[TrainArm]) -> str:
    """For people."""
    if not arms:
        return "no arm has ended yet"
    lines = [
        "means and 95 percent intervals over seeds; memory: above the bare process, on a GPU what was allocated"
    ]
    for row in rows_of(arms):
        what = f"{row['size']:<5} {row['lengths']:<7} {row['dtype']:<9} {row['arm']:<17}"
        if row["tokens_per_s"] is None:
            lines.append(f"{what} missing: {row['missing']}")
            continue
        text = f"{what} {_short(row['tokens_per_s'], 0)} tokens/s  {_short(row['peak_mb'], 0)} MB"
        if row["ours_over_it"] is not None:
            text += (
                f"  ours / it {_short(row['ours_over_it'], 2)}, by processor time "
                f"{_short(row['ours_over_it_by_cpu'], 2)}, losses within {row['loss_apart']:.1e}"
            )
        if row["version_share"] is not None:
            text += f"  versions {100 * row['version_share'].mean:.1f}% of processor time"
        lines.append(text)
    loads = [arm.load for arm in arms]
    lines.append(
        f"load of the machine before each arm: {min(loads):.1f} to {max(loads):.1f} "
        "(about 1 is what the arm before left behind)"
    )
    lines += sorted({f"{arm.job.arm}: {arm.outcome.software}" for arm in arms if arm.outcome})
    return "\n".join(lines)


def _short(value: MeanOfSeeds, digits: int) -> str:
    if value.num_seeds == 1:
        return f"{value.mean:,.{digits}f}"
    return f"{value.mean:,.{digits}f} [{value.low:,.{digits}f}, {value.high:,.{digits}f}]"


def to_json(arms: Sequence[TrainArm]) -> dict[str, Any]:
    """For machines."""
    rows = [
        {k: asdict(v) if isinstance(v, MeanOfSeeds) else v for k, v in row.items()}
        for row in rows_of(arms)
    ]
    return {"rows": rows, "arms": [asdict(arm) for arm in arms]}


def save(arms: Sequence[TrainArm], path: Path) -> None:
    """As a file; called after every arm, so that Ctrl-C loses one arm at most."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(json.dumps(to_json(arms), indent=2))
    aside.replace(path)
