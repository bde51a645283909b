"""How runs are spoken of on a screen: one place for the words that several commands share."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from archipel.curves.history import History
from archipel.dashboard.run_words import capacity_words as capacity_words
from archipel.dashboard.run_words import credit_words as credit_words
from archipel.dashboard.run_words import exam_words as exam_words
from archipel.dashboard.run_words import number as number
from archipel.dashboard.run_words import place_words as place_words
from archipel.dashboard.run_words import progress_words as progress_words
from archipel.dashboard.run_words import version_words as version_words
from archipel.records.documents import RunView

OVER = ("complete", "stopped")
PAUSED = "paused"
NOT_INVARIANT = "not batch-invariant"
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 60
PARTS = ("part_", "metric_")


def in_order(runs: Sequence[RunView]) -> list[RunView]:
    """The newest first."""
    return sorted(runs, key=lambda run: (-run.opened_at_ms, run.run))


def greedy_words(run: RunView) -> str:
    """The newest evaluation: what it scored, at which version."""
    newest = max(run.evaluations, key=lambda exam: exam["version"])
    if "loss_micro" in newest:
        return f"held-out loss {newest['loss_micro'] / 1e6:.3f} @{newest['version']}"
    if "greedy" not in newest:
        return f"evaluated @{newest['version']}"
    return f"greedy {newest['greedy'] / 1e6:.3f} @{newest['version']}"


def part_words(history: History | None) -> list[str]:
    """The newest version's reward parts and metrics, in one line; none where there are none."""
    values = history.points[-1].values if history is not None and history.points else {}
    shown = [
        f"{name.removeprefix('part_').removeprefix('metric_')} {number(value)}"
        for name, value in values.items()
        if name.startswith(PARTS)
    ]
    return ["  ".join(shown)] if shown else []


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """The values in [0, 1] as a row of blocks, averaged down to the width of a line."""
    if not values:
        return "(no update yet)"
    width = max(1, min(width, SPARK_WIDTH, len(values)))
    edges = [len(values) * n // width for n in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    blocks = (SPARKS[min(int(max(mean, 0) * len(SPARKS)), len(SPARKS) - 1)] for mean in means)
    return "".join(blocks) + f" {values[-1]:.3f}"


def clock_words(at_s: float) -> str:
    """A time of day that means the same everywhere."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
