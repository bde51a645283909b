"""Tokens per second of our engine beside `transformers.generate`, in one run.

Same weights, prompts, threads and forced lengths; both sample at temperature 1 from the full
distribution, ours also reports log-probabilities. The contestants take turns within a round, so a
busy moment hits both; a ratio is taken within a round. Each side runs in its better dtype, found
by a trial. Prompts are all distinct, or shared by groups of 8 as in reinforcement learning, which
our engine uses and `generate` does not.
What it does not show: ragged lengths, and other settings of `generate` than its defaults.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from archipel.bench.contestants import (
    DTYPES,
    Contestant,
    Dtype,
    Key,
    Side,
    Task,
    contestants_for,
    workload_named,
)
from archipel.bench.roofline import Roofline, measure_roofline
from archipel.model.directory import expected_shapes

_SHORT = {"float32": "fp32", "bfloat16": "bf16"}
BATCH_SIZES = (1, 8, 32, 128)
MIN_ROUNDS = 2
TRIALS = 3
"""Runs per dtype to choose by; one is enough when it takes long."""
_LONG_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    models: tuple[str, ...] = ("demo", "30m", "100m")
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    group_sizes: tuple[int, ...] = (1, 8)
    """Rollouts that share a prompt; at most the batch size."""
    rounds: int = 6
    """The range of six independent rounds holds the median with 96.9 percent."""
    budget_s: float = 10.0
    """Per line of the table: fewer rounds (at least 2) when one takes long."""


QUICK = Plan(batch_sizes=(1, 8, 32), group_sizes=(8,), rounds=2, budget_s=5.0)


@dataclass(frozen=True)
class Spread:
    """Median and range over the rounds."""

    median: float
    low: float
    high: float
    dtype: Dtype | None = None

    @classmethod
    def of(cls, values: Sequence[float], dtype: Dtype | None = None) -> Self:
        return cls(statistics.median(values), min(values), max(values), dtype)

    def __str__(self) -> str:
        """Tokens per second."""
        dtype = "" if self.dtype is None else f" {_SHORT[self.dtype]}"
        return f"{self.median:,.0f} [{self.low:,.0f}, {self.high:,.0f}]{dtype}"


@dataclass(frozen=True)
class Cell:
    """One model at one batch size; speeds in sampled tokens per second."""

    model: str
    num_weights: int
    batch_size: int
    group_size: int
    prompt_length: int
    num_new: int
    rounds: int
    ours: Spread
    generate: Spread
    ratio: Spread
    roofline: float
    """Tokens per second if only weights were read and multiplied, in our dtype."""


def measure(plan: Plan, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Run the plan; the result is ready for JSON."""
    on_progress("measuring the machine")
    roofline = measure_roofline()
    cells = []
    for name in plan.models:
        workload = workload_named(name)
        on_progress(f"{name}: building")
        contestants = contestants_for(workload)
        for batch_size, group_size in _lines(plan):
            on_progress(f"{name}: batch {batch_size}, groups of {group_size}")
            task = Task(workload, batch_size, group_size)
            cells.append(_judge(task, _race(contestants, task, plan), roofline))
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "roofline": asdict(roofline),
        "cells": [asdict(cell) for cell in cells],
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    roof = result["roofline"]
    lines = [
        f"{result['threads']} threads, torch {result['torch']}, {result['cpu']}; "
        f"memory {roof['read_bytes_per_s'] / 1e9:.1f} GB/s, products "
        f"{roof['float32_flops'] / 1e9:.0f} GFLOP/s fp32, "
        f"{roof['bfloat16_flops'] / 1e9:.0f} GFLOP/s bf16",
        f"{'model':<6} {'batch':>5}  {'groups':<8}  {'lengths':<7}  {'archipel tokens/s':<32}"
        f"{'generate tokens/s':<32}{'ratio':<19} of roofline",
    ]
    for cell in result["cells"]:
        ours, theirs, ratio = (Spread(**cell[side]) for side in ("ours", "generate", "ratio"))
        lines.append(
            f"{cell['model']:<6} {cell['batch_size']:>5}  "
            f"{_grouping(cell):<8}  {cell['prompt_length']}+{cell['num_new']:<4}  {ours!s:<32}{theirs!s:<32}"
            f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]   "
            f"{ours.median / cell['roofline']:.0%}"
        )
    rounds = sorted({cell["rounds"] for cell in result["cells"]})
    lines.append(
        f"medians and range over {rounds[0]} to {rounds[-1]} rounds; the range of n rounds holds "
        "the median with 1 - 2^(1-n); prompt time included; roofline counts weights only"
    )
    return "\n".join(lines)


def _grouping(cell: dict[str, Any]) -> str:
    size = cell["group_size"]
    return "-" if cell["batch_size"] == 1 else "distinct" if size == 1 else f"of {size}"


def _lines(plan: Plan) -> list[tuple[int, int]]:
    """(batch size, group size), without repeating the batch of one."""
    return [
        (batch, group)
        for batch in plan.batch_sizes
        for group in (plan.group_sizes if batch > 1 else (1,))
        if batch % group == 0
    ]


def _race(contestants: dict[Key, Contestant], task: Task, plan: Plan) -> dict[Key, list[float]]:
    """Tokens per second of each side's better dtype, round by round; who begins alternates."""
    task.prompts  # noqa: B018 - computed here, outside every measurement

    def speed(key: Key) -> float:
        start = time.perf_counter()
        num_tokens = contestants[key](task)
        return num_tokens / (time.perf_counter() - start)

    def trial(key: Key) -> float:
        began, speeds = time.perf_counter(), [speed(key)]
        while len(speeds) < TRIALS and time.perf_counter() - began < _LONG_S:
            speeds.append(speed(key))
        return max(speeds)

    sides: tuple[Side, Side] = ("ours", "generate")
    keys: list[Key] = []
    for side in sides:
        trials = {dtype: trial((side, dtype)) for dtype in DTYPES}
        keys.append((side, max(DTYPES, key=lambda dtype: trials[dtype])))
    speeds: dict[Key, list[float]] = {key: [] for key in keys}
    began = time.perf_counter()
    for round_index in range(plan.rounds):
        if round_index >= MIN_ROUNDS and time.perf_counter() - began > plan.budget_s:
            break
        for key in keys if round_index % 2 == 0 else keys[::-1]:
            speeds[key].append(speed(key))
    return speeds


def _judge(task: Task, speeds: dict[Key, list[float]], roofline: Roofline) -> Cell:
    (ours_key, ours), (generate_key, theirs) = speeds.items()
    workload, ours_dtype = task.workload, ours_key[1]
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    num_weights = sum(math.prod(shape) for shape in expected_shapes(workload.config).values())
    return Cell(
        model=workload.name,
        num_weights=num_weights,
        batch_size=task.batch_size,
        group_size=task.group_size,
        prompt_length=workload.prompt_length,
        num_new=workload.num_new,
        rounds=len(ours),
        ours=Spread.of(ours, ours_dtype),
        generate=Spread.of(theirs, generate_key[1]),
        ratio=Spread.of(ratios),
        roofline=roofline.tokens_per_s(num_weights, task.batch_size, ours_dtype),
    )
