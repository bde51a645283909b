"""What an engine is asked and what it answers.

A `Request` goes in and `Rollout`s come out; both are records, since training speaks of them too.
Parts: `Event` and `Events`; the protocols `Engine` (closed: a list in, a list out), `AdaptingEngine` (with
adapters) and `OpenEngine` (requests come, stream and go while it runs); errors that name who is to blame.
Open is `LocalEngine`; the transformers and vLLM engines are closed.
Law: a rollout is a pure function of (weights, prompt, seed, rollout index, settings of the
request); which other requests were there, and in which order they came, changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NewType, Protocol, Self

from torch import Tensor

from archipel.model.adapter import Adapter
from archipel.records.requests import InvalidRequest, Request
from archipel.records.rollouts import Rollout


class WrongWeights(ValueError):
    """The state is not that of this engine's architecture."""


class NotLoaded(RuntimeError):
    """Something was asked of an engine before `load`."""


class NotStarted(RuntimeError):
    """The library behind this engine is here and does not start."""


class EngineBusy(RuntimeError):
    """The call needs an engine in which nothing waits or runs."""


class NonFiniteLogits(ArithmeticError):
    """The weights produce NaN or infinity; nothing sampled from them would mean anything."""


Ticket = NewType("Ticket", int)
"""An open engine's name for one request; never given twice."""


class Event(NamedTuple):
    """One sequence went one token further."""

    ticket: Ticket
    rollout: int
    """Which of the request's rollouts."""
    token: int
    logprob: float
    """Nats, as in `Rollout.logprobs`."""
    ended: Rollout | None
    """The whole of it, when this token was the last."""


@dataclass
class Events:
    """What one step sampled: of a sequence a token, or several where they were guessed, in their order.

    Kept as columns, because whoever wants completions alone never looks at single tokens.
    """

    owners: list[tuple[Ticket, int]]
    """(ticket, rollout) of each sequence that got a token."""
    tokens: list[int]
    logprobs: list[float]
    ended: dict[tuple[Ticket, int], Rollout]
    """Of those, the ones that are complete."""

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All of `parts` as one."""
        whole = cls([], [], [], {})
        for part in parts:
            whole.owners.extend(part.owners)
            whole.tokens.extend(part.tokens)
            whole.logprobs.extend(part.logprobs)
            whole.ended.update(part.ended)
        return whole

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[Event]:
        places = enumerate(self.owners) if self.ended else ()
        last = {owner: place for place, owner in places if owner in self.ended}
        each = zip(self.owners, self.tokens, self.logprobs, strict=True)
        for place, (owner, token, logprob) in enumerate(each):
            ended = self.ended[owner] if last.get(owner) == place else None
            yield Event(*owner, token, logprob, ended)


def refuse_steering(requests: Sequence[Request], engine: str) -> None:
    """Of an engine whose sampler is not ours.

    Raises:
        InvalidRequest: one has something that bends its logits.
    """
    for request in requests:
        if request.steering is not None:
            raise InvalidRequest(
                f"request {request.key!r:.80} bends its logits, which engine {engine} does not; leave that out"
            )


def refuse_adapters(requests: Sequence[Request], engine: str) -> None:
    """Of an engine that samples from whole weights alone.

    Raises:
        InvalidRequest: one names an adapter.
    """
    for request in requests:
        if request.adapter is not None:
            raise InvalidRequest(
                f"request {request.key!r:.80} names adapter {request.adapter!r:.80}; engine {engine} samples from "
                "whole weights: load the merged ones and name none"
            )


class Sampler(Protocol):
    """Tokens into tokens, by weights that are there already."""

    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Rollout, ...]]:
        """Serve every request; one tuple of `num_rollouts` each, in request order.

        `on_progress` is told the number of tokens sampled so far, after every step.
        """


class Engine(Sampler, Protocol):
    """A sampler that takes weights."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take new weights of the same architecture, keyed by Hugging Face names."""


class AdaptingEngine(Engine, Protocol):
    """An engine that samples with adapters beside its weights, each request with its own or none."""

    def adapt(self, name: str, adapter: Adapter | None) -> None:
        """Have requests that name `name` sampled with this adapter over the loaded weights; None: forget it."""


class OpenEngine(Engine, Protocol):
    """An engine that takes requests while it runs; one thread drives it.

    `generate` is for callers who have the engine to themselves.
    """

    @property
    def has_work(self) -> bool:
        """Whether anything waits or runs."""

    def add(self, request: Request) -> Ticket:
        """Let a request wait for its turn; first come, first served."""

    def step(self) -> Events:
        """Advance: an event for every token that a sequence got; none without work."""

    def cancel(self, ticket: Ticket) -> bool:
        """Drop a request: no event of it follows, and its slots are free at once.

        False if nothing of it was to come: it had ended, was cancelled, or never was.
        """
