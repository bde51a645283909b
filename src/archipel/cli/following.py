"""A run's course as lines, for files and pipes: one for each version, evaluation, warning, pause and end."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from archipel.cli.run_words import (
    OVER,
    PARTS,
    PAUSED,
    capacity_words,
    clock_words,
    exam_words,
    number,
)
from archipel.cli.watching import Scene, Watcher
from archipel.curves.concerns import Concern
from archipel.curves.history import Exam, History
from archipel.curves.spells import Spell, over, spells_of
from archipel.node.client import LabReader
from archipel.node.exchange import LabUnreachable
from archipel.records.capacity import CapacityView
from archipel.records.documents import RunView

SHOWN = (
    *("reward", "finished_fraction", "entropy", "mismatch_kl", "grad_norm"),
    *("zero_advantage_groups", "groups"),
)
"""Measurements in a line for people; JSON has all."""


async def follow_runs(lab_url: str, name: str | None, every_s: float, as_json: bool) -> None:
    """Print what is new until every watched run is over."""
    async with LabReader(lab_url) as lab:
        watcher, news, is_told = Watcher(lab, name, None), News(), False
        while True:
            try:
                scene = await watcher.look()
                events = [event for run in scene.runs for event in news.of(scene, run)]
            except LabUnreachable as error:
                if not is_told:
                    click.echo(f"no answer: {error}; trying again", err=True)
                is_told = True
            else:
                is_told = False
                for event in events:
                    click.echo(json.dumps(event) if as_json else line(event))
                if scene.runs and all(run.phase in OVER for run in scene.runs):
                    return
            await asyncio.sleep(every_s)


class News:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._exams: dict[str, int] = {}
        self._warned: dict[str, frozenset[str]] = {}
        self._failing: dict[str, tuple[str, ...]] = {}
        self._judged: dict[str, tuple[str, ...]] = {}
        self._capacities: dict[str, tuple[int, CapacityView | None]] = {}
        """Run -> the version at which it was told who works, and what was told."""
        self._over: set[str] = set()
        self._paused: set[str] = set()

    def of(self, scene: Scene, run: RunView) -> Iterator[dict[str, Any]]:
        """What is new of one run, as flat events; each has `run`, `event` and `version`.

        `at_s` is when that version was published; the lab does not say when it was evaluated.
        """
        history = scene.histories.get(run.run)
        times = {point.version: point.at_s for point in history.points} if history else {}
        for event in self._events(scene, run, history):
            at_s = times.get(event["version"])
            yield event if at_s is None else {**event, "at_s": at_s}

    def _events(
        self, scene: Scene, run: RunView, history: History | None
    ) -> Iterator[dict[str, Any]]:
        if history is not None:
            yield from self._course(run, history)
            yield from self._warnings(run, scene.warnings(run.run))
        yield from self.capacity(run)
        yield from self._troubles(run)
        yield from self._verdicts(run)
        yield from self._pauses(scene, run)
        if run.phase in OVER and run.run not in self._over:
            self._over.add(run.run)
            told = _all_told(scene, run)
            yield {"run": run.run, "event": run.phase, "version": run.version, **told}

    def _course(self, run: RunView, history: History) -> Iterator[dict[str, Any]]:
        last = {"of": run.versions}
        for point in history.points:
            if point.version > self._versions.get(run.run, -1):
                self._versions[run.run] = point.version
                head = {"run": run.run, "event": "version", "version": point.version, **last}
                yield {**head, **point.values}
        for exam in history.exams:
            if exam.version > self._exams.get(run.run, -1):
                self._exams[run.run] = exam.version
                yield {
                    "run": run.run,
                    "event": "evaluation",
                    "version": exam.version,
                    **exam.values,
                }

    def _pauses(self, scene: Scene, run: RunView) -> Iterator[dict[str, Any]]:
        head = {"run": run.run, "version": run.version}
        if run.phase == PAUSED and run.run not in self._paused:
            self._paused.add(run.run)
            why = next((wait.waiting_for for wait in scene.waits if wait.run == run.run), "")
            yield {**head, "event": PAUSED, "text": why}
        elif run.phase != PAUSED and run.run in self._paused:
            self._paused.discard(run.run)
            if run.phase not in OVER:
                yield {**head, "event": "resumed"}

    def capacity(self, run: RunView) -> Iterator[dict[str, Any]]:
        """How much work is wanted and brought, by whom: when who works or waits has changed, once a version at most."""
        found, (version, told) = run.capacity, self._capacities.get(run.run, (-1, None))
        if found is None or run.version <= version or _who(found) == _who(told):
            return
        self._capacities[run.run] = (run.version, found)
        head = {"run": run.run, "event": "capacity", "version": run.version}
        yield {**head, **found.model_dump(mode="json"), "text": capacity_words(found)[0]}

    def _troubles(self, run: RunView) -> Iterator[dict[str, Any]]:
        """Work that fails time after time; told again when it says something else."""
        before = self._failing.get(run.run, ())
        self._failing[run.run] = run.troubles
        for trouble in run.troubles:
            if trouble not in before:
                head = {"run": run.run, "event": "failing", "version": run.version}
                yield {**head, "text": trouble}

    def _verdicts(self, run: RunView) -> Iterator[dict[str, Any]]:
        """Verdicts against nodes, each once."""
        before = self._judged.get(run.run, ())
        self._judged[run.run] = run.verdicts
        for words in run.verdicts:
            if words not in before:
                head = {"run": run.run, "event": "verdict", "version": run.version}
                yield {**head, "text": words}

    def _warnings(self, run: RunView, found: list[Concern]) -> Iterator[dict[str, Any]]:
        """A warning is told when it begins, and again when it comes back."""
        before = self._warned.get(run.run, frozenset())
        self._warned[run.run] = frozenset(concern.kind for concern in found)
        for concern in found:
            if concern.kind not in before:
                head = {"run": run.run, "event": "warning", "version": run.version}
                yield {**head, "kind": concern.kind, "text": concern.text}


def _who(capacity: CapacityView | None) -> tuple[object, ...]:
    """What does not move with every answer."""
    if capacity is None:
        return ()
    return capacity.active, capacity.standby, capacity.binds, capacity.reasons


def _all_told(scene: Scene, run: RunView) -> dict[str, Any]:
    """For the end of a run: which warnings stand, and which stood on the way, looked at or not."""
    standing = [concern.kind for concern in scene.warnings(run.run)]
    passed = (
        over(spells_of(scene.histories[run.run]), standing) if run.run in scene.histories else []
    )
    told: dict[str, Any] = {"warnings": standing} if standing else {}
    return told | ({"earlier": [asdict(spell) for spell in passed]} if passed else {})


def line(event: dict[str, Any]) -> str:
    """An event for people."""
    at = f"{clock_words(event['at_s'])} " if "at_s" in event else ""
    head = f"{at}{event['run']} {event['event']} {event['version']}"
    if event["event"] == "version":
        told = [f"{name} {number(event[name])}" for name in SHOWN if name in event]
        told += [
            f"{name} {number(value)}" for name, value in event.items() if name.startswith(PARTS)
        ]
        return "  ".join([f"{head}/{event['of']}", *told])
    if event["event"] == "evaluation":
        scores = {name: value for name, value in event.items() if isinstance(value, float)}
        scores.pop("at_s", None)
        return f"{head}  {exam_words(Exam(event['version'], scores))}"
    if "warnings" in event or "earlier" in event:
        standing = ", ".join(event.get("warnings", ())) or "none"
        passed = ", ".join(str(Spell(**each)) for each in event.get("earlier", ()))
        return f"{head}, with warnings that stand: {standing}" + (
            f"; earlier: {passed}" if passed else ""
        )
    kind = f", {event['kind']}" if "kind" in event else ""
    return f"{head}{kind}: {event['text']}" if "text" in event else head
