"""The loop of a course at a door: score, step, save now and then, publish, fetch.

Law: whatever cuts it, it goes on from the last checkpoint and comes out as if nothing had.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.door.client.course import Course
from archipel.door.client.examples import Example
from archipel.door.client.files import fetch_adapter
from archipel.door.client.kept import Standing, write_standing
from archipel.door.client.line import DoorLost, DoorRefused, Line
from archipel.door.client.remote import Remote
from archipel.door.client.said import BadAnswer

SAVE_EVERY = 20
"""Steps between two checkpoints at the door."""
PUBLISHED = "adapter"
"""The door's name for what came out, within its model."""


@dataclass(frozen=True)
class Progress:
    """Of this run of the command."""

    step: int
    steps: int
    loss: float
    """Nats a token that was learned, in the last step before it."""
    tokens_per_s: float
    left_s: float


@dataclass(frozen=True)
class Learned:
    """How a course ended, or where it was stopped."""

    standing: Standing
    is_whole: bool
    loss: float | None = None
    """Of the last step; None: there was none in this run."""
    loss_after: float | None = None
    published: str | None = None


@dataclass(frozen=True)
class Pupil:
    """What is learned, over what, and where."""

    line: Line
    base: str
    course: Course
    learned: Sequence[Example]
    held: Sequence[Example]
    """Never learned from; may be none."""
    out: Path
    """The adapter's folder."""
    saved: Path
    """The folder that says how far it came, until the adapter is there."""


def learn(
    pupil: Pupil,
    standing: Standing,
    on_step: Callable[[Progress], None],
    is_stopping: Callable[[], bool],
) -> Learned:
    """From where it stands to the adapter's folder, or until `is_stopping` says so after a step.

    Raises:
        DoorRefused, DoorLost, BadAnswer: see `remote`; what was saved last stays.
        OSError: the disk is full or not writable.
    """
    remote = Remote.begun(pupil.line, pupil.base, pupil.course, standing.checkpoint)
    try:
        if standing.loss_before is None and pupil.held:
            standing = standing.model_copy(update={"loss_before": remote.scored(pupil.held)})
        standing, loss, is_whole = _stepped(pupil, remote, standing, on_step, is_stopping)
        if not is_whole:
            remote.finish("interrupted")
            return Learned(standing, False, loss)
        after = remote.scored(pupil.held) if pupil.held else None
        published = remote.publish(PUBLISHED)
        fetch_adapter(pupil.line, published, pupil.out, pupil.course.rank)
    except (DoorRefused, BadAnswer):
        with contextlib.suppress(DoorRefused, DoorLost, BadAnswer):
            remote.finish("errored")
        raise
    remote.finish("success")
    return Learned(standing, True, loss, after, published)


def _stepped(
    pupil: Pupil,
    remote: Remote,
    standing: Standing,
    on_step: Callable[[Progress], None],
    is_stopping: Callable[[], bool],
) -> tuple[Standing, float | None, bool]:
    """Where it stands then, the last loss, and whether all steps were made; saved in either case."""
    course, first, loss = pupil.course, standing.step, None
    began, num_before = time.monotonic(), standing.num_tokens
    for step in range(first, course.steps):
        if is_stopping():
            return _save(pupil, remote, standing), loss, False
        batch = [pupil.learned[each] for each in course.chosen(step, len(pupil.learned))]
        try:
            loss = remote.step(batch, course.rate(step))
        except DoorRefused:
            if remote.is_between_steps and step > first:
                with contextlib.suppress(DoorRefused, DoorLost, BadAnswer):
                    _save(pupil, remote, standing)
            raise
        tokens = standing.num_tokens + sum(each.num_inputs for each in batch)
        standing = standing.model_copy(update={"step": step + 1, "num_tokens": tokens})
        spent_s = max(time.monotonic() - began, 1e-9)
        left_s = spent_s / (step + 1 - first) * (course.steps - step - 1)
        pace = (tokens - num_before) / spent_s
        on_step(Progress(step + 1, course.steps, loss, pace, left_s))
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == course.steps:
            standing = _save(pupil, remote, standing)
    return standing, loss, True


def _save(pupil: Pupil, remote: Remote, standing: Standing) -> Standing:
    """Under a name of its step, and then on this disk."""
    path = remote.save(f"step-{standing.step}")
    standing = standing.model_copy(update={"checkpoint": path})
    write_standing(pupil.saved, standing)
    return standing
