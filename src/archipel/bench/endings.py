"""Whoever ends a measurement, or closes its terminal, ends it by way of every `finally` and `with`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit inside, unless somebody else decides what they do (nohup)."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, ours in before.items():
            signal.signal(number, ours)


def _leave(number: int, frame: object) -> None:
    """As a shell counts an end by a signal."""
    raise SystemExit(128 + number)
