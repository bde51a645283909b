"""Ctrl-C in two steps: the first lets what is at hand end, the second ends at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import click


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first ends after this step, the second at once."""
    pressed: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        click.echo("\nends after this step; Ctrl-C again ends at once", err=True)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
