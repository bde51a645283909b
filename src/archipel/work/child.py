"""The child process in which work runs: `python -m archipel.work.child`.

It reads messages from standard input and answers on a private copy of standard output, so whatever a
library prints lands in the log. It confines itself before it loads anything heavy. A crash here costs
one lease, never the agent.
"""

import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from archipel.records.fields import Closed
from archipel.records.statements import EvaluateSpec, RolloutSpec
from archipel.work.kind import Answer, Context, Kind, Link, WorkFailed
from archipel.work.messages import (
    MAX_LINE_BYTES,
    AskPosition,
    Done,
    DoWork,
    Failed,
    ProgressMessage,
    Ready,
    RunBenchmark,
    Setup,
    read_setup,
    read_to_child,
    to_line,
)
from archipel.work.sandbox import Limits, kernel, restrict

logger = logging.getLogger("archipel.work.child")

MAX_OPEN_FILES = 1024
PROGRESS_INTERVAL_S = 0.5
"""Between words about progress: one per token would cost as much as small work itself."""


class Child:
    """Holds the kinds (and so the weights) between works."""

    def __init__(self, setup: Setup, answers: IO[bytes]) -> None:
        self._setup = setup
        self._answers = answers
        self._scratch = Path(setup.scratch)
        self._kinds: dict[str, Kind] = {}
        self._last_progress_s = 0.0

    def say(self, message: Closed) -> None:
        """Send one line to the agent."""
        self._answers.write(to_line(message))
        self._answers.flush()

    def answer(self, message: DoWork | AskPosition | RunBenchmark) -> Closed:
        """The reply to one message; a failure is data."""
        try:
            if isinstance(message, DoWork):
                return self._work(message)
            if isinstance(message, AskPosition):
                return self._position(message)
            return self._benchmark()
        except WorkFailed as error:
            return Failed(reason=str(error)[:2000])
        except OSError as error:
            self._forget_learners()
            return Failed(reason=f"{error}; make room on the disk, or mend it"[:2000])
        except MemoryError:
            return Failed(reason="out of memory: lower the load or raise --max-memory")

    def _forget_learners(self) -> None:
        """One may have learned what it could not write down."""
        from archipel.work.update import UpdateKind

        kind = self._kinds.pop("update", None)
        if isinstance(kind, UpdateKind):
            kind.close()

    def _work(self, message: DoWork) -> Done:
        (self._scratch / message.work).mkdir(exist_ok=True)
        _allow_cpu(message.cpu_limit_s)
        answer = self._kind(message.spec.kind).run(
            message.spec, self._context(message), self._progress
        )
        return _done(answer)

    def _position(self, message: AskPosition) -> Done:
        from archipel.work.update import UpdateKind

        kind = self._kind("update")
        memory = Path(self._setup.memory or self._scratch) / message.folder
        version = kind.position(message.run, memory) if isinstance(kind, UpdateKind) else -1
        return Done(files={}, values={"version": version})

    def _benchmark(self) -> Done:
        from archipel.work.benchmark import measure_engine

        return Done(files={}, values=measure_engine(self._choice()))

    def _progress(self, values: Mapping[str, Any]) -> None:
        now_s = time.monotonic()
        if now_s - self._last_progress_s < PROGRESS_INTERVAL_S:
            return
        self._last_progress_s = now_s
        self.say(ProgressMessage(tokens=int(values.get("tokens", 0))))

    def _kind(self, name: str) -> Kind:
        if name not in self._kinds:
            self._kinds[name] = self._make_kind(name)
        return self._kinds[name]

    def _make_kind(self, name: str) -> Kind:
        """Imports are here: a child that only samples never loads the trainer."""
        if name == RolloutSpec.model_fields["kind"].default:
            from archipel.work.rollout import RolloutKind

            return RolloutKind(self._choice())
        if name == EvaluateSpec.model_fields["kind"].default:
            from archipel.work.evaluate import EvaluateKind

            return EvaluateKind(self._choice())
        from archipel.work.update import UpdateKind

        return UpdateKind()

    def _choice(self) -> Any:
        from archipel.work.engines import EngineChoice

        return EngineChoice(self._setup.engine, self._setup.dtype, self._setup.device)

    def _context(self, message: DoWork) -> Context:
        run = message.spec.run
        memory = Path(self._setup.memory) / message.folder if self._setup.memory else None
        return Context(
            work=message.work,
            run=run,
            pace=message.pace,
            model=Path(message.model),
            chain=tuple(
                Link(
                    link.version,
                    link.policy,
                    Path(link.manifest),
                    Path(link.anchor) if link.anchor else None,
                    Path(link.delta) if link.delta else None,
                )
                for link in message.chain
            ),
            blobs={digest: Path(path) for digest, path in message.blobs.items()},
            scratch=self._scratch / message.work,
            memory=memory,
            secret=bytes.fromhex(message.secret) if message.secret else None,
            recipe=message.recipe.encode() if message.recipe else None,
            inputs=message.inputs,
            replay=tuple((each.version, each.inputs) for each in message.replay),
        )


def serve() -> None:
    """Run until standard input ends."""
    answers = private_output()
    setup = read_setup(sys.stdin.buffer.readline(MAX_LINE_BYTES))
    protections = confine(setup)
    import torch

    torch.set_num_threads(setup.threads)
    child = Child(setup, answers)
    child.say(Ready(protections=protections))
    while line := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        child.say(child.answer(read_to_child(line)))


def private_output() -> IO[bytes]:
    """Standard output for answers alone; what libraries print goes to the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def confine(setup: Setup) -> tuple[str, ...]:
    """Give up what work never needs; the trusted role reads the operator's own data and is not fenced."""
    if setup.trusted:
        _end_with_parent()
        return ()
    # vLLM is several processes that meet over loopback; the report then says what no longer holds.
    is_vllm = setup.engine == "vllm"
    limits = Limits(
        address_space_bytes=setup.max_memory_bytes,
        open_files=MAX_OPEN_FILES,
        may_start_processes=is_vllm,
    )
    report = restrict(
        limits,
        readable=[Path(path) for path in setup.readable],
        writable=[Path(setup.scratch)],
        network=is_vllm,
    )
    return tuple(report.holding())


def _end_with_parent() -> None:
    """An update that outlived its agent would write into the memory that the next one continues from."""
    if sys.platform.startswith("linux"):
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _allow_cpu(limit_s: int) -> None:
    """The kernel ends this process when one work takes more processor time than this."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + limit_s
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _done(answer: Answer) -> Done:
    return Done(
        files={role: str(path) for role, path in answer.files.items()}, values=dict(answer.values)
    )


if __name__ == "__main__":
    serve()
