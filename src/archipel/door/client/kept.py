"""Where a course stands, on this machine's disk, so that the same command goes on after whatever cut it.

The weights themselves lie at the door, as a checkpoint with moments. Law: a file appears whole or not at all; one of another
course is refused, never overwritten.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.door.client.course import Course
from archipel.door.client.examples import Example

FILE = "state.json"
MAX_BYTES = 64 * 1024


class Standing(BaseModel):
    """What is known after so many steps."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    digest: str
    """Of all that the course follows from."""
    step: int = Field(default=0, ge=0)
    checkpoint: str | None = None
    """The door's name for the weights after that step; None: it has only begun."""
    loss_before: float | None = None
    """Nats a token of the examples held out, before the first step."""
    num_tokens: int = Field(default=0, ge=0)


class AnothersCourse(ValueError):
    """The folder is of another course, or cannot be read; the message says what to do."""


def digest_of(
    base: str, course: Course, learned: Sequence[Example], held: Sequence[Example]
) -> str:
    """Of all that a course follows from."""
    hasher = hashlib.sha256(repr((base, course, len(learned))).encode())
    for example in (*learned, *held):
        hasher.update(repr((example.prompt, example.answer)).encode())
    return hasher.hexdigest()


def read_standing(folder: Path, digest: str) -> Standing:
    """Of this course, at its beginning where nothing is kept.

    Raises:
        AnothersCourse: what lies there is of another course, or damaged.
        OSError: it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return Standing(digest=digest)
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        found = Standing.model_validate_json(data) if len(data) <= MAX_BYTES else None
    except ValidationError:
        found = None
    if found is None or found.digest != digest:
        raise AnothersCourse(
            f"{folder} holds a course that was begun with other examples or settings; give those again, "
            f"remove {folder}, or name another --out"
        )
    return found


def write_standing(folder: Path, standing: Standing) -> None:
    """Durably, in place of what was there. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{FILE}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(standing.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / FILE)
