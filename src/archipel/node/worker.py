"""The child process in which work runs, seen from the agent.

A crash, a hang or nonsense from the child is `WorkerLost`: it costs the lease at hand, never the
agent. The child gets a scrubbed environment, the agent's own source tree, and no file descriptors but
its three pipes.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from archipel import source_environment
from archipel.node.failures import WorkFailure
from archipel.node.lasting import overrun
from archipel.node.ranks import ALONE, Ranks
from archipel.node.worker_start import Start, meeting_in, near_program, not_covered, program
from archipel.records.fields import Closed, Fault
from archipel.records.turns import Said
from archipel.work.messages import (
    MAX_LINE_BYTES,
    AnswerTurns,
    AskTurns,
    BadMessage,
    Done,
    DoWork,
    Failed,
    FromChild,
    ProgressMessage,
    Ready,
    RunBenchmark,
    Setup,
    TurnsOver,
    read_from_child,
    to_line,
)
from archipel.work.remembered import MAX_REMEMBERED, AskRemembered, Remembered

OnTurns = Callable[[Sequence[Said]], Awaitable[TurnsOver]]
"""Brings what follows turns of a work."""
START_LIMIT_S = 120.0
"""Importing the tensor library on a cold, slow disk."""
REMEMBERED_LIMIT_S = 60.0
BENCHMARK_LIMIT_S = 120.0
TERM_LIMIT_S = 3.0


class WorkerLost(WorkFailure):
    """The child is gone or does not make sense any more."""

    outcome = "lost"


class TimeUp(WorkerLost):
    """The child was ended because its time was over; slowness is no failure."""

    fault = "time"


class WorkRefused(WorkFailure):
    """The child could not do this work; it is fit for other work."""

    def __init__(self, reason: str, fault: Fault | None = "work") -> None:
        super().__init__(reason)
        self.fault = fault


class Worker:
    """One child process."""

    def __init__(self, process: asyncio.subprocess.Process, start: "Start") -> None:
        self._process = process
        self._start = start
        self._ended_for = ""
        self.protections: tuple[str, ...] = ()

    @classmethod
    async def start(
        cls, setup: Setup, environment: Mapping[str, str], log: Path, ranks: Ranks = ALONE
    ) -> "Worker":
        """Spawn the child (or torchrun with several) and wait until it is ready.

        Raises:
            WorkerLost: it did not come up; the message points to its log. OSError: the disk.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        folder, near = meeting_in(log.parent, ranks)
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(program(ranks, setup) if folder is None else near_program(ranks, setup, folder)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                env={**source_environment(), **environment, **near},
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C in the terminal is for the agent alone
            )
        worker = cls(process, Start(setup, environment, log, ranks))
        try:
            worker._send(setup)
            ready = await worker._receive(START_LIMIT_S)
        except WorkerLost as error:
            await worker.kill()
            raise WorkerLost(f"the child did not start ({error}); see {log}") from None
        except asyncio.CancelledError:
            await worker.kill()
            raise
        if not isinstance(ready, Ready):
            await worker.kill()
            raise WorkerLost(f"the child said {ready.say} before it was ready; see {log}")
        worker.protections = ready.protections
        return worker

    @property
    def pid(self) -> int:
        """Of the child, or of torchrun above it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Still running."""
        return self._process.returncode is None

    async def let_read(self, paths: Sequence[str]) -> bool:
        """See that the child may read these files; True when a new one had to start for it.

        A fence cannot be moved, so the child that knew nothing of the files ends.

        Raises:
            WorkerLost: the new one did not come up.
        """
        start = self._start
        fresh = not_covered(start.setup, paths)
        if not fresh:
            return False
        await self.kill()
        setup = start.setup.model_copy(update={"readable": (*start.setup.readable, *fresh)})
        worker = await Worker.start(setup, start.environment, start.log, start.ranks)
        self._process, self._start = worker._process, worker._start
        self.protections = worker.protections
        return True

    async def work(
        self,
        message: DoWork | AnswerTurns,
        limit_s: float,
        on_tokens: Callable[[int], None] = lambda tokens: None,
        on_turns: OnTurns | None = None,
    ) -> Done:
        """Run one piece of work, or answer turns.

        on_turns: brings what follows turns that the work asks about.

        Raises:
            WorkerLost: the child died, or the time was up and it was killed.
            WorkRefused: the child is fine but could not do it.
        """
        return await self._ask(message, limit_s, on_tokens, on_turns)

    async def benchmark(self) -> Done:
        """Measure this machine."""
        return await self._ask(RunBenchmark(), BENCHMARK_LIMIT_S, lambda tokens: None)

    async def remembered(self, kind: str, run: str, folder: str) -> tuple[Remembered, ...]:
        """Versions that the child's memory of `run` can continue from, the first that it would take first."""
        question = AskRemembered(kind=kind, run=run, folder=folder)
        done = await self._ask(question, REMEMBERED_LIMIT_S, lambda tokens: None)
        told = done.values.get("remembered")
        if not isinstance(told, list) or len(told) > MAX_REMEMBERED:
            raise WorkerLost(f"the child says it remembers {told!r:.40}; expected a list")
        try:
            return tuple(map(Remembered.model_validate, told))
        except ValidationError as error:
            raise WorkerLost(f"the child says it remembers {told!r:.80}: {error}") from None

    async def kill(self) -> None:
        """End the child and whatever it started."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its session is its own, see start
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERM_LIMIT_S):
                await self._process.wait()

    async def close(self) -> None:
        """Let the child end by itself, then make sure."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERM_LIMIT_S):
                await self._process.wait()
        await self.kill()

    async def _ask(
        self,
        message: Closed,
        limit_s: float,
        on_tokens: Callable[[int], None],
        on_turns: OnTurns | None = None,
    ) -> Done:
        watch = asyncio.create_task(self._watch(message))
        try:
            return await self._answered(message, limit_s, on_tokens, on_turns)
        except WorkerLost:
            if self._ended_for:
                raise WorkerLost(self._ended_for) from None
            raise
        finally:
            watch.cancel()

    async def _watch(self, message: Closed) -> None:
        """Ends a child that fills the disk."""
        self._ended_for = await overrun(self._start.setup, message)
        await self.kill()

    async def _answered(
        self,
        message: Closed,
        limit_s: float,
        on_tokens: Callable[[int], None],
        on_turns: OnTurns | None,
    ) -> Done:
        self._send(message)
        deadline = asyncio.get_running_loop().time() + limit_s
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                answer = await self._receive(left_s)
            except (WorkerLost, asyncio.CancelledError):
                await self.kill()  # else its answer would be taken for that to the next question
                raise
            if isinstance(answer, ProgressMessage):
                on_tokens(answer.tokens)
            elif isinstance(answer, AskTurns) and on_turns is not None:
                await self._bring(answer, deadline, on_turns)
            elif isinstance(answer, Failed):
                raise WorkRefused(answer.reason, answer.fault)
            elif isinstance(answer, Done):
                return answer
            else:
                await self.kill()
                raise WorkerLost("the child started over in the middle of work")

    async def _bring(self, asked: AskTurns, deadline: float, on_turns: OnTurns) -> None:
        """Raises TimeUp: nothing came in time."""
        left_s = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                over = await on_turns(asked.said)
        except (TimeoutError, asyncio.CancelledError) as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise TimeUp("time is up, with turns that nobody answered") from None
            raise
        self._send(over)

    def _send(self, message: Closed) -> None:
        if self._process.stdin is None or self._process.stdin.is_closing():
            raise WorkerLost("the child's input is closed")
        line = to_line(message)
        if len(line) > MAX_LINE_BYTES:
            raise WorkRefused(
                f"what the work needs takes {len(line)} bytes to say; a child reads {MAX_LINE_BYTES} at most"
            )
        self._process.stdin.write(line)

    async def _receive(self, limit_s: float) -> FromChild:
        if self._process.stdout is None:
            raise WorkerLost("the child has no output")
        try:
            async with asyncio.timeout(max(limit_s, 0.0)):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise TimeUp("time is up") from None
        except ValueError:
            raise WorkerLost(f"a line of more than {MAX_LINE_BYTES} bytes") from None
        if not line.endswith(b"\n"):
            raise WorkerLost(await self._end_of_output())
        try:
            return read_from_child(line)
        except BadMessage as error:
            raise WorkerLost(str(error)) from None

    async def _end_of_output(self) -> str:
        """What became of a child that says nothing more; one that lives on all the same is ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERM_LIMIT_S):
                return f"the child ended with code {await self._process.wait()}"
        await self.kill()
        return "the child closed its output and lived on; it was ended"
