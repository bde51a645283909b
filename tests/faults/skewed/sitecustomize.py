"""Loaded by Python at its start: this process takes another time for the true one.

FAULTS_CLOCK names a file with `offset rate`: time = true time now + offset + (rate - 1) x seconds since the
start; it is read again at every look, so that a clock can be stepped. Monotonic clocks stay as they are. Where a
process may open nothing any more its clock goes on as it was: a true one needs no file.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

_true_ns = time.time_ns
_begun_ns = _true_ns()
_path = os.environ.get("FAULTS_CLOCK")  # noqa: TID251
_read = "0 1.0"


def _skewed_ns() -> int:
    global _read
    assert _path is not None
    with suppress(OSError, MemoryError):
        _read = Path(_path).read_text()
    offset_s, rate = (float(each) for each in _read.split())
    true_ns = _true_ns()
    return true_ns + int(offset_s * 1e9) + int((true_ns - _begun_ns) * (rate - 1.0))


def _skewed_s() -> float:
    return _skewed_ns() / 1e9


if _path:
    Path(f"{_path}.seen").touch()
    time.time_ns = _skewed_ns
    time.time = _skewed_s
