"""Rewards from a separate confined process, so that no completion can touch the learner or another's reward.

Parts: `Submission`, `Grader`. The other side of the pipe is `work.grading`, which says what confines it.
Laws: each grading has a time of its own and each batch a budget; whatever goes wrong with one (hang, crash,
exception, a reward that is no number in [0, 1]) gives reward 0, is counted by cause, and the rest of the
batch goes on. What one completion does, no other's reward shows. The secret travels in the pipe, never in
arguments or the environment. POSIX only.
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

from archipel import SAME_HASHES
from archipel.records.recipe import EnvironmentSection

log = logging.getLogger(__name__)

START_LIMIT_S = 120.0
"""Importing an environment's package may be slow on a busy machine."""
BUDGET_S = 60.0
"""A batch takes no longer, unless more was given."""
GRACE_S = 10.0
"""Beyond the budget, for what is no grading: making tasks, forking, a busy machine."""
MAX_COMPLETION_CHARS = 1_000_000
"""A longer completion is not graded."""
MAX_REPLY_BYTES = 4096
"""A child that sends a longer line is broken."""
READ_BYTES = 65_536

DEFAULT_FACTORY = "archipel.training.environments.environment:make_environment"
CAUSES = frozenset({"timeout", "crash", "exception", "out_of_range", "garbled", "oversized"})
PROGRAM = "archipel.work.grading.process"
"""A process like that of work; named, not imported: its room lies above this one."""


class GraderUnavailable(RuntimeError):
    """The grading process does not start; the message carries what it said."""


class _ChildLost(Exception):
    """The child cannot answer the gradings at hand; the message is the cause that is counted."""


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
    gave, by cause: timeout, crash, exception, out_of_range, garbled, oversized. `protections` names
    what holds where completions are graded.
    """

    def __init__(
        self,
        section: EnvironmentSection,
        seed: int,
        secret: bytes | None = None,
        factory: str = DEFAULT_FACTORY,
        budget_s: float = BUDGET_S,
    ) -> None:
        """Prepare; the child starts on entering the context or with the first batch.

        Args:
            section: the recipe's `[environment]`; its `time_limit_s` bounds each grading.
            seed: the run's seed, as for `make_environment`.
            secret: as for `make_environment`.
            factory: "module:function" with the signature of `make_environment`.
            budget_s: a batch takes no longer; well below the lease that it is graded under.
        """
        self.faults: Counter[str] = Counter()
        self.protections: tuple[str, ...] = ()
        self._limit_s = section.time_limit_s
        self._budget_s = budget_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        setup = {
            "factory": factory,
            "section": section.model_dump(mode="json"),
            "seed": seed,
            "secret": None if secret is None else secret.hex(),
        }
        self._setup = _json_line(setup)

    def __enter__(self) -> Self:
        with self._lock:
            self._running()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, submissions: Sequence[Submission]) -> tuple[float, ...]:
        """Rewards in [0, 1], in order.

        Raises:
            GraderUnavailable: the child does not start, or the machine cannot confine it.
        """
        with self._lock:
            rewards: dict[int, float] = {}
            for number, submission in enumerate(submissions):
                if len(submission.completion) > MAX_COMPLETION_CHARS:
                    rewards[number] = self._zero("oversized", "completion too long")
            self._running()
            ends_s = time.monotonic() + self._budget_s
            while missing := [n for n in range(len(submissions)) if n not in rewards]:
                found = len(rewards)
                try:
                    self._ask({n: submissions[n] for n in missing}, ends_s, rewards)
                except _ChildLost as lost:
                    self._drop()
                    if len(rewards) == found or time.monotonic() >= ends_s:
                        self._give_up(set(missing) - set(rewards), str(lost), rewards)
            return tuple(rewards[number] for number in range(len(submissions)))

    def close(self) -> None:
        """End the child; a later batch would start a new one."""
        with self._lock:
            self._drop()

    def _ask(
        self, submissions: dict[int, Submission], ends_s: float, rewards: dict[int, float]
    ) -> None:
        """Put a reward beside each number, as they come."""
        child = self._running()
        left_s = max(0.0, ends_s - time.monotonic())
        child.send(_batch(submissions, self._limit_s, left_s))
        last_s = time.monotonic() + left_s + GRACE_S
        for _ in range(len(submissions)):
            reply = child.receive(last_s - time.monotonic())
            number = reply.get("number")
            if not isinstance(number, int) or number not in submissions or number in rewards:
                raise _ChildLost("garbled")
            rewards[number] = self._judge(reply)

    def _give_up(self, numbers: set[int], cause: str, rewards: dict[int, float]) -> None:
        """Neither time nor a new child helps."""
        for number in sorted(numbers):
            rewards[number] = self._zero(cause, f"the grading process was lost at {number}")

    def _judge(self, reply: dict[str, Any]) -> float:
        if "fault" in reply:
            return self._zero(str(reply["fault"]), str(reply.get("detail")))
        reward = reply.get("reward")
        if not isinstance(reward, float) or not math.isfinite(reward) or not 0.0 <= reward <= 1.0:
            return self._zero("out_of_range", f"reward {reward!r:.80}, expected 0 to 1")
        return reward

    def _zero(self, cause: str, detail: str) -> float:
        cause = cause if cause in CAUSES else "garbled"  # a cell may say what it likes
        self.faults[cause] += 1
        log.warning("grading fault: %s: %.500r", cause, detail)
        return 0.0

    def _running(self) -> "_Child":
        if self._child is None:
            self._child = _Child(self._setup)
            self.protections = self._child.protections
            if not self.protections:
                log.warning("graders are not confined on %s", sys.platform)
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """One grading process: bytes out and lines in without ever blocking on both pipes."""

    def __init__(self, setup: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM],
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
            raise GraderUnavailable(f"nothing can be graded: {reply.get('detail')}")
        self.protections = tuple(map(str, reply.get("protections", ())))

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


def _batch(submissions: dict[int, Submission], limit_s: float, budget_s: float) -> bytes:
    header = {"count": len(submissions), "limit_s": limit_s, "budget_s": budget_s}
    lines = [
        [number, each.split, each.index, each.completion, each.finished]
        for number, each in submissions.items()
    ]
    return b"".join(map(_json_line, (header, *lines)))


def _json_line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


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
        **SAME_HASHES,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
    }
