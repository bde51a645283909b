"""Measurements as steps that are kept one by one: who is stopped loses the step at hand and no other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.bench.kept import Asked, Kept

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """Steps that share what they need: a process, a model."""

    what: str
    """For people."""
    steps: tuple[Asked, ...]
    run: Callable[[Sequence[Asked]], Iterable[list[dict[str, Any]]]]
    """(those steps that are missing) -> the rows of each, in order, as they are found."""


def carry_out(tasks: Sequence[Task], kept: Kept, tell: Tell) -> None:
    """Run what has not been found before; `tell` hears of each step."""
    num_steps = sum(len(task.steps) for task in tasks)
    done = len(kept.among([step for task in tasks for step in task.steps]))
    if done:
        tell(f"{done} of {num_steps} steps were measured before ({kept.path})")
    for task in tasks:
        missing = [step for step in task.steps if kept.find(step) is None]
        if missing:
            tell(f"[{done}/{num_steps}] {task.what}")
            for step, rows in zip(missing, task.run(missing), strict=True):
                kept.keep(step, rows)
                done += 1
                tell(f"[{done}/{num_steps}] {task.what}: {said(step)} done")


def rows_of(tasks: Sequence[Task], kept: Kept) -> list[dict[str, Any]]:
    """Every row that was found, in the order of the tasks."""
    steps = [step for task in tasks for step in task.steps]
    return [row for step in kept.among(steps) for row in kept.find(step)]


_SAID = ("kind", "variant", "batch", "storage", "entries", "way", "seed")


def said(step: Asked) -> str:
    """What sets a step apart from its neighbours in a task."""
    named = [Path(step["model"]).name] if "model" in step else []
    named += [f"{name} {step[name]}" for name in _SAID if name in step]
    return ", ".join(named)
