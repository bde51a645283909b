"""Structured logs of what runs for long: one JSON object an event."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

_OWN_FIELDS = logging.LogRecord("", 0, "", 0, "", None, None).__dict__.keys() | {
    "message",
    "taskName",
}
"""What every log record has; the rest are ids that an event carries."""


class JsonLines(logging.Formatter):
    """One JSON object per event, with whatever ids the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        event: dict[str, Any] = {
            "at_ms": int(record.created * 1000),
            "room": record.name.removeprefix("archipel."),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        event |= {k: v for k, v in record.__dict__.items() if k not in _OWN_FIELDS}
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


class _LogFile(logging.FileHandler):
    """A log that its disk has no room for is lost; that is no reason to fill the terminal instead."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        """Nothing: what failed is said where it matters."""


def log_to(path: Path | None, level: str = "info") -> None:
    """Send structured logs to a file, or to standard error when `path` is None; what they went to before is closed."""
    handler = _LogFile(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger("archipel")
    before, root.handlers = root.handlers, [handler]
    for each in before:
        each.close()
    root.setLevel(level.upper())
    root.propagate = False
