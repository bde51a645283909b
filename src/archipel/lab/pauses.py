"""A run that stands still because its operator said so, and goes on when they say so. Pure.

Law: a paused run hands nothing out, to anybody, for whatever kind of work; what it handed out before may be
answered, and is paid. Nothing else of it changes, so it goes on as if no time had passed.
"""

from archipel.lab.state import OPEN_PHASES, Phase, Run
from archipel.lab.tallies import Pause
from archipel.records.changed import changed
from archipel.records.pauses import Pausing, RunPaused


def followed(run: Run, statement: Pausing, at_ms: int) -> Run:
    """The run after either statement. Raises ValueError: it cannot follow."""
    if isinstance(statement, RunPaused):
        return paused(run, statement, at_ms)
    return resumed(run, at_ms)


def paused(run: Run, statement: RunPaused, at_ms: int) -> Run:
    """The run from now on.

    Raises:
        ValueError: it is paused, or over.
    """
    if run.paused is not None or run.phase not in OPEN_PHASES:
        raise ValueError(f"run {run.name} is {'paused' if run.paused else run.phase.value} already")
    pause = Pause(by=statement.author, reason=statement.reason, at_ms=at_ms)
    return changed(run, paused=pause)


def resumed(run: Run, at_ms: int) -> Run:
    """The run when its operator lets it go on.

    Raises:
        ValueError: it is not paused.
    """
    if run.paused is None:
        raise ValueError(f"run {run.name} is not paused")
    return ended(run, at_ms)


def ended(run: Run, at_ms: int) -> Run:
    """The run without its pause, if it has one: time counts again, unless it has made all its versions."""
    if run.paused is None:
        return run
    until_ms = run.chain[-1].at_ms if run.phase is Phase.COMPLETE else at_ms
    return changed(run, paused=None, paused_ms=idle_ms(run, until_ms))


def idle_ms(run: Run, until_ms: int) -> int:
    """How long it was paused since version 0, up to a moment not before its newest version."""
    if run.paused is None or not run.chain:
        return run.paused_ms
    return run.paused_ms + max(until_ms - max(run.paused.at_ms, run.version_0_at_ms), 0)
