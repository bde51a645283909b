"""The result of `archipel bench exact` for people."""

import math
from collections.abc import Callable
from typing import Any

from archipel.bench.exact_job import CAPS
from archipel.bench.intervals import MeanOfSeeds

Rows = list[dict[str, Any]]


def table(result: dict[str, Any]) -> str:
    """Every part that was measured."""
    head = f"torch {result['torch']}, {result['cpu']}; processor time"
    if len(result["sources"]) > 1:
        counts = ", ".join(f"{name}: {count}" for name, count in result["sources"].items())
        head += f"\nsteps of {len(result['sources'])} versions of the source ({counts})"
    lacking = [
        f"{name} {steps['found']} of {steps['of']}"
        for name, steps in result["steps"].items()
        if steps["found"] < steps["of"]
    ]
    if lacking:
        head += "\nnot all steps were measured: " + ", ".join(lacking)
    parts = [write(result[name]) for name, write in _WRITE.items() if name in result]
    return "\n\n".join([head, *parts])


def total(rows: Rows) -> dict[str, Any]:
    """Over every arm of exactness: what was compared, and how much of it differs."""
    keys = ("positions", "tokens_differ", "logprobs_differ", "decoded", "decoded_differ")
    return {
        "arms": len({row["arm"] for row in rows}),
        "caps": len({row["cap"] for row in rows}),
        **{key: sum(row[key] for row in rows) for key in keys},
    }


def mean_wait(positions: int, differ: int) -> float:
    """Positions until a difference, on average; infinite where none was seen."""
    return positions / differ if differ else math.inf


def _speed(rows: Rows) -> str:
    lines = [
        "speed: ms a decode step (best); over fp32's of the same round (median, range); over bf16's"
    ]
    for row in rows:
        over = "" if row["over_bf16"] is None else f"  {row['over_bf16']['ratio']:.2f}"
        lines.append(
            f"{row['model']:<8} {row['cap']:<7} batch {row['batch']:>3}  {row['kind']:<7} {row['ms']:9.2f}  "
            f"{_spread(row)}{over}"
        )
    return "\n".join(lines)


def _spread(found: dict[str, Any]) -> str:
    return f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _quality(rows: Rows) -> str:
    lines = ["quality beside fp32: KL (95 %), total variation, loss, same best token"]
    lines += [
        f"{row['model']:<8} {row['kind']:<7} {row['kl']:.2e} +- {row['kl_error']:.0e}  {row['tv']:.5f}  "
        f"{row['loss']:.5f}  {row['agreement']:.4f}  ({row['positions']} positions)"
        for row in rows
    ]
    return "\n".join(lines)


def _exact(rows: Rows) -> str:
    lines = ["exactness: positions recomputed from one prefill, and decoded again; how many differ"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        cap = " ".join(f"{name}={value}" for name, value in CAPS[mine[0]["cap"]].items())
        lines.append(f"{arm:<13} {_counts(mine)}  {cap}")
    found = total(rows)
    lines.append(f"total         {_counts(rows)}  over {found['arms']} ways, {found['caps']} caps")
    digests: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        digests.setdefault((row["model"], row["variant"]), set()).add(row["digest"])
    alike = sum(len(found) == 1 for found in digests.values())
    lines.append(f"one digest over all arms: {alike} of {len(digests)} models and variants")
    return "\n".join(lines)


def _counts(rows: Rows) -> str:
    found = total(rows)
    return (
        f"{found['positions']:>9,} recomputed, {found['tokens_differ']} tokens and "
        f"{found['logprobs_differ']} log-probabilities differ; "
        f"{found['decoded']:>7,} decoded, {found['decoded_differ']} differ"
    )


def _detection(rows: Rows) -> str:
    lines = ["detection: positions until it shows, by tokens alone; tokens and log-probabilities"]
    for row in rows:
        alone, both = (
            mean_wait(row["positions"], row[key]) for key in ("tokens_differ", "either_differs")
        )
        lines.append(
            f"{row['model']:<8} {row['variant']:<7} {row['way']:<17} {alone:9.1f}  {both:9.2f}  "
            f"({row['positions']} positions)"
        )
    return "\n".join(lines)


def _verify(rows: Rows) -> str:
    lines = [
        "verifying: time to recompute over time to generate (median, range): all at once; one group alone"
    ]
    lines += [
        f"{row['model']:<8} {row['kind']:<7} batch {row['batch']:>3} (groups of {row['group']})  "
        f"{_spread(row['dense'])}  {_spread(row['single'])}  generating {row['generate_ms']:.2f} ms a token, "
        f"{row['differ']} differ"
        for row in rows
    ]
    return "\n".join(lines)


def _learning(rows: Rows) -> str:
    lines = [
        "learning: reward and greedy skill in fp32 after RL, and the difference from fp32 rollouts"
    ]
    for row in rows:
        reward, greedy, difference = (
            MeanOfSeeds(**row[key]) for key in ("reward", "greedy", "difference")
        )
        lines.append(
            f"{row['kind']:<7} {reward!s:<22}  {greedy!s:<22}  {difference} ({reward.num_seeds} seeds)"
        )
    return "\n".join(lines)


_WRITE: dict[str, Callable[[Rows], str]] = {
    "speed": _speed, "quality": _quality, "exact": _exact, "detection": _detection,
    "verify": _verify, "learning_summary": _learning,
}  # fmt: skip
