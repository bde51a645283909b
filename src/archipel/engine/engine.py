"""The default engine: this machine, our network, many sequences at once.

Parts: `LocalEngine`; `EngineLimits` comes from `capacity`, `Request` from `records`, all else from
`protocol`.
Law: on a CPU, tokens and log-probabilities are bitwise the same whatever runs beside them on the
same machine with the same torch and number of threads; `selftest` checks it for loaded weights.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic, FloatArithmetic
from archipel.engine.capacity import Capacity, EngineLimits
from archipel.engine.drafts import Drafts
from archipel.engine.fused import FusedDecoder
from archipel.engine.generation import Generation
from archipel.engine.guessing import Drafter
from archipel.engine.protocol import (
    Engine,
    EngineBusy,
    Event,
    Events,
    NonFiniteLogits,
    NotLoaded,
    OpenEngine,
    Ticket,
    WrongWeights,
)
from archipel.engine.reading import Follows, Reading, Scores, check_text
from archipel.engine.scoring import Scoring, Wanted, check_wanted
from archipel.model.adapter import Adapter
from archipel.model.config import DecoderConfig
from archipel.records.requests import InvalidRequest, Request
from archipel.records.rollouts import Rollout

__all__ = [
    "Engine",
    "EngineBusy",
    "EngineLimits",
    "Event",
    "Events",
    "InvalidRequest",
    "LocalEngine",
    "NonFiniteLogits",
    "NotLoaded",
    "OpenEngine",
    "Request",
    "Ticket",
    "WrongWeights",
]


class LocalEngine:
    """An `OpenEngine` for the families of `model.network`."""

    def __init__(
        self,
        config: DecoderConfig,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        limits: EngineLimits | None = None,
        arithmetic: Arithmetic | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        """Products compute in `dtype`; fp32 holds bf16 weights exactly. `arithmetic` replaces both.

        drafter: guesses tokens, so that several come in one step; None: requests' own drafts are all there is.
        """
        self.config = config
        floats = FloatArithmetic(config, dtype, torch.device(device))
        self._capacity = Capacity(arithmetic or floats, limits or EngineLimits())
        self._generation: Generation | None = None
        self._decoder: FusedDecoder | None = None
        self._drafts = Drafts(drafter)
        self._num_tickets = 0

    @torch.inference_mode()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`.

        Raises:
            EngineBusy: requests wait or run.
            WrongWeights: names or shapes are not those of the architecture.
        """
        if self.has_work:
            raise EngineBusy(
                "requests are waiting or running on the present weights; "
                "step until has_work is false, or cancel them, and load again"
            )
        decoder = FusedDecoder(self.config, state, self._capacity.arithmetic)
        if self._generation is None:
            self._generation = Generation(self._capacity, decoder, self._drafts)
        else:
            self._generation.use(decoder)
        self._decoder = decoder

    @torch.inference_mode()
    def adapt(self, name: str, adapter: Adapter | None) -> None:
        """Have requests that name `name` sampled with this adapter over the loaded weights; None: forget it.

        Others may run meanwhile with adapters of their own. The first one changes how rows without an adapter
        are rounded, too, and so waits until nothing runs; so does forgetting the last.

        Raises:
            NotLoaded: `load` comes first; it also forgets every adapter.
            EngineBusy: requests with the adapter of that name wait or run; with the first and the last, any.
            WrongWeights: it is not of this architecture, or the engine computes by the exact contract.
        """
        if self._generation is None:
            raise NotLoaded("an adapter needs weights to lie over; call load(state) first")
        held = self._generation.adapters
        is_last = adapter is None and len(held) == 1 and name in held
        if self._generation.uses(name) or (self.has_work and (not len(held) or is_last)):
            raise EngineBusy(
                f"requests wait or run that adapter {name!r:.80} would change; step until they end, or "
                "cancel them, and adapt again"
            )
        self._generation.forget_prefixes()
        if adapter is None:
            held.drop(name)
        else:
            held.put(name, adapter)

    @torch.inference_mode()
    def reading(
        self, tokens: Sequence[int], adapter: str | None = None, follows: Follows | None = None
    ) -> Reading:
        """A text to be read without sampling, a block for each `step` of what comes back, beside whatever runs.

        adapter: the one to read it with; follows: what might follow it.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: empty, a token outside the vocabulary, longer than model or cache allow, or with an adapter
                that is not loaded.
        """
        (decoder, number), follows = self._with(adapter), follows or Follows(())
        check_text(self._capacity, tokens, follows)
        return Reading(decoder, tokens, number, follows)

    @torch.inference_mode()
    def scoring(self, tokens: Sequence[int], wanted: Wanted, adapter: str | None = None) -> Scoring:
        """A text whose tokens are to be scored where they stand, a block for each `step` of what comes back.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: see `reading`; or a token outside the vocabulary is asked for, or a place outside the text.
        """
        decoder, number = self._with(adapter)
        check_text(self._capacity, tokens, Follows(()))
        check_wanted(wanted, len(tokens), self.config.vocab_size)
        return Scoring(decoder, tokens, wanted, number)

    def _with(self, adapter: str | None) -> tuple[FusedDecoder, int]:
        """The network, and the adapter's number there."""
        if self._decoder is None:
            raise NotLoaded("the engine has no weights; call load(state) first")
        held = self._decoder.adapters
        if adapter is not None and adapter not in held:
            raise InvalidRequest(f"adapter {adapter!r:.80} is not loaded; call adapt first")
        return self._decoder, held.number_of(adapter)

    def embed(self, prompts: Sequence[Sequence[int]], adapter: str | None = None) -> Tensor:
        """(N, d) fp32: of each prompt, the mean over its positions of the last hidden state after the final norm.

        Raises:
            NotLoaded, InvalidRequest: see `reading`. NonFiniteLogits: the weights are broken.
        """
        found = []
        for prompt in prompts:
            reading = self.reading(prompt, adapter)
            while reading.step():
                pass
            found.append(reading.mean)
        return torch.stack(found) if found else torch.empty(0, self.config.hidden_size)

    def score(
        self,
        prompt: Sequence[int],
        continuations: Sequence[Sequence[int]],
        adapter: str | None = None,
    ) -> Scores:
        """Log-probability in nats of each token of each continuation behind the prompt, at temperature 1.

        Raises:
            NotLoaded, InvalidRequest: see `reading`. NonFiniteLogits: the weights are broken.
        """
        reading = self.reading(prompt, adapter, Follows(continuations))
        while reading.step():
            pass
        return reading.scores()

    @property
    def longest(self) -> int:
        """Tokens, prompt included, that a request may have here."""
        return self._capacity.longest

    def holds(self, request: Request) -> int:
        """How many sequences of its length the cache has room for, if there are no others."""
        return self._capacity.holds(request)

    @property
    def counts(self) -> Mapping[str, int]:
        """Since the first weights: `positions_read` of prompts, each group's once, and `positions_reused` beside them;
        now: `prefix_blocks` and `prefix_bytes` that are held for later prompts. Of drafts: `tokens_guessed`, of which
        `guesses_stood`, in `passes_with_guesses`. Empty before `load`.
        """
        return {} if self._generation is None else self._generation.counts

    @property
    def has_work(self) -> bool:
        """See `OpenEngine.has_work`."""
        return self._generation is not None and self._generation.has_work

    def add(self, request: Request) -> Ticket:
        """See `OpenEngine.add`.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: a token outside the vocabulary, longer than model or cache allow, or with an adapter
                that is not loaded.
        """
        if self._generation is None:
            raise NotLoaded("the engine has no weights; call load(state) first")
        if request.adapter is not None and request.adapter not in self._generation.adapters:
            raise InvalidRequest(
                f"request {request.key!r:.80}: adapter {request.adapter!r:.80} is not loaded; call adapt first"
            )
        self._capacity.check(request)
        ticket = Ticket(self._num_tickets)
        self._num_tickets += 1
        self._generation.add(ticket, request)
        return ticket

    @torch.inference_mode()
    def step(self) -> Events:
        """See `OpenEngine.step`.

        Raises:
            NonFiniteLogits: the weights are broken. Every request is dropped; load sound weights.
        """
        return Events.joined(()) if self._generation is None else self._generation.step()

    def cancel(self, ticket: Ticket) -> bool:
        """See `OpenEngine.cancel`."""
        return self._generation is not None and self._generation.cancel(ticket)

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Rollout, ...]]:
        """See `Engine.generate`.

        Raises:
            EngineBusy: other requests wait or run.
            NotLoaded, InvalidRequest, NonFiniteLogits: see `add` and `step`.
        """
        if self.has_work:
            raise EngineBusy(
                "generate needs the engine to itself; use add and step beside other requests"
            )
        tickets: list[Ticket] = []
        done: dict[tuple[Ticket, int], Rollout] = {}
        num_tokens = 0
        try:
            for request in requests:
                tickets.append(self.add(request))
            while self.has_work:
                events = self.step()
                done |= events.ended
                num_tokens += len(events)
                if on_progress is not None:
                    on_progress(num_tokens)
        except BaseException:
            # Half a batch must not stay behind and wait for steps of somebody else.
            for ticket in tickets:
                self.cancel(ticket)
            raise
        return [
            tuple(done[ticket, rollout] for rollout in range(request.num_rollouts))
            for ticket, request in zip(tickets, requests, strict=True)
        ]
