"""A program behind a real pseudo-terminal of a given size, whose keys and window the test handles."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from archipel import source_environment

LIMIT_S = 30.0
TESTS = Path(__file__).parent
STUBBED = (
    "import sys; import archipel.node.agent as agent; from stub_worker import StubWorker; "
    "agent.Worker = StubWorker; StubWorker.pause_s = {pause_s}; "
    "from archipel.cli.archipel import run; run()"
)
"""The program, with a work process that answers after a while and loads no tensor library."""


def program(pause_s: float = 0.0) -> list[str]:
    """The first words of a command line."""
    return [sys.executable, "-c", STUBBED.format(pause_s=pause_s)]


def environment(**more: str) -> dict[str, str]:
    """What the program gets."""
    source = source_environment().get("PYTHONPATH", "")
    modules = os.pathsep.join(filter(None, [source, str(TESTS)]))
    return {"PATH": os.defpath, "TERM": "xterm", "PYTHONPATH": modules, **more}


class Terminal:
    """A process and what it wrote so far."""

    def __init__(
        self, words: Sequence[str], columns: int = 80, rows: int = 24, **variables: str
    ) -> None:
        self._master, slave = pty.openpty()
        self.shown = ""
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            list(words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(**variables),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.cut()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                return
            if not data:
                return
            self.shown += data.decode("utf-8", "replace")

    def resize(self, columns: int, rows: int = 24) -> None:
        """Another window size; the program is told by the kernel."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def press_ctrl_c(self) -> None:
        """The key itself: the terminal makes a signal of it."""
        os.write(self._master, b"\x03")

    def type(self, text: str) -> None:
        """Keys, and Enter."""
        os.write(self._master, f"{text}\n".encode())

    def cut(self) -> None:
        """The window is closed."""
        if self._master >= 0:
            master, self._master = self._master, -1
            os.close(master)

    def wait_for(self, text: str, after: int = 0) -> str:
        """Until `text` was shown; returns all that was."""
        end = time.monotonic() + LIMIT_S
        while text not in self.shown[after:]:
            assert time.monotonic() < end, f"{text!r} not shown:\n{self.shown[-2000:]}"
            assert self.process.poll() is None or text in self.shown[after:], self.shown[-2000:]
            time.sleep(0.02)
        return self.shown

    def ended(self) -> int:
        """Its exit code."""
        code = self.process.wait(LIMIT_S)
        self._reader.join(1.0)
        return code

    def redrawn(self, after: int = 0) -> list[str]:
        """Every state of the line that is drawn over, without what clears it."""
        frames = re.split(r"\r\x1b\[K", self.shown[after:])[1:]
        return [frame for frame in frames if frame and "\n" not in frame]
