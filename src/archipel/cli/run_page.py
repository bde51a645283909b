"""The page that `archipel run show` prints of one run, and the same for machines."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from archipel.cli.run_words import (
    NOT_INVARIANT,
    capacity_words,
    clock_words,
    credit_words,
    exam_words,
    number,
    progress_words,
    sparkline,
)
from archipel.curves.concerns import Concern, concerns
from archipel.curves.history import Exam, History, in_order
from archipel.curves.spells import over, spells_of
from archipel.records.documents import RunView, Wait

MAX_EXAMS_SHOWN = 12
LABEL_WIDTH = 14


def page(
    run: RunView, history: History, waits: Sequence[Wait], rate_micro: int | None = None
) -> str:
    """For people: what, how far, how well, what for, and what is wrong. rate_micro: of a dollar, for a credit."""
    return "\n".join(_lines(run, history, waits, rate_micro))


def for_machines(run: RunView, history: History, waits: Sequence[Wait]) -> dict[str, Any]:
    """For programs: units in names, shares and scores as floats, measurements of the newest version."""
    shown = run.model_dump(mode="json")
    newest = history.points[-1] if history.points else None
    shown["evaluations"] = [{"version": exam.version, **exam.values} for exam in history.exams]
    del shown["published_at_ms"]
    return shown | {
        "published_at_s": {str(point.version): point.at_s for point in history.points},
        "measured": dict(newest.values) if newest else {},
        "waiting_for": [wait.waiting_for for wait in waits if wait.run == run.run],
        "warnings": [{"kind": concern.kind, "text": concern.text} for concern in concerns(history)],
        "alarms": [asdict(spell) for spell in spells_of(history)],
    }


def _lines(
    run: RunView, history: History, waits: Sequence[Wait], rate_micro: int | None
) -> Iterator[str]:
    opened = clock_words(run.opened_at_ms / 1000)
    far = f"version {run.version}" if run.version >= 0 else "no version yet"
    yield f"{run.run}: {run.phase}, {far} of {run.versions}, opened {opened}"
    yield _labelled("programme", run.programme)
    yield _labelled("recipe", run.recipe)
    if run.adapter:
        yield _labelled("trains", run.adapter)
    if run.backend:
        yield _labelled(
            "computed by",
            f"{run.backend}: {NOT_INVARIANT}, what is sampled beside a rollout may change its last bits",
        )
    if run.exact:
        yield _labelled("sampled by", run.exact)
    if run.rewards:
        yield _labelled("reward", sparkline(run.rewards))
    yield from _exam_lines(history.exams)
    if history.points and history.points[-1].values:
        yield from _wrapped("newest version", history.points[-1].values)
    yield _labelled("learner", f"busy {run.learner_utilisation:.0%} of the time{_every(run)}")
    yield _labelled("credits", credit_words(run, rate_micro))
    yield _labelled("progress", progress_words(run))
    yield from (_labelled("nodes", words) for words in capacity_words(run.capacity))
    for trouble in run.troubles:
        yield _labelled("failing", trouble)
    for words in run.verdicts:
        yield _labelled("verdict", words)
    for wait in waits:
        if wait.run == run.run:
            yield _labelled("waiting for", f"{wait.waiting_for}; {wait.advice}")
    yield from _alarm_lines(history)


def warning_lines(found: Sequence[Concern]) -> Iterator[str]:
    """One line for each thing that goes wrong."""
    for concern in found:
        yield _labelled("warning", f"{concern.kind}: {concern.text}")


def _alarm_lines(history: History) -> Iterator[str]:
    """What stands, and what stood on the way."""
    found = concerns(history)
    yield from warning_lines(found)
    if passed := over(spells_of(history), [concern.kind for concern in found]):
        yield _labelled("earlier", f"warnings of {', '.join(map(str, passed))}")


def _labelled(label: str, text: str) -> str:
    return f"  {label:{LABEL_WIDTH}}  {text}"


def _every(run: RunView) -> str:
    """How long a version takes on average since version 0."""
    if run.version < 1 or len(run.published_at_ms) < 2:
        return ""
    mean_s = (run.published_at_ms[-1] - run.published_at_ms[0]) / 1000 / run.version
    return f", a version every {mean_s:.1f} s"


def _exam_lines(exams: Sequence[Exam]) -> Iterator[str]:
    """Version and scores with their intervals; the newest when there are many."""
    label = "held out"
    if len(exams) > MAX_EXAMS_SHOWN:
        yield _labelled(label, f"the newest {MAX_EXAMS_SHOWN} of {len(exams)} evaluations")
        label = ""
    for exam in exams[-MAX_EXAMS_SHOWN:]:
        yield _labelled(label, f"version {exam.version:<6} {exam_words(exam)}")
        label = ""


def _wrapped(label: str, values: Any) -> Iterator[str]:
    """Three measurements a line."""
    told = [f"{name.replace('_', ' ')} {number(values[name])}" for name in in_order(values)]
    for start in range(0, len(told), 3):
        yield _labelled(
            label if start == 0 else "",
            "  ".join(f"{t:32}" for t in told[start : start + 3]).rstrip(),
        )
