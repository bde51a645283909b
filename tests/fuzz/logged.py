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
    root = logging.getLogger()
    # A command or a server that ran in this process before keeps them to itself, or told its loggers to be quiet.
    passing = [logging.getLogger(name) for name in ("archipel", "uvicorn", "uvicorn.error")]
    before = [(each.propagate, each.level, each.disabled) for each in passing]
    for each in passing:
        each.propagate, each.disabled = True, False
        each.setLevel(logging.WARNING)
    root.addHandler(heard)
    try:
        yield heard.lines
    finally:
        root.removeHandler(heard)
        for each, (passed_on, level, is_quiet) in zip(passing, before, strict=True):
            each.propagate, each.disabled = passed_on, is_quiet
            each.setLevel(level)
