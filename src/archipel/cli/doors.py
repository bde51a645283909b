"""What the commands share at the door: folders, logs, errors that people can mend."""

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from archipel import SAME_HASHES

DEFAULT_LAB_URL = "http://127.0.0.1:8440"


class Mendable(Exception):
    """Something the person at the keyboard can mend; the message says how."""


KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
"""glibc reads these when a process starts: up to 256 MiB of freed memory stays with the process, so
that tensors of every step do not fault the same pages in again (a fifth of training's time)."""


def home_folder(name: str, given: Path | None) -> Path:
    """`given`, or ARCHIPEL_HOME/name, or ~/.archipel/name; made with mode 0700."""
    root = Path(os.environ.get("ARCHIPEL_HOME", "~/.archipel")).expanduser()
    folder = given if given is not None else root / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Mendable(
            f"cannot make {folder}: {error.strerror}; choose another with --home"
        ) from None
    return folder


def child_environment() -> dict[str, str]:
    """What a work process may know of this machine: where programs are, and how to count threads."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    gpu = {name: value for name, value in os.environ.items() if name.startswith(("CUDA_", "HIP_"))}
    return kept | gpu | thread_environment(1) | KEEP_MEMORY | SAME_HASHES


def start_over_with_same_hashes() -> None:
    """Replace this process by one that makes the same tasks as every other (`SAME_HASHES`), if it may not.

    Python reads the variable once, before any of our code runs.
    """
    is_same = all(os.environ.get(name) == value for name, value in SAME_HASHES.items())
    if is_same or os.name != "posix" or not sys.executable:
        return
    os.environ.update(SAME_HASHES)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  ourselves, no shell


def thread_environment(threads: int) -> dict[str, str]:
    """Passive waiting and explicit counts: spinning threads starve their neighbours."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


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
    """Send structured logs to a file, or to standard error when `path` is None."""
    handler = _LogFile(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger("archipel")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False


@contextlib.contextmanager
def mending(*errors: type[Exception]) -> Iterator[None]:
    """Let these errors end as one sentence."""
    try:
        yield
    except errors as error:
        raise Mendable(str(error) or type(error).__name__) from None


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print for machines or for people; a figure that is not known is null to machines."""
    click.echo(json.dumps(_known(value), indent=2, allow_nan=False) if as_json else text())


def _known(value: Any) -> Any:
    """JSON has no word for NaN or infinity."""
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
