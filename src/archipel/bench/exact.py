"""What exact inference costs and gives: speed, quality, exactness, detection, verifying, learning.

Each part is a list of tasks, whose steps are kept one by one in the measurement's folder (`bench.tasks`);
`bench.exact_report` prints what was found. Speeds are processor time, so that what else runs on the machine
disturbs them less, and what is compared takes turns. What it does not show: other machines than this one;
fewer instructions are asked of the libraries, and FBGEMM is left out there, but the processor stays the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from archipel.bench.exact_cheats import WAYS, Court
from archipel.bench.exact_job import Rows, run_job
from archipel.bench.exact_learning import Arm, learn, summary
from archipel.bench.exact_own import OWN, own_subject
from archipel.bench.exact_plan import ARMS, CHEAP, FINE, KINDS, WHOLE, Plan
from archipel.bench.exact_speed import verifying
from archipel.bench.exact_subjects import (
    SIZES,
    Subject,
    answers_of,
    engine_of,
    requests_of,
    subject_named,
)
from archipel.bench.kept import Asked, Kept
from archipel.bench.tasks import Task, Tell, carry_out, rows_of
from archipel.engine.exact.forcing import Line
from archipel.engine.exact.scoring import BF16, FP32, compare
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import EXACT_FAMILIES
from archipel.records.recipe import Recipe


@dataclass(frozen=True)
class Place:
    """Where it is measured, and what by."""

    folder: Path
    environment: Mapping[str, str]
    """Of processes of its own."""
    recipe: Recipe
    """Of learning, and of the policy."""
    tell: Tell = lambda text: None


def measure(plan: Plan, place: Place) -> None:
    """Run what the folder does not have yet.

    Raises:
        JobFailed: a process under other instructions ended badly.
        InvalidModel: a directory is none.
        NotOurs: the folder has another's steps.
    """
    torch.set_num_threads(1)
    kept = Kept(place.folder)
    for part in plan.parts or PARTS:
        carry_out(PARTS[part](plan, place), kept, place.tell)


def result(plan: Plan, place: Place) -> dict[str, Any]:
    """What the folder has of the plan, ready for JSON."""
    kept = Kept(place.folder)
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "steps": {},
    }
    sources: dict[str, int] = {}
    for part in plan.parts or PARTS:
        tasks = PARTS[part](plan, place)
        steps = [step for task in tasks for step in task.steps]
        found["steps"][part] = {"of": len(steps), "found": len(kept.among(steps))}
        for source, count in kept.sources(steps).items():
            sources[source] = sources.get(source, 0) + count
        if rows := rows_of(tasks, kept):
            found[part] = rows
    if "learning" in found:
        found["learning_summary"] = summary([Arm(**row) for row in found["learning"]])
    return found | {"sources": sources}


def _speed(plan: Plan, place: Place) -> list[Task]:
    return [
        Task(
            f"speed: {Path(model).name}, {cap}",
            tuple(
                {"part": "speed", "model": model, "cap": cap, "batch": batch, "rounds": plan.rounds,
                 "kinds": _kinds(plan)}
                for batch in plan.batch_sizes
            ),
            _job(place, "speed", cap),
        )
        for model in (*plan.models, *plan.directories)
        for cap in plan.caps
    ]  # fmt: skip


def _kinds(plan: Plan) -> list[str]:
    """Ratios are to fp32."""
    return [FP32, *(kind for kind in KINDS[1:] if kind in plan.kinds)]


def _job(
    place: Place, do: str, cap: str, threads: int = 1, **more: Any
) -> Callable[[Sequence[Asked]], Iterator[Rows]]:
    def run(steps: Sequence[Asked]) -> Iterator[Rows]:
        job = {"do": do, "cap": cap, "threads": threads, "steps": list(steps), **more}
        return run_job(job, place.folder / do, place.environment)

    return run


def _quality(plan: Plan, place: Place) -> list[Task]:
    def task(model: str) -> Task:
        def run(_: Sequence[Asked]) -> Iterator[Rows]:
            subject = _subject(model, place)
            texts = _texts(subject, plan.windows)
            found = compare(subject.config, subject.state, texts, [BF16, *VARIANTS])
            yield [
                {"model": subject.name, "kind": kind, **asdict(each)}
                for kind, each in found.items()
            ]

        asked = {"part": "quality", "model": model, "windows": plan.windows}
        return Task(f"quality: {Path(model).name}", (asked | _by(model, place),), run)

    return [task(model) for model in (*plan.own, *plan.directories)]


def _subject(model: str, place: Place) -> Subject:
    if model in OWN:
        return own_subject(model, place.folder, place.recipe, place.tell)
    return subject_named(model)


def _by(model: str, place: Place) -> dict[str, Any]:
    """A policy is its recipe's."""
    return {"recipe": place.recipe.digest} if model == "policy" else {}


