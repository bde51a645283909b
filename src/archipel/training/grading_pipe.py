"""The parent's end of the pipe to a grading process: start it, send lines, receive lines, end it.

Law: no wait without an end; the process's words are checked like a stranger's.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from archipel import SAME_HASHES
from archipel.training.environments.judgement import MAX_LINE_BYTES

START_LIMIT_S = 120.0
"""Importing an environment's package may be slow on a busy machine."""
MAX_REPLY_BYTES = MAX_LINE_BYTES + 4096
"""A child that sends a longer line is broken."""
READ_BYTES = 65_536
PROGRAM = "archipel.work.grading.process"
"""A process like that of work; named, not imported: its room lies above this one."""


class GraderUnavailable(RuntimeError):
    """The grading process does not start, or may not grade; the message carries what it said."""


class ChildLost(Exception):
    """The child cannot answer the gradings at hand; the message is the cause that is counted."""


class Child:
    """One process: bytes out and lines in without ever blocking on both pipes."""

    def __init__(self, setup: bytes) -> None:
        self._folder = tempfile.TemporaryDirectory(
            prefix="archipel-grading-", ignore_cleanup_errors=True
        )
        self._process = subprocess.Popen(  # noqa: S603  our own program, no shell
            [sys.executable, "-P", "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_scrubbed_environment(self._folder.name),
            start_new_session=True,  # its own group: killed whole, and deaf to our Ctrl-C
        )
        self._requests, self._replies = _pipe(self._process.stdin), _pipe(self._process.stdout)
        self._outgoing = memoryview(b"")
        self._incoming = b""
        self._lines: Iterator[bytes] = iter(())
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._replies, selectors.EVENT_READ)
        self.send(setup)
        try:
            reply = self.receive(START_LIMIT_S)
        except ChildLost as lost:
            self.kill()
            raise GraderUnavailable(f"the grading process did not start: {lost}") from None
        if "ready" not in reply:
            self.kill()
            raise GraderUnavailable(f"nothing can be graded: {reply.get('detail')}")
        self.protections = tuple(map(str, reply.get("protections", ())))
        self.missing = tuple(map(str, reply.get("missing", ())))

    def send(self, data: bytes) -> None:
        """Queue `data`; it leaves while `receive` waits."""
        self._outgoing = memoryview(bytes(self._outgoing) + data)
        if self._outgoing:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._requests)
            self._selector.register(self._requests, selectors.EVENT_WRITE)

    def receive(self, limit_s: float) -> dict[str, Any]:
        """The next reply, at most `limit_s` seconds from now."""
        deadline = time.monotonic() + max(0.0, limit_s)
        while (line := next(self._lines, None)) is None:
            ready = self._selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildLost("timeout")
            for key, _ in ready:
                if key.fd == self._replies:
                    self._read()
                else:
                    self._write()
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            raise ChildLost("garbled") from None
        if not isinstance(reply, dict):
            raise ChildLost("garbled")
        return reply

    def kill(self) -> None:
        """End the process and everything it started."""
        self._selector.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._process.wait()
        self._folder.cleanup()

    def _read(self) -> None:
        data = os.read(self._replies, READ_BYTES)
        if not data:
            raise ChildLost("crash")
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        if len(self._incoming) > MAX_REPLY_BYTES:
            raise ChildLost("garbled")
        self._lines = iter(lines)

    def _write(self) -> None:
        try:
            sent = os.write(self._requests, self._outgoing)
        except BrokenPipeError:
            sent = len(self._outgoing)  # its end shows as end of file on the replies
        self._outgoing = self._outgoing[sent:]
        if not self._outgoing:
            self._selector.unregister(self._requests)


def json_line(value: Any) -> bytes:
    """One message of the conversation."""
    return json.dumps(value).encode() + b"\n"


def _pipe(stream: IO[bytes] | None) -> int:
    if stream is None:
        raise GraderUnavailable("the grading process has no pipe")
    os.set_blocking(stream.fileno(), False)
    return stream.fileno()


def _scrubbed_environment(folder: str) -> dict[str, str]:
    """Nothing of the parent's but where its modules are; `folder` takes what packages write on import."""
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {
        "PATH": os.defpath,
        "PYTHONPATH": paths,
        "TMPDIR": folder,
        **SAME_HASHES,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
    }
