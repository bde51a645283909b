"""The child process in which work runs: `python -m archipel.work.child`.

It reads messages from standard input and answers on a private copy of standard output, so whatever a
library prints lands in the log. It confines itself before it loads anything heavy. A crash here costs
one lease, never the agent; what a run's own data breaks is told and costs not even the child.
"""

import logging
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from archipel.records.fields import Closed
from archipel.records.turns import Reply, Said
from archipel.work.faults import MAX_REASON_CHARACTERS, failed
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Unanswered,
    WorkFailed,
    context_of,
)
from archipel.work.kinds import make_kind
from archipel.work.messages import (
    MAX_LINE_BYTES,
    AnswerTurns,
    AskTurns,
    BadMessage,
    Done,
    DoWork,
    ProgressMessage,
    Ready,
    Setup,
    ToChild,
    TurnsOver,
    read_setup,
    read_to_child,
    to_line,
)
from archipel.work.pipes import private_output
from archipel.work.remembered import MAX_REMEMBERED, AskRemembered
from archipel.work.sandbox import Limits, restrict

if TYPE_CHECKING:
    from archipel.work.hosting import Hosts

logger = logging.getLogger("archipel.work.child")

MAX_OPEN_FILES = 1024
THREADS_BESIDES, THREADS_PER_THREAD = 512, 8
"""Libraries keep pools of their own, as large as the machine or as what they are told."""
NAMES = tuple(
    Path("/etc", name)
    for name in ("hosts", "host.conf", "nsswitch.conf", "resolv.conf", "gai.conf")
)
"""What `localhost` and this machine's own name stand for; read only where processes meet over sockets."""
PROCESSES = Path("/proc")
"""Where a further process of an engine that splits its model finds itself, and what anybody may know of others."""
SHARED = {
    "processes": (Path("/dev/shm"),),  # noqa: S108  shared memory, which has no other place
    "ray": (Path("/dev/shm"), Path("/tmp/ray")),  # noqa: S108
}
"""Through which such processes hand each other what they computed."""
PROGRESS_INTERVAL_S = 0.5
"""Between words about progress: one per token would cost as much as small work itself."""


class Child:
    """Holds the kinds (and so the weights) between works."""

    def __init__(self, setup: Setup, answers: IO[bytes]) -> None:
        self._setup = setup
        self._answers = answers
        self._kinds: dict[str, Kind] = {}
        self._last_progress_s = 0.0
        self._hosting: Hosts | None = None

    def say(self, message: Closed) -> None:
        """Send one line to the agent."""
        try:
            line = to_line(message)
        except ValueError as error:  # values of a kind that no line can hold
            line = to_line(failed(error))
        self._answers.write(line)
        self._answers.flush()

    def answer(self, message: ToChild) -> Closed:
        """The reply to one message; a failure is data."""
        try:
            if isinstance(message, DoWork):
                return self._work(message)
            if isinstance(message, AskRemembered):
                return self._remembered(message)
            if isinstance(message, AnswerTurns):
                return self._hosts().answer(message)
            if isinstance(message, TurnsOver):
                raise WorkFailed("replies came to turns that nobody asked about")
            return self._benchmark()
        except WorkFailed as error:
            return failed(error)
        except (Exception, SystemExit) as error:  # an environment's package may call sys.exit
            logger.exception("work failed")
            return failed(error)

    def is_shared(self, message: Closed) -> bool:
        """Whether every rank of a site has to answer this message."""
        if not isinstance(message, DoWork) or message.spec.kind not in self._setup.kinds:
            return False
        return self._kind(message.spec.kind).shared

    def _work(self, message: DoWork) -> Done:
        kind = self._kind(message.spec.kind)
        context = self._context(message)
        context.scratch.mkdir(exist_ok=True)
        _allow_cpu(message.cpu_limit_s)
        return _done(kind.run(message.spec, context, self._progress))

    def _remembered(self, message: AskRemembered) -> Done:
        memory = (self._setup.memory or self._setup.scratch) / message.folder
        found = self._kind(message.kind).remembers(message.run, memory)[:MAX_REMEMBERED]
        return Done(files={}, values={"remembered": [each.model_dump() for each in found]})

    def _benchmark(self) -> Done:
        from archipel.work.benchmark import measure_engine

        return Done(files={}, values=measure_engine(self._choice()))

    def _progress(self, tokens: int) -> None:
        now_s = time.monotonic()
        if now_s - self._last_progress_s < PROGRESS_INTERVAL_S:
            return
        self._last_progress_s = now_s
        self.say(ProgressMessage(tokens=tokens))

    def _hosts(self) -> "Hosts":
        from archipel.work.hosting import Hosts

        if not self._setup.trusted:
            raise WorkFailed("only a trusted role answers turns")
        self._hosting = self._hosting or Hosts()
        return self._hosting

    def _kind(self, name: str) -> Kind:
        if name not in self._setup.kinds:
            raise WorkFailed(f"asked for {name} work; this child does {self._setup.kinds}")
        if name not in self._kinds:
            self._kinds[name] = make_kind(name, self._choice())
        return self._kinds[name]

    def _choice(self) -> EngineChoice:
        setup = self._setup
        return EngineChoice(setup.engine, setup.dtype, setup.device, setup.engines, setup.spread)

    def _context(self, message: DoWork) -> Context:
        memory = self._setup.memory / message.folder if self._setup.memory else None
        return context_of(message, self._setup.scratch / message.work, memory, self._ask)

    def _ask(self, said: Sequence[Said]) -> Sequence[Reply]:
        """Raises WorkFailed: there is no reply."""
        self.say(AskTurns(said=tuple(said)))
        told = _understood(sys.stdin.buffer.readline(MAX_LINE_BYTES))
        if not isinstance(told, TurnsOver):
            raise SystemExit(f"expected replies to turns, was told to do {told.do}")
        if told.replies is None:
            raise Unanswered(told.reason, told.fault)
        return told.replies


