"""TensorBoard's event files, appended to: a file a run, whose own records say which versions it holds.

TensorBoard takes steps in any order, so an evaluation that comes late is appended under its version. A record whose
checksum does not hold at the end of a file, which a killed writer leaves, is cut off; elsewhere it is refused.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from archipel.curves.event_file import EVAL as EVAL_TAG
from archipel.curves.event_file import FILE_VERSION, first_record, masked, records
from archipel.curves.event_file import TRAIN as TRAIN_TAG
from archipel.curves.exporters.shape import EVAL, MAX_FILE_BYTES, TRAIN, CannotExport, Key
from archipel.curves.history import History

FILE_NAME = "events.out.tfevents.0000000000.archipel"
MAX_RECORD_BYTES = 2**20
_HEAD, _SUM = 12, 4
"""Bytes of a record before its data (length and checksum), and after it."""
_TAGS = {TRAIN_TAG.encode(): TRAIN, EVAL_TAG.encode(): EVAL}


class Cut(Exception):
    """A record that is not whole."""


class EventFile:
    """FOLDER/RUN/events.out.tfevents..."""

    def __init__(self, folder: Path, run: str) -> None:
        """Opens or makes it.

        Raises:
            CannotExport: what is there is no event file that an exporter wrote.
            OSError: it cannot be read or written.
        """
        place = folder / run
        place.mkdir(parents=True, exist_ok=True)
        self._path = place / FILE_NAME
        self._file = self._path.open("a+b")
        self._times: dict[int, float] = {}
        self._held: set[Key] = set()
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def held(self) -> frozenset[Key]:
        """By its own records."""
        return frozenset(self._held)

    def add(self, new: History) -> None:
        """Appends in one write, and waits for the disk."""
        self._times |= {point.version: point.at_s for point in new.points}
        data = records(new, self._times)
        if self._file.tell() == 0:
            data = first_record(min(self._times.values(), default=0.0)) + data
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._held |= {(TRAIN, point.version) for point in new.points}
        self._held |= {(EVAL, exam.version) for exam in new.exams}

    def close(self) -> None:
        """Nothing is buffered."""
        self._file.close()

    def _read(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size > MAX_FILE_BYTES:
            raise CannotExport(f"{self._path} has {size} bytes, expected at most {MAX_FILE_BYTES}")
        self._file.seek(0)
        whole = 0
        try:
            for number, data in enumerate(_records(self._file)):
                held = read_event(data)
                if number == 0 and held.file_version != FILE_VERSION:
                    raise CannotExport(f"{self._path} is no event file: name another folder")
                if held.key is not None:
                    self._held.add(held.key)
                    if held.key[0] == TRAIN:
                        self._times[held.key[1]] = held.at_s
                whole = self._file.tell()
        except Cut as cut:
            if whole == 0 and not self._is_begun():
                raise CannotExport(f"{self._path} is no event file: name another folder") from None
            if size - whole > MAX_RECORD_BYTES + _HEAD + _SUM:
                raise CannotExport(
                    f"{self._path} is damaged at byte {whole}, {cut}, with {size - whole} bytes after it: "
                    "remove it, and it is written anew"
                ) from None
        except ValueError as error:
            raise CannotExport(f"{self._path} is no event file of a run: {error}") from None
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)

    def _is_begun(self) -> bool:
        """Whether it is the beginning of a first record, and no more."""
        self._file.seek(0)
        found, first = self._file.read(_HEAD), first_record(0.0)
        return first.startswith(found) and self._file.seek(0, os.SEEK_END) < len(first)


def _records(file: BinaryIO) -> Iterator[bytes]:
    """The data of each record. Raises Cut."""
    while head := file.read(_HEAD):
        if len(head) < _HEAD or head[8:] != masked(head[:8]):
            raise Cut("a record's length does not hold")
        (length,) = struct.unpack("<Q", head[:8])
        if length > MAX_RECORD_BYTES:
            raise Cut(f"a record says {length} bytes")
        data, checksum = file.read(length), file.read(_SUM)
        if len(data) < length or checksum != masked(data):
            raise Cut("a record's data does not hold")
        yield data


class Event:
    """What one says: its time, its step, and whose measurements they are."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.file_version = b""
        self.key: Key | None = None


def read_event(data: bytes) -> Event:
    """Read an event.

    Raises:
        ValueError: it is none.
    """
    found, step, part = Event(), 0, None
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes) and len(value) == 8:
            (found.at_s,) = struct.unpack("<d", value)
        elif number == 2 and isinstance(value, int):
            step = value
        elif number == 3 and isinstance(value, bytes):
            found.file_version = value
        elif number == 5 and isinstance(value, bytes):
            part = _part(value)
    found.key = None if part is None else (part, step)
    return found


def _part(summary: bytes) -> str | None:
    """By the first tag of a summary."""
    for number, value in _fields(summary):
        if number == 1 and isinstance(value, bytes):
            for tag_number, tag in _fields(value):
                if tag_number == 1 and isinstance(tag, bytes):
                    return _TAGS.get(tag[: tag.find(b"/") + 1])
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a message of protocol buffers. Raises ValueError."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, form = divmod(tag, 8)
        if form == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(form)
        if size is None and form == 2:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise ValueError(f"a field of form {form} at byte {at} is none")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} has no end")
