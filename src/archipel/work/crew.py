"""Several engines side by side behind one node: processes of the same engine, each on a device of its own.

Parts: `Job`, `Crew` (an engine to whoever asks). Law: a rollout is a function of its
request and number alone, so where an engine keeps its promise about batches the tokens are those of one engine.
A member that ends takes the answer with it and the crew is started anew with the next one; every wait has a bound.
"""

import logging
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from archipel.model.adapter import Adapter
from archipel.model.adapter_files import write_adapter
from archipel.records.fields import Closed
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.work.crew_devices import member_process, shares_of
from archipel.work.crew_messages import (
    Forget,
    FromMember,
    Load,
    Sampled,
    Start,
    read_from_member,
)
from archipel.work.crew_requests import cpu_left, told
from archipel.work.dealing import dealt
from archipel.work.kind import EngineChoice, MachineUnfit, WorkFailed
from archipel.work.messages import MAX_LINE_BYTES, BadMessage, Failed, ProgressMessage, to_line
from archipel.work.pipes import write_within

logger = logging.getLogger("archipel.work.crew")

START_LIMIT_S, LOAD_LIMIT_S, SAMPLE_LIMIT_S = 900.0, 900.0, 24 * 3600.0
"""vLLM compiles when it starts; what samples is ended by the lease's own deadline long before."""
TAKE_LIMIT_S = 60.0
"""For what an engine that answered is asked next: it waits for nothing else."""
END_LIMIT_S = 5.0
READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Job:
    """What every member of a crew is started for."""

    model: Path
    choice: EngineChoice
    contract: str | None = None
    rank: int | None = None
    """Of adapters; None: whole weights."""


@dataclass
class _Member:
    process: subprocess.Popen[bytes]
    tokens: int = 0
    """Of the work at hand."""
    held: bytearray = field(default_factory=bytearray)
    """Of a line that has not ended."""


