"""What exact inference costs and gives: speed, quality, exactness, detection, verifying, learning.

Each part is side by side in one run; `bench.exact_report` prints it. Speeds are processor time, so that what
else runs on the machine disturbs them less. What it does not show: other machines than this one; fewer
instructions are asked of the libraries, and FBGEMM is left out there, but the processor stays the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archipel.bench.exact_cheats import detection, updated
from archipel.bench.exact_job import run_job
from archipel.bench.exact_learning import learn, summary
from archipel.bench.exact_speed import verifying
from archipel.bench.exact_subjects import (
    SIZES,
    Subject,
    answers_of,
    engine_of,
    requests_of,
    subject_named,
)
from archipel.engine.exact.forcing import Line
from archipel.engine.exact.scoring import BF16, FP32, compare
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import FAMILIES
from archipel.records.recipe import Recipe

PARTS = ("speed", "quality", "exact", "detection", "verify", "learning")
CHEAP, FINE = "w7a8", "w13a15"
_STEP = 3e-6
"""Of the update that a model which is one older has not seen."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    models: tuple[str, ...] = ("demo", "30m", "100m")
    """Sizes, families and directories."""
    batch_sizes: tuple[int, ...] = (1, 8, 32, 128)
    rounds: int = 6
    caps: tuple[str, ...] = ("full", "avx2", "sse4.1")
    """Of speed; exactness takes all."""
    positions: int = 1_000_000
    """Recomputed over all arms of exactness."""
    completions: int = 64
    """Of each way to cheat."""
    windows: int = 16
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    updates: int = 80
    parts: tuple[str, ...] = PARTS


QUICK = Plan(
    models=("demo",), batch_sizes=(1, 8), rounds=3, caps=("full",), positions=20_000, completions=16,
    windows=4, seeds=(0, 1), updates=20,
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One way to recompute what was recorded."""

    name: str
    cap: str
    threads: int = 1
    without: tuple[str, ...] = ()
    """Backends that it may not use."""


ARMS = (
    Arm("full", "full"), Arm("avx2", "avx2"), Arm("sse4.1", "sse4.1"), Arm("compatible", "compatible"),
    Arm("2 threads", "full", threads=2), Arm("oneDNN alone", "full", without=("fbgemm", "float32")),
    Arm("floats alone", "full", without=("fbgemm", "onednn")),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where processes of their own work."""

    folder: Path
    environment: Mapping[str, str]


def measure(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> dict[str, Any]:
    """Run the plan; the result is ready for JSON.

    Raises:
        JobFailed: a process under other instructions ended badly.
        InvalidModel: a directory is none.
    """
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    for part in plan.parts:
        result[part] = _MEASURE[part](plan, recipe, place, tell)
    return result


def _speed(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> list[dict[str, Any]]:
    rows = []
    for model in plan.models:
        for cap in plan.caps:
            tell(f"speed: {Path(model).name}, {cap}")
            job = {
                "do": "speed", "model": model, "kinds": [FP32, BF16, CHEAP, FINE], "cap": cap, "threads": 1,
                "batch_sizes": list(plan.batch_sizes), "rounds": plan.rounds,
            }  # fmt: skip
            found = run_job(job, place.folder / "speed", place.environment)["rows"]
            rows += [{"cap": cap, **row} for row in found]
    return rows


def _quality(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> list[dict[str, Any]]:
    rows = []
    for model in plan.models:
        tell(f"quality: {Path(model).name}")
        subject = subject_named(model)
        found = compare(subject.config, subject.state, _texts(subject, plan), [BF16, *VARIANTS])
        rows += [
            {"model": subject.name, "kind": kind, **asdict(each)} for kind, each in found.items()
        ]
    return rows


def _texts(subject: Subject, plan: Plan) -> list[Line]:
    """Windows of the subject's text, or what it says itself."""
    size = min(256, subject.config.max_position_embeddings)
    if subject.text:
        cut = [subject.text[at : at + size] for at in range(0, len(subject.text), size)]
        return [Line(i, w[:1], w[1:]) for i, w in enumerate(cut[: plan.windows]) if len(w) > 1]
    requests = requests_of(subject, plan.windows, size // 2)
    made = answers_of(engine_of(subject, FP32), requests).tokens
    return [
        Line(i, request.prompt, tuple(row))
        for i, (request, row) in enumerate(zip(requests, made.tolist(), strict=True))
    ]


def _exact(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> list[dict[str, Any]]:
    """Answers of one process, recomputed by others: a row for each model and variant of each of those."""
    cases, folder = _cases(plan), place.folder / "answers"
    tell("exactness: answers to recompute")
    run_job(
        {"do": "record", "cap": "full", "threads": 1, "cases": cases}, folder, place.environment
    )
    rows = []
    for arm in ARMS:
        tell(f"exactness: {arm.name}")
        job = {
            "do": "recompute", "answers": str(folder), "cap": arm.cap, "threads": arm.threads,
            "without": list(arm.without), "cases": cases,
        }  # fmt: skip
        found = run_job(job, folder / arm.name, place.environment)["rows"]
        rows += [{"arm": arm.name, **row} for row in found]
    return rows


def _cases(plan: Plan) -> list[dict[str, Any]]:
    """A small model of each family in each variant, and a few answers of each directory."""
    share = 1 + plan.positions // (len(ARMS) * len(FAMILIES) * len(VARIANTS))
    small = [(family, variant, share, 16) for family in FAMILIES for variant in VARIANTS]
    given = [
        (model, variant, min(share, 400), 2)
        for model in plan.models
        if model not in SIZES
        for variant in (CHEAP, FINE)
    ]
    return [
        {"model": model, "variant": variant, "positions": positions, "few": few, "name": str(index)}
        for index, (model, variant, positions, few) in enumerate(small + given)
    ]


def _detection(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> list[dict[str, Any]]:
    rows = []
    for model in plan.models:
        for variant in (CHEAP, FINE):
            tell(f"detection: {Path(model).name}, {variant}")
            subject = subject_named(model)
            newer = Subject(
                subject.name, subject.config, updated(subject.state, _STEP, 1), subject.text
            )
            rows += detection(newer, variant, plan.completions, subject.state)
    return rows


def _verify(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> list[dict[str, Any]]:
    rows = []
    for model in plan.models:
        tell(f"verifying: {Path(model).name}")
        subject = subject_named(model)
        new = min(48, subject.config.max_position_embeddings // 2)
        rows += verifying(subject, (CHEAP, FINE), plan.batch_sizes, new)
    return rows


def _learning(plan: Plan, recipe: Recipe, place: Place, tell: Tell) -> dict[str, Any]:
    arms = learn(recipe, (FP32, CHEAP), plan.seeds, plan.updates, tell)
    return {"arms": [asdict(arm) for arm in arms], "rows": summary(arms)}


_MEASURE: dict[str, Callable[[Plan, Recipe, Place, Tell], Any]] = {
    "speed": _speed, "quality": _quality, "exact": _exact, "detection": _detection,
    "verify": _verify, "learning": _learning,
}  # fmt: skip


def mean_wait(positions: int, differ: int) -> float:
    """Positions until a difference, on average; infinite where none was seen."""
    return positions / differ if differ else float(np.inf)
