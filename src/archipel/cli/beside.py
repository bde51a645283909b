"""A process beside a lab: begun by it, begun again when it dies, and ended with it.

The child is told what to do in one line on standard input, and ends when that closes; what it cannot do it says on standard
output. Parts: `Beside` (from outside), `serve` (from inside).
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

logger = logging.getLogger("archipel.lab")

RESTART_S = 10.0
"""Between two starts."""
END_S = 5.0
NICE = 10
MAX_TOLD_BYTES = 65_536
"""Of the line that says what to do, and of what a child says at its end."""


class Beside:
    """The child, from outside; a context manager."""

    def __init__(self, program: str, name: str, told: Mapping[str, Any]) -> None:
        """program: a module of this package. name: of the child, in a log. told: what it is to do."""
        self._program, self._name = program, name
        self._told = json.dumps(told).encode() + b"\n"
        self._over = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._go_on, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
        self._thread.join(END_S)

    def _go_on(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            reason = self._once()
            if self._over.is_set():
                return
            logger.warning("%s stopped", self._name, extra={"reason": reason})
            self._over.wait(max(0.0, began_s + RESTART_S - time.monotonic()))

    def _once(self) -> str:
        """From a start to the end of one child; what it said then."""
        try:
            child = subprocess.Popen(  # noqa: S603  this interpreter, a module of this package
                [sys.executable, "-P", "-m", self._program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the lab, which then ends this one
            )
            self._child = child
            assert child.stdin is not None  # noqa: S101  a pipe, as asked
            assert child.stdout is not None  # noqa: S101
            child.stdin.write(self._told)
            child.stdin.flush()
            if self._over.is_set():  # the block ended while this one began
                child.stdin.close()
            with child.stdout:
                said = child.stdout.read(MAX_TOLD_BYTES)
        except OSError as error:
            return str(error)
        code = child.wait()
        with contextlib.suppress(OSError):  # the line of one that died before it read it
            child.stdin.close()
        return said.decode("utf-8", "replace").strip() or f"it ended with {code}"


def serve(work: Callable[[dict[str, Any], threading.Event], None]) -> int:
    """A child at low priority, until its standard input closes or it cannot go on; its exit code.

    work: is told what to do, and when that is over.
    """
    os.nice(NICE)
    told = json.loads(sys.stdin.buffer.readline(MAX_TOLD_BYTES))
    try:
        work(told, _until_closed())
    except Exception as error:  # noqa: BLE001  whatever it is, the lab logs it and starts the next child
        print(f"{type(error).__name__}: {error}"[:1000], flush=True)
        return 1
    return 0


def _until_closed() -> threading.Event:
    """Set once the parent wants the child's end, or is gone."""
    over = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read(1)
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over
