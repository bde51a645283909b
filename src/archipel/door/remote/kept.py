"""Where a model's training goes on, in the folder that was kept of it: its state as files, and the question that brought it.

Parts: `write_kept`, `read_kept`. Law: files come first; what says where they came from is written last, so a folder that
says it is whole.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ValidationError

from archipel.door.hands import CannotDo
from archipel.door.remote.history import Place
from archipel.records.door import Begun, QuestionNumber
from archipel.records.fields import BlobRef, LeftOut, RunName, Sparing

FILE = "asked.json"
"""Beside the files of a state."""
MAX_BYTES = 64 * 1024


class Kept(Sparing):
    """Where a state came from."""

    format: Literal["archipel.door-place.v1"] = "archipel.door-place.v1"
    run: RunName
    begins: Annotated[Begun | None, LeftOut] = None
    number: Annotated[QuestionNumber | None, LeftOut] = None
    state: Annotated[BlobRef | None, LeftOut] = None


def write_kept(folder: Path, run: str, place: Place) -> None:
    """Say where the state in `folder` came from, durably."""
    kept = Kept(run=run, begins=place.begins, number=place.number, state=place.state)
    aside = folder / f"{FILE}.part"
    with aside.open("wb") as out:
        out.write(kept.model_dump_json().encode())
        out.flush()
        os.fsync(out.fileno())
    aside.rename(folder / FILE)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_kept(folder: Path, run: str) -> Place | None:
    """Where a model goes on; None: what lies there came from no question of this run.

    Raises:
        CannotDo: it cannot be read.
    """
    try:
        with (folder / FILE).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotDo(f"what was kept cannot be read: {error.strerror}") from None
    try:
        if len(data) > MAX_BYTES:
            raise CannotDo(f"{FILE} has more than {MAX_BYTES} bytes; expected what a door wrote")
        kept = Kept.model_validate_json(data)
    except ValidationError:
        raise CannotDo(f"{FILE} says nothing of a question; expected what a door wrote") from None
    if kept.run != run and kept.begins is None:
        return None
    return Place(kept.begins, kept.number, kept.state)
