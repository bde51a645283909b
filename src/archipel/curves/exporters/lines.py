"""JSON lines, appended: an object a version, and one for each evaluation whenever it comes.

A line without an end, which a killed writer leaves, is cut off when the file is opened again.
"""

import json
import os
from pathlib import Path
from typing import Any

from archipel.curves.exporters.shape import (
    EVAL,
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    TRAIN,
    CannotExport,
    Key,
)
from archipel.curves.history import History


class JsonLines:
    """One file of one run."""

    def __init__(self, path: Path, run: str) -> None:
        """Opens or makes it.

        Raises:
            CannotExport: it holds something else than lines of this run.
            OSError: it cannot be read or written.
        """
        self._file = path.open("a+b")
        try:
            self._held, whole = _read(self._file, path, run)
            self._file.truncate(whole)
        except BaseException:
            self._file.close()
            raise

    def held(self) -> frozenset[Key]:
        """By what its lines say."""
        return frozenset(self._held)

    def add(self, new: History) -> None:
        """Appends in one write, and waits for the disk."""
        rows: list[tuple[Key, dict[str, Any]]] = [
            (
                (TRAIN, point.version),
                {"run": new.run, "version": point.version, "at_s": point.at_s, **point.values},
            )
            for point in new.points
        ]
        for exam in new.exams:
            scores = {f"eval_{name}": value for name, value in exam.values.items()}
            rows.append(((EVAL, exam.version), {"run": new.run, "version": exam.version, **scores}))
        self._file.write("".join(json.dumps(row) + "\n" for _, row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._held.update(key for key, _ in rows)

    def close(self) -> None:
        """Nothing is buffered."""
        self._file.close()


def _read(file: Any, path: Path, run: str) -> tuple[set[Key], int]:
    """What the lines hold, and up to which byte they are whole."""
    size = file.seek(0, os.SEEK_END)
    if size > MAX_FILE_BYTES:
        raise CannotExport(
            f"{path} has {size} bytes, expected at most {MAX_FILE_BYTES}: name another file"
        )
    file.seek(0)
    held, at = set[Key](), 0
    while line := file.readline(MAX_LINE_BYTES):
        if not line.endswith(b"\n"):
            if at + len(line) < size:
                raise CannotExport(f"{path}: a line is longer than {MAX_LINE_BYTES} bytes")
            if not f'{{"run": {json.dumps(run)}, '.encode().startswith(line[: len(run) + 12]):
                raise CannotExport(f"{path} does not end as lines of {run} do: name another file")
            break
        held.add(line_key(line, run, str(path)))
        at += len(line)
    return held, at


def line_key(line: bytes, run: str, where: str) -> Key:
    """What one line holds of `run`.

    Raises:
        CannotExport: it is none of ours, or another run's.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or type(version := row.get("version")) is not int:
        raise CannotExport(
            f"{where} holds something else than versions of a run: name another file"
        )
    if row.get("run") != run:
        raise CannotExport(
            f"{where} holds run {row.get('run')!r:.80}, expected {run!r}: name another file"
        )
    return (TRAIN if "at_s" in row else EVAL), version
