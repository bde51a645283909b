"""The result of `archipel bench exact` for people."""

from collections.abc import Callable
from typing import Any

from archipel.bench.exact import mean_wait
from archipel.bench.intervals import MeanOfSeeds

Rows = list[dict[str, Any]]


def table(result: dict[str, Any]) -> str:
    """Every part that was measured."""
    parts = [f"torch {result['torch']}, {result['cpu']}; processor time of one thread"]
    parts += [write(result[name]) for name, write in _WRITE.items() if name in result]
    return "\n\n".join(parts)


def _speed(rows: Rows) -> str:
    lines = ["speed: ms a decode step (best), and over fp32's of the same round (median, range)"]
    for row in rows:
        lines.append(
            f"{row['model']:<8} {row['cap']:<7} batch {row['batch']:>3}  {row['kind']:<7} {row['ms']:9.2f}  "
            f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        )
    return "\n".join(lines)


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
        differ = sum(row["tokens_differ"] + row["logprobs_differ"] for row in mine)
        lines.append(
            f"{arm:<13} {sum(row['positions'] for row in mine):>9,} recomputed, {differ} differ; "
            f"{sum(row['decoded'] for row in mine):>7,} decoded, {sum(row['decoded_differ'] for row in mine)} differ"
        )
    digests: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        digests.setdefault((row["model"], row["variant"]), set()).add(row["digest"])
    alike = sum(len(found) == 1 for found in digests.values())
    lines.append(f"one digest over all arms: {alike} of {len(digests)} models and variants")
    return "\n".join(lines)


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
    lines = ["verifying: time to recompute over time to generate at this batch size"]
    lines += [
        f"{row['model']:<8} {row['kind']:<7} batch {row['batch']:>3}  {row['ratio']:.2f}  "
        f"({row['positions']} positions, {row['tokens_differ']} differ)"
        for row in rows
    ]
    return "\n".join(lines)


def _learning(found: dict[str, Any]) -> str:
    lines = [
        "learning: reward and greedy skill in fp32 after RL, and the difference from fp32 rollouts"
    ]
    for row in found["rows"]:
        reward, greedy, difference = (
            MeanOfSeeds(**row[key]) for key in ("reward", "greedy", "difference")
        )
        lines.append(f"{row['kind']:<7} {reward!s:<22}  {greedy!s:<22}  {difference}")
    return "\n".join(lines)


_WRITE: dict[str, Callable[[Any], str]] = {
    "speed": _speed, "quality": _quality, "exact": _exact, "detection": _detection,
    "verify": _verify, "learning": _learning,
}  # fmt: skip
