"""Small files that a node keeps in its home: replaced whole, readable by their owner alone, damage noticed."""

import os
import stat
from pathlib import Path
from typing import Any

from archipel.records.kept import Damaged, kept, read_kept

MAX_BYTES = 4 * 1024 * 1024


class Unreadable(ValueError):
    """A file that is not what was written; the message names it."""


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Whole or not at all, whatever interrupts it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(kept(value))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file; None if there is no file.

    Raises:
        Unreadable: the file holds no object, or another than was written. OSError: it cannot be read.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable(f"{path} is no file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        return read_kept(data)
    except Damaged as error:
        raise Unreadable(f"{path} is damaged: {error}") from None


def _at_once(path: str, flags: int) -> int:
    """A pipe that somebody left there is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)
