"""Weights & Biases, offline: a run's history in the files that `wandb sync` uploads whenever their owner likes.

Nothing here asks a network or a key. What is held is read back from the `.wandb` files: an own header, then records of
LevelDB's log format (github.com/google/leveldb, doc/log_format.md), each a `Record` of wandb_internal.proto. Whoever
goes on after an end writes another folder of the same run, as wandb itself does. Every value stands over the field
`version`, because wandb's own steps only rise, and an evaluation may come after newer versions.
"""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archipel.curves.exporters.shape import EVAL, MAX_FILE_BYTES, TRAIN, CannotExport, Key
from archipel.curves.history import History
from archipel.extras import needs

PROJECT = "archipel"
MAX_FOLDERS = 1000
MAX_WRITING_S = 30.0
_HEADER = b":W&B"
_HEADER_BYTES, _BLOCK_BYTES, _HEAD_BYTES = 7, 32768, 7
_FULL, _FIRST, _LAST = 1, 2, 4


class WandbRun:
    """Folders `wandb/offline-run-*-RUN` in a folder."""

    def __init__(self, folder: Path, run: str) -> None:
        """Begins another of them, beside those that are there.

        Raises:
            CannotExport: wandb is not installed, or the folders hold what no wandb wrote.
            OSError: they cannot be read or written.
        """
        try:
            import wandb
        except ImportError:
            raise CannotExport(needs("writing for Weights & Biases", "wandb")) from None
        folder.mkdir(parents=True, exist_ok=True)
        self._held = held_in(folder, run)
        self._run: Any = None
        self._wandb: Any = wandb
        self._place = folder, run

    def held(self) -> frozenset[Key]:
        """By the files of all its folders."""
        return frozenset(self._held)

    def add(self, new: History) -> None:
        """One row a point, one an evaluation; whoever has nothing new leaves no folder."""
        if self._run is None:
            self._run = _begun(self._wandb, *self._place)
        for point in new.points:
            named = {f"{TRAIN}/{name}": value for name, value in point.values.items()}
            self._run.log({"version": point.version, "at_s": point.at_s, **named})
            self._held.add((TRAIN, point.version))
        for exam in new.exams:
            named = {f"{EVAL}/{name}": value for name, value in exam.values.items()}
            self._run.log({"version": exam.version, **named})
            self._held.add((EVAL, exam.version))

    def close(self) -> None:
        """Ends the folder, and reads it back: wandb writes in a process of its own, which may be behind.

        Raises:
            CannotExport: it does not hold what was logged.
        """
        if self._run is None:
            return
        self._run.finish()
        self._run = None
        deadline = time.monotonic() + MAX_WRITING_S
        while not self._held <= held_in(*self._place):
            if time.monotonic() > deadline:
                raise CannotExport(
                    f"wandb did not write everything within {MAX_WRITING_S} s; the same command goes on"
                )
            time.sleep(0.2)


def _begun(wandb: Any, folder: Path, run: str) -> Any:
    """A run that says nothing of this machine."""
    quiet = {"console": "off", "silent": True, "disable_git": True, "save_code": False}
    private = {
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
    }
    begun = wandb.init(
        project=PROJECT,
        name=run,
        id=run,
        dir=str(folder),
        mode="offline",
        settings=wandb.Settings(**quiet, **private),
    )
    begun.define_metric("version")
    begun.define_metric("*", step_metric="version")
    return begun


def held_in(folder: Path, run: str) -> set[Key]:
    """What the folders of a run hold. Raises CannotExport."""
    files = sorted(folder.glob(f"wandb/offline-run-*-{run}/run-{run}.wandb"))
    if len(files) > MAX_FOLDERS:
        raise CannotExport(f"{folder} has {len(files)} folders of {run}: name another")
    held = set[Key]()
    for path in files:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CannotExport(f"{path} is larger than {MAX_FILE_BYTES} bytes: name another folder")
        held |= {key for row in rows_of(path.read_bytes(), str(path)) if (key := _key(row))}
    return held


def rows_of(data: bytes, where: str) -> Iterator[dict[str, Any]]:
    """The logged rows of a `.wandb` file, up to a record that is not whole.

    Raises:
        CannotExport: it is no such file.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    if data and not data.startswith(_HEADER):
        raise CannotExport(f"{where} is no file of wandb: name another folder")
    for payload in _payloads(data):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made when it is loaded
        try:
            record.ParseFromString(payload)
            items = record.history.item
            row = {
                each.key or "/".join(each.nested_key): json.loads(each.value_json) for each in items
            }
        except (DecodeError, ValueError, RecursionError):
            raise CannotExport(f"{where} has a record that is none: name another folder") from None
        if row:
            yield row


def _payloads(data: bytes) -> Iterator[bytes]:
    at, parts = _HEADER_BYTES, list[bytes]()
    while at + _HEAD_BYTES <= len(data):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEAD_BYTES:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        at += _HEAD_BYTES
        if kind == 0 or at + size > len(data):
            return
        parts = [] if kind in (_FULL, _FIRST) else parts
        parts.append(data[at : at + size])
        at += size
        if kind in (_FULL, _LAST):
            yield b"".join(parts)


def _key(row: dict[str, Any]) -> Key | None:
    version = row.get("version")
    if isinstance(version, float) and version.is_integer():
        version = int(version)  # as wandb writes a million
    if type(version) is not int:
        return None
    return (TRAIN if "at_s" in row else EVAL), version
