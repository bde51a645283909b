"""Whoever ends a measurement, or closes its terminal, ends it by way of every `finally` and `with`."""

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


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


class InOrder(ABC):
    """What keeps processes: a context manager that closes them, whoever ends this process or closes its terminal."""

    def __enter__(self) -> Self:
        self._ending = in_order()
        self._ending.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        finally:
            self._ending.__exit__(None, None, None)

    @abstractmethod
    def close(self) -> None:
        """End them."""


def _leave(number: int, frame: object) -> None:
    """As a shell counts an end by a signal."""
    raise SystemExit(128 + number)
