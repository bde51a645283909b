"""The folder of a meter: receipts, a line each, and a mark that is locked as long as a server counts there.

Law: a line is there whole or not at all; whoever opens the file cuts off what is not, and says so.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from archipel.market.receipts import BadReceipt, Opened, read_line
from archipel.records.receipts import MAX_LINE_BYTES

KEY = "meter.key"
RECEIPTS = "receipts.jsonl"
OPEN = "open"
"""There, and locked, as long as a server counts; left behind by one that was cut off."""


class BadMeter(ValueError):
    """A folder in which nothing can be counted; the message says why, and what to do."""


def marked(path: Path) -> tuple[int, bool]:
    """(the lock, whether the server before left its mark)"""
    was_open = path.exists()
    mark = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(mark)
        raise BadMeter(
            f"another server counts in {path.parent}; end it, or give --meter another folder"
        ) from None
    os.fsync(mark)
    _sync_folder(path.parent)
    return mark, was_open


def newest_of(path: Path) -> tuple[Opened | None, bool]:
    """The last receipt of a file, and whether something that was not whole was cut off behind it."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(size - 2 * MAX_LINE_BYTES - 2, 0)
        file.seek(start)
        tail = file.read()
        end = tail.rfind(b"\n") + 1
        was_cut = end < len(tail)
        if was_cut:
            file.truncate(start + end)
            os.fsync(file.fileno())
        if not end:
            if start:
                raise BadMeter(f"{path} does not end with receipts; restore it from a copy")
            return None, was_cut
        try:
            found, _ = read_line(tail[tail.rfind(b"\n", 0, end - 1) + 1 : end - 1])
        except BadReceipt as error:
            raise BadMeter(f"{path} is damaged ({error}); restore it from a copy") from None
        return found, was_cut
    return None, False


def appended(path: Path, data: bytes) -> None:
    """All of it at the end, on disk; or nothing. Raises OSError."""
    is_new = not path.exists()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, data)
            if written != len(data):
                raise OSError(f"{written} of {len(data)} bytes were taken: is the disk full?")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
