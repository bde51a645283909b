"""Rewards from a separate trusted process, so that no completion can stall or crash the learner.

Parts: `Submission`, `Grader`. The other side of the pipe is `grading_child`.
Laws: one deadline per grading; whatever goes wrong with one (hang, crash, exception, a reward that
is no number in [0, 1]) gives reward 0, is counted by cause, and the rest of the batch goes on with
a fresh child. The secret travels in the pipe, never in arguments or the environment. POSIX only.
"""

import contextlib
import json
import logging
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from archipel.records.recipe import EnvironmentSection
from archipel.training.grading_child import json_line

log = logging.getLogger(__name__)

START_LIMIT_S = 120.0
"""Importing an environment's package may be slow on a busy machine."""
MAX_COMPLETION_CHARS = 1_000_000
"""A longer completion is not graded."""
MAX_REPLY_BYTES = 4096
"""A child that sends a longer line is broken."""
READ_BYTES = 65_536

DEFAULT_FACTORY = "archipel.training.environments.environment:make_environment"


class GraderUnavailable(RuntimeError):
    """The grading process does not start; the message carries what it said."""


class _ChildLost(Exception):
    """The child cannot answer the grading at hand; the message is the cause that is counted."""


@dataclass(frozen=True)
class Submission:
    """One completion of one task of the environment."""

    split: str
    index: int
    completion: str
    finished: bool


class Grader:
    """Grades batches in a child process; a context manager that closes it.

    Safe to use from several threads: batches queue. `faults` counts rewards of 0 that no grader
    gave, by cause: timeout, crash, exception, out_of_range, garbled, oversized.
    """

    def __init__(
        self,
        section: EnvironmentSection,
        seed: int,
        secret: bytes | None = None,
        factory: str = DEFAULT_FACTORY,
    ) -> None:
        """Prepare; the child starts on entering the context or with the first batch.

        Args:
            section: the recipe's `[environment]`; its `time_limit_s` bounds each grading.
            seed: the run's seed, as for `make_environment`.
            secret: as for `make_environment`.
            factory: "module:function" with the signature of `make_environment`.
        """
        self.faults: Counter[str] = Counter()
        self._limit_s = section.time_limit_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        setup = {
            "factory": factory,
            "section": section.model_dump(mode="json"),
            "seed": seed,
            "secret": None if secret is None else secret.hex(),
        }
        self._setup = json_line(setup)

    def __enter__(self) -> Self:
        with self._lock:
            self._running()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, submissions: Sequence[Submission]) -> tuple[float, ...]:
        """Rewards in [0, 1], in order.

        Raises:
            GraderUnavailable: the child does not start.
        """
        with self._lock:
            rewards: list[float] = []
            while len(rewards) < len(submissions):
                rewards += self._grade_until_lost(submissions[len(rewards) :])
            return tuple(rewards)

    def close(self) -> None:
        """End the child; a later batch would start a new one."""
        with self._lock:
            self._drop()

    def _grade_until_lost(self, submissions: Sequence[Submission]) -> list[float]:
        """Rewards of the first submissions: all, or those up to one that loses the child."""
        rewards: list[float] = []
        child = self._running()
        child.send(b"".join(_request(submission) for submission in submissions))
        try:
            for _ in submissions:
                rewards.append(self._judge(child.receive(self._limit_s)))
        except _ChildLost as lost:
            rewards.append(self._zero(str(lost), f"on grading {len(rewards) + 1} of its batch"))
            self._drop()
        return rewards

    def _judge(self, reply: dict[str, Any]) -> float:
        if "fault" in reply:
            return self._zero(str(reply["fault"]), str(reply.get("detail")))
        reward = reply.get("reward")
        if not isinstance(reward, float) or not math.isfinite(reward) or not 0.0 <= reward <= 1.0:
            return self._zero("out_of_range", f"reward {reward!r:.80}, expected 0 to 1")
        return reward

    def _zero(self, cause: str, detail: str) -> float:
        self.faults[cause] += 1
        log.warning("grading fault: %s: %s", cause, detail)
        return 0.0

    def _running(self) -> "_Child":
        if self._child is None:
            self._child = _Child(self._setup)
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """One grading process: bytes out and lines in without ever blocking on both pipes."""

    def __init__(self, setup: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "archipel.training.grading_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_scrubbed_environment(),
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
        except _ChildLost as lost:
            self.kill()
            raise GraderUnavailable(f"the grading process did not start: {lost}") from None
        if "ready" not in reply:
            self.kill()
            raise GraderUnavailable(f"the environment cannot be made: {reply.get('detail')}")

    def send(self, data: bytes) -> None:
        """Queue `data`; it leaves while `receive` waits."""
        self._outgoing = memoryview(bytes(self._outgoing) + data)
        if self._outgoing:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._requests)
            self._selector.register(self._requests, selectors.EVENT_WRITE)

    def receive(self, limit_s: float) -> dict[str, Any]:
        """The next reply, at most `limit_s` seconds from now."""
        deadline = time.monotonic() + limit_s
        while (line := next(self._lines, None)) is None:
            ready = self._selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _ChildLost("timeout")
            for key, _ in ready:
                if key.fd == self._replies:
                    self._read()
                else:
                    self._write()
        try:
            reply = json.loads(line)
        except ValueError:
            raise _ChildLost("garbled") from None
        if not isinstance(reply, dict):
            raise _ChildLost("garbled")
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

    def _read(self) -> None:
        data = os.read(self._replies, READ_BYTES)
        if not data:
            raise _ChildLost("crash")
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        if len(self._incoming) > MAX_REPLY_BYTES:
            raise _ChildLost("garbled")
        self._lines = iter(lines)

    def _write(self) -> None:
        try:
            sent = os.write(self._requests, self._outgoing)
        except BrokenPipeError:
            sent = len(self._outgoing)  # its end shows as end of file on the replies
        self._outgoing = self._outgoing[sent:]
        if not self._outgoing:
            self._selector.unregister(self._requests)


def _request(submission: Submission) -> bytes:
    fits = len(submission.completion) <= MAX_COMPLETION_CHARS
    completion = submission.completion if fits else None
    return json_line([submission.split, submission.index, completion, submission.finished])


def _pipe(stream: IO[bytes] | None) -> int:
    if stream is None:
        raise GraderUnavailable("the grading process has no pipe")
    os.set_blocking(stream.fileno(), False)
    return stream.fileno()


def _scrubbed_environment() -> dict[str, str]:
    """Nothing of the parent's but where its modules are."""
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {
        "PATH": os.defpath,
        "PYTHONPATH": paths,
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
    }
