"""One engine of a crew: `python -m archipel.work.crew_member`, started by the work process and confined as it is.

Requests come on standard input, answers go to a private copy of standard output; it ends with its input.
"""

import logging
import resource
import sys
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from archipel.records.fields import Closed
from archipel.work.crew_messages import Forget, Load, Sample, Sampled, Start, read_to_member
from archipel.work.faults import failed
from archipel.work.kind import EngineChoice
from archipel.work.messages import MAX_LINE_BYTES, Done, ProgressMessage, to_line
from archipel.work.pipes import private_output
from archipel.work.sandbox import die_with_parent

if TYPE_CHECKING:
    from archipel.model.pieces import Pieces

logger = logging.getLogger("archipel.work.crew_member")

PROGRESS_INTERVAL_S = 0.5


class Member:
    """Its engine, once it was started."""

    def __init__(self, start: Start, answers: IO[bytes]) -> None:
        import torch

        from archipel.work.engines import engine_without_weights

        torch.set_num_threads(start.threads)
        self._answers = answers
        self._told_s = 0.0
        self._choice = EngineChoice(start.engine, start.dtype, start.device, spread=start.spread)
        self._engine = engine_without_weights(start.model, self._choice, start.contract, start.rank)
        self._model = start.model

    def answer(self, message: Load | Forget | Sample) -> Closed:
        """The reply to one message."""
        if isinstance(message, Load):
            return self._load(message)
        if isinstance(message, Forget):
            self._engine.adapt(message.name, None)
            return Done(files={}, values={})
        from archipel.work.crew_requests import heard

        allow_cpu(message.cpu_s)
        groups = self._engine.generate(heard(message, self._pieces), self._progress)
        return Sampled(groups=tuple(groups))

    def _load(self, message: Load) -> Done:
        from safetensors.torch import load_file

        from archipel.model.adapter_files import read_adapter
        from archipel.model.directory import read_config
        from archipel.work.engines import first_load

        if message.name is None:
            first_load(self._engine, self._choice, load_file(message.file))
        else:
            adapter, _ = read_adapter(message.file, read_config(self._model))
            self._engine.adapt(message.name, adapter)
        return Done(files={}, values={})

    def _pieces(self) -> "Pieces":
        from archipel.model.tokenizer import Tokenizer

        return Tokenizer.from_directory(self._model).pieces

    def _progress(self, tokens: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_INTERVAL_S:
            self._told_s = now_s
            say(self._answers, ProgressMessage(tokens=tokens))


def allow_cpu(limit_s: int | None) -> None:
    """From here on; the bound of the process that started this one counted that one's own time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    spent = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (hard if limit_s is None else spent + limit_s, hard))


def say(answers: IO[bytes], message: Closed) -> None:
    """One line."""
    answers.write(to_line(message))
    answers.flush()


def serve() -> None:
    """Until standard input ends."""
    allow_cpu(None)
    with suppress(OSError, AttributeError):  # where the system cannot, it ends with its input
        die_with_parent()
    answers = private_output()
    member: Member | None = None
    while line := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        message = read_to_member(line)
        try:
            if isinstance(message, Start):
                member = Member(message, answers)
                reply: Closed = Done(files={}, values={})
            elif member is None:
                raise SystemExit("an engine of a crew was asked before it was started")
            else:
                reply = member.answer(message)
        except Exception as error:
            logger.exception("an engine of a crew failed")
            reply = failed(error)
        say(answers, reply)


if __name__ == "__main__":
    serve()