def serve() -> None:
    """Run until standard input ends; an agent that died before it could hear us ends us without a word."""
    answers = private_output()
    if first := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        with suppress(BrokenPipeError):
            _serve(read_setup(first), answers)


def _serve(setup: Setup, answers: IO[bytes]) -> None:
    """Raises BrokenPipeError: nobody reads the answers any more."""
    protections = confine(setup)
    if setup.kinds:  # who only answers turns needs no tensors
        import torch

        torch.set_num_threads(setup.threads)
    child = Child(setup, answers)
    child.say(Ready(protections=protections))
    while line := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        child.say(child.answer(_understood(line)))


def _understood(line: bytes) -> ToChild:
    """Raises SystemExit: it is no message, so nobody knows where the next one begins."""
    try:
        return read_to_child(line)
    except BadMessage as error:
        raise SystemExit(
            f"{len(line)} bytes that are no message: {error}"[:MAX_REASON_CHARACTERS]
        ) from None


def confine(setup: Setup, *, meets_others: bool = False) -> tuple[str, ...]:
    """Give up what work never needs; returns the protections that hold.

    meets_others: it is one of several processes that talk over sockets, so the network stays.

    The trusted role's child starts graders besides, which confine themselves further.
    """
    # vLLM is several processes that meet over loopback; the report then says what no longer holds.
    is_vllm = setup.engine == "vllm"
    needs_network = is_vllm or meets_others or (setup.network and setup.trusted)
    limits = Limits(
        address_space_bytes=setup.max_memory_bytes,
        open_files=MAX_OPEN_FILES,
        file_bytes=setup.max_file_bytes,
        threads=THREADS_BESIDES + THREADS_PER_THREAD * setup.threads,
        may_start_processes=is_vllm or setup.trusted or setup.engines > 1,
    )
    is_spread = not setup.spread.is_one
    report = restrict(
        limits,
        readable=[
            *setup.readable,
            *(NAMES if needs_network else ()),
            *((PROCESSES,) if is_spread else ()),
        ],
        writable=[
            setup.scratch,
            *([setup.memory] if setup.memory else []),
            *(SHARED[setup.spread.by] if is_spread else ()),
        ],
        network=needs_network,
        own_shared_memory=is_spread and setup.spread.by == "processes",
        driver=setup.device.partition(":")[0] == "cuda",
    )
    if (
        is_spread and setup.spread.by == "ray"
    ):  # which runs programs for it that nothing of this confines
        return ()
    return tuple(each for each in report.holding() if not (is_spread and each == "processes"))


def _allow_cpu(limit_s: int) -> None:
    """The kernel ends this process when one work takes more processor time than this."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + limit_s
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _done(answer: Answer) -> Done:
    return Done(files=dict(answer.files), values=dict(answer.values))


if __name__ == "__main__":
    serve()