class Crew:
    """An `AdaptingEngine` of `choice.engines` processes, or of one whose engine starts further ones."""

    def __init__(self, job: Job) -> None:
        """Nothing is started before there are weights."""
        self._job = job
        self._members: list[_Member] = []
        self._state: Mapping[str, Tensor] | None = None
        self._adapters: dict[str, Adapter] = {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`; every adapter is forgotten.

        Raises:
            MachineUnfit, WorkFailed: a member does not start, or does not take them.
        """
        self._state, self._adapters = state, {}
        if self._members:
            self._hand_out()
        else:
            self._start()

    def adapt(self, name: str, adapter: Adapter | None) -> None:
        """See `AdaptingEngine.adapt`. Raises MachineUnfit, WorkFailed."""
        if adapter is None:
            if self._adapters.pop(name, None) is not None and self._members:
                self._tell(Forget(name=name), LOAD_LIMIT_S)
            return
        self._adapters[name] = adapter
        self._ready()
        self._hand_over(name, adapter)

    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Rollout, ...]]:
        """See `Engine.generate`.

        Raises:
            MachineUnfit, WorkFailed: a member could not do its part, or ended.
        """
        self._ready()
        deals = dealt(requests, len(self._members))
        left = cpu_left()
        for member in self._members:
            member.tokens = 0
        asked = [told([part for _, part in deal], left) for deal in deals]
        for member, message in zip(self._members, asked, strict=True):
            self._send(member, message, TAKE_LIMIT_S)
        replies = self._hear(SAMPLE_LIMIT_S, on_progress)
        found: list[dict[int, tuple[Rollout, ...]]] = [{} for _ in requests]
        for deal, reply in zip(deals, replies, strict=True):
            if not isinstance(reply, Sampled) or len(reply.groups) != len(deal):
                raise WorkFailed(f"an engine of the crew answered {reply.say} to {len(deal)} parts")
            for (number, part), rollouts in zip(deal, reply.groups, strict=True):
                found[number][part.first_rollout] = rollouts
        return [tuple(one for _, part in sorted(each.items()) for one in part) for each in found]

    def close(self) -> None:
        """End every member; the next work starts them anew."""
        for member in self._members:
            with suppress(OSError):
                if member.process.stdin is not None:
                    member.process.stdin.close()
        for member in self._members:
            try:
                member.process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
            if member.process.stdout is not None:
                member.process.stdout.close()
        self._members = []

    def _ready(self) -> None:
        if not self._members:
            self._start()

    def _start(self) -> None:
        job, choice = self._job, self._job.choice
        shares = shares_of(choice)
        for number in range(choice.engines):
            share = shares[number % len(shares)]
            self._members.append(_Member(member_process(choice, share)))
            start = Start(
                model=job.model,
                engine=choice.name,
                dtype=choice.dtype,
                device=choice.device if choice.name == "vllm" else share[0],
                contract=job.contract,
                rank=job.rank,
                threads=torch.get_num_threads(),
                spread=choice.spread,
            )
            self._send(self._members[-1], start, START_LIMIT_S)
        self._hear(START_LIMIT_S)
        self._hand_out()
        for name, adapter in self._adapters.items():
            self._hand_over(name, adapter)
        logger.info("engines side by side", extra={"engines": choice.engines, "devices": shares})

    def _hand_out(self) -> None:
        """The weights, by one file for all."""
        if self._state is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.safetensors"
            tensors = {name: each.detach().cpu().contiguous() for name, each in self._state.items()}
            save_file(tensors, file)
            self._tell(Load(file=file), LOAD_LIMIT_S)

    def _hand_over(self, name: str, adapter: Adapter) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "adapter"
            write_adapter(path, adapter, None)
            self._tell(Load(file=path, name=name), LOAD_LIMIT_S)

    def _tell(self, message: Closed, limit_s: float) -> None:
        for member in self._members:
            self._send(member, message, limit_s)
        self._hear(limit_s)

    def _send(self, member: _Member, message: Closed, limit_s: float) -> None:
        """Raises MachineUnfit: it ended, or does not take what it is told."""
        line, stream = to_line(message), member.process.stdin
        if _has_spoken(member):  # or ended: what it says now answers nothing that was asked
            raise self._lost(member)
        try:
            if stream is not None:
                write_within(stream.fileno(), line, limit_s)
        except TimeoutError:
            self.close()
            raise MachineUnfit(f"an engine did not listen for {limit_s:.0f} s") from None
        except OSError:
            raise self._lost(member) from None

    def _hear(
        self, limit_s: float, on_progress: Callable[[int], None] | None = None
    ) -> list[FromMember]:
        """One answer of every member. Raises MachineUnfit, WorkFailed: one failed or ended; so do all then."""
        until = time.monotonic() + limit_s
        answers: dict[int, FromMember] = {}
        with selectors.DefaultSelector() as ready:
            for number, member in enumerate(self._members):
                if member.process.stdout is not None:
                    ready.register(member.process.stdout, selectors.EVENT_READ, number)
            while len(answers) < len(self._members):
                left_s = until - time.monotonic()
                events = ready.select(left_s) if left_s > 0 else []
                if not events:
                    self.close()
                    raise MachineUnfit(f"engines gave no answer in {limit_s:.0f} s and were ended")
                for key, _ in events:
                    self._take(key.data, answers)
                if on_progress is not None:
                    on_progress(sum(member.tokens for member in self._members))
        return [answers[number] for number in range(len(self._members))]

    def _take(self, number: int, answers: dict[int, FromMember]) -> None:
        member = self._members[number]
        for reply in self._lines(member):
            if number in answers:  # it would be taken for the next one
                raise self._lost(member)
            if isinstance(reply, ProgressMessage):
                member.tokens = reply.tokens
            else:
                answers[number] = self._sound(reply)

    def _lines(self, member: _Member) -> list[FromMember]:
        """Every whole line that has come."""
        stream = member.process.stdout
        data = b"" if stream is None else os.read(stream.fileno(), READ_BYTES)
        if not data:
            raise self._lost(member)
        head, *others = data.split(b"\n")
        member.held += head
        if len(member.held) > MAX_LINE_BYTES:
            raise self._lost(member)
        if not others:
            return []
        *whole, rest = others
        lines = [bytes(member.held), *whole]
        member.held = bytearray(rest)
        try:
            return [read_from_member(line) for line in lines]
        except BadMessage:
            raise self._lost(member) from None

    def _sound(self, reply: FromMember) -> FromMember:
        if not isinstance(reply, Failed):
            return reply
        self.close()
        if reply.fault is None:
            raise OSError(None, reply.reason)
        raise MachineUnfit(reply.reason) if reply.fault == "machine" else WorkFailed(reply.reason)

    def _lost(self, member: _Member) -> MachineUnfit:
        number = self._members.index(member) + 1
        count = len(self._members)
        self.close()
        code = member.process.returncode
        return MachineUnfit(
            f"engine {number} of {count} on this machine ended ({code}); its own words are in the work process's log"
        )


def _has_spoken(member: _Member) -> bool:
    with selectors.DefaultSelector() as ready:
        if member.process.stdout is not None:
            ready.register(member.process.stdout, selectors.EVENT_READ)
        return bool(member.held or ready.select(0))
