"""Which servers of this user run: a file for each, mode 0600, which its process holds a lock on as long as it lives.

Parts: `Running` (what a file says), `Sign` (a server's own), `those_that_run`, `told_to_end`. Law: a file whose lock can
be had is of a process that is gone, whoever has its number now; nobody else's process is ever told to end.
"""

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_FILE_BYTES = 16_384
SUFFIX = ".server"


class NotRunning(Exception):
    """It is gone already."""


class Running(BaseModel):
    """One server."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    """What clients call its model."""
    address: str
    """Where clients of this machine find it, with its scheme."""
    port: Annotated[int, Field(ge=0, le=65_535)]
    pid: Annotated[int, Field(gt=1)]
    since: int
    """Unix seconds."""
    key_file: str | None = None
    """Where an API key for it stands; None: it asks for none."""
    log: str | None = None
    """Where a detached one writes what it would have said."""


@dataclass
class Sign:
    """A server's own file, there as long as this is open."""

    path: Path
    _descriptor: int

    @classmethod
    def put_up(cls, folder: Path, running: Running) -> Self:
        """Raises OSError: the folder takes no file."""
        path = folder / f"{running.pid}-{running.port}{SUFFIX}"
        partial = path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, running.model_dump_json().encode())
            partial.replace(path)  # seen by others only whole, and locked
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def take_down(self) -> None:
        """It serves no more."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def running_of(data: bytes) -> Running:
    """What a file says.

    Raises:
        ValueError: it is none of these.
    """
    try:
        return Running.model_validate_json(data)
    except ValidationError:
        raise ValueError(f"{data[:40]!r} is no server's file") from None


def those_that_run(folder: Path) -> list[Running]:
    """Oldest first; files of those that are gone are removed."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with _opened(path) as descriptor:
            if descriptor is None:
                continue
            if not _is_held(descriptor):
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(ValueError):
                found.append(running_of(os.read(descriptor, MAX_FILE_BYTES)))
    return sorted(found, key=lambda each: (each.since, each.port))


def told_to_end(folder: Path, one: Running, sign: signal.Signals) -> None:
    """Send it a signal.

    Raises:
        NotRunning: it is gone. OSError: it may not be told.
    """
    path = folder / f"{one.pid}-{one.port}{SUFFIX}"
    process = os.pidfd_open(one.pid) if hasattr(os, "pidfd_open") and _is_there(one.pid) else None
    try:
        # Looked at after the process is held: the lock's holder still had this number then.
        if not is_running(path):
            raise NotRunning(f"{one.name} has ended")
        if process is not None:
            signal.pidfd_send_signal(process, sign)
        else:
            os.kill(one.pid, sign)
    except ProcessLookupError:
        raise NotRunning(f"{one.name} has ended") from None
    finally:
        if process is not None:
            os.close(process)


def is_running(path: Path) -> bool:
    """Whether this file's server lives."""
    with _opened(path) as descriptor:
        return descriptor is not None and _is_held(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone meanwhile, or none of ours
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