def _texts(subject: Subject, windows: int) -> list[Line]:
    """Windows of the subject's text, or what it says itself."""
    size = min(256, subject.config.max_position_embeddings)
    if subject.text:
        cut = [subject.text[at : at + size] for at in range(0, len(subject.text), size)]
        return [Line(i, w[:1], w[1:]) for i, w in enumerate(cut[:windows]) if len(w) > 1]
    requests = requests_of(subject, windows * 8, min(subject.num_new, size // 2))
    made = answers_of(engine_of(subject, FP32), requests).tokens
    return [
        Line(i, request.prompt, tuple(row))
        for i, (request, row) in enumerate(zip(requests, made.tolist(), strict=True))
    ]


def _exact(plan: Plan, place: Place) -> list[Task]:
    """Answers of one process, recomputed by others: a row for each model and variant of each of those."""
    cases = _cases(plan)
    record = tuple({"part": "record", **case} for case in cases)
    tasks = [Task("exactness: answers to recompute", record, _job(place, "record", "full"))]
    for arm in (each for each in ARMS if each.name in plan.arms):
        steps = tuple({"part": "exact", "arm": arm.name, **case} for case in cases)
        run = _job(
            place, "recompute", arm.cap, arm.threads,
            without=list(arm.without), answers=str(place.folder / "record"),
        )  # fmt: skip
        tasks.append(Task(f"exactness: {arm.name}", steps, run))
    return tasks


def _cases(plan: Plan) -> list[dict[str, Any]]:
    """A small model of each family in each variant, and a few answers of each directory and larger size."""
    share = 1 + plan.positions // (len(plan.arms) * len(EXACT_FAMILIES) * len(VARIANTS))
    small = [(family, variant, share, 16) for family in EXACT_FAMILIES for variant in VARIANTS]
    large = [name for name in plan.models if name in SIZES[1:]]
    given = [
        (model, variant, min(share, 400), 2)
        for model in (*large, *plan.directories)
        for variant in (CHEAP, WHOLE, FINE)
    ]
    return [
        {
            "model": model,
            "variant": variant,
            "positions": positions,
            "few": few,
            "new": plan.new_tokens,
        }
        for model, variant, positions, few in small + given
    ]


def _detection(plan: Plan, place: Place) -> list[Task]:
    def task(model: str, variant: str) -> Task:
        def run(steps: Sequence[Asked]) -> Iterator[Rows]:
            court = Court(_subject(model, place), variant, plan.completions)
            for step in steps:
                yield [court.row(step["way"])]

        asked = {"part": "detection", "model": model, "variant": variant} | _by(model, place)
        steps = tuple({**asked, "completions": plan.completions, "way": way} for way in WAYS)
        return Task(f"detection: {Path(model).name}, {variant}", steps, run)

    models = (*plan.own, *plan.directories)
    return [task(model, variant) for model in models for variant in (CHEAP, FINE)]


def _verify(plan: Plan, place: Place) -> list[Task]:
    def task(model: str, kind: str) -> Task:
        def run(steps: Sequence[Asked]) -> Iterator[Rows]:
            subject = subject_named(model)
            new = min(subject.num_new, subject.config.max_position_embeddings // 2)
            batches = [step["batch"] for step in steps]
            yield from verifying(subject, kind, batches, steps[0]["rounds"], new)

        asked = {"part": "verify", "model": model, "kind": kind, "rounds": max(1, plan.rounds // 2)}
        steps = tuple({**asked, "batch": batch} for batch in plan.batch_sizes)
        return Task(f"verifying: {Path(model).name}, {kind}", steps, run)

    models = (*plan.models, *plan.directories)
    return [task(model, kind) for model in models for kind in (CHEAP, FINE)]


def _learning(plan: Plan, place: Place) -> list[Task]:
    def task(seed: int) -> Task:
        def run(steps: Sequence[Asked]) -> Iterator[Rows]:
            kinds = [step["kind"] for step in steps]
            for arm in learn(place.recipe, seed, kinds, plan.updates):
                yield [asdict(arm)]

        asked = {"part": "learning", "seed": seed, "updates": plan.updates}
        asked["recipe"] = place.recipe.digest
        steps = tuple({**asked, "kind": kind} for kind in _kinds(plan) if kind != BF16)
        return Task(f"learning: seed {seed}", steps, run)

    return [task(seed) for seed in plan.seeds]


PARTS: dict[str, Callable[[Plan, Place], list[Task]]] = {
    "speed": _speed, "quality": _quality, "exact": _exact, "detection": _detection,
    "verify": _verify, "learning": _learning,
}  # fmt: skip
