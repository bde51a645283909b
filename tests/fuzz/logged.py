"""What a door's process logs of its own defects: errors and tracebacks, whoever's logger tells them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

MAX_CHARS = 2000
"""Of a line; the end of a traceback says what went wrong."""


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.lines.append(self.format(record)[-MAX_CHARS:])


@contextmanager
def defects_logged() -> Iterator[list[str]]:
    """Lines that are told while the block lasts; none is what is wanted."""
    heard = _Heard()
    root, own = logging.getLogger(), logging.getLogger("archipel")
    passed_on, own.propagate = (
        own.propagate,
        True,
    )  # a command that ran in this process keeps them to itself
    root.addHandler(heard)
    try:
        yield heard.lines
    finally:
        root.removeHandler(heard)
        own.propagate = passed_on
