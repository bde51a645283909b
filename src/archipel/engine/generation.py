"""Everything that waits and runs in one engine: step() = schedule -> run -> collect.

With `max_step_tokens` a step samples a token of whatever runs and then reads so much of the prompts of those who have
entered; without, prompts are read to their end first.
Law: everything a sequence's numbers depend on is a function of that sequence; see `prefill`,
`decode` and `attention` for how products and sums are kept that way. Who enters, leaves or is
cancelled beside it, and when, changes nothing; nor does a cache that grows under it, nor who its prompt was first
read for.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import Adapters
from archipel.engine.cache import Cache
from archipel.engine.capacity import Capacity, Demand
from archipel.engine.drafts import Drafts
from archipel.engine.entering import Entering
from archipel.engine.fingerprints import Seen
from archipel.engine.machinery import Machinery, Network, assemble
from archipel.engine.opened import Opened
from archipel.engine.prefill import logits_after
from archipel.engine.prompts import Reading
from archipel.engine.protocol import Events, NonFiniteLogits, Ticket
from archipel.engine.rows import Fed, feed_guesses, feed_last
from archipel.engine.scheduler import Scheduler
from archipel.engine.slots import Slots
from archipel.model.devices import float64_place
from archipel.records.requests import Request


class Generation:
    """Serves requests by ticket, on one network at a time."""

    def __init__(self, capacity: Capacity, decoder: Network, drafts: Drafts | None = None) -> None:
        """drafts: who guesses what comes next; None: nobody."""
        self._drafts = drafts or Drafts()
        self._capacity, self._decoder = capacity, decoder
        self._device = capacity.arithmetic.device
        self._draws_on = float64_place(self._device)
        self._machinery: Machinery | None = None
        self._entering = Entering(capacity)
        self._begin()

    def _begin(self) -> None:
        self._scheduler = Scheduler()
        self._slots = Slots(0)
        self._open = Opened(has_experts=self._decoder.config.experts is not None)
        self._drafts.clear()

    @property
    def has_work(self) -> bool:
        """Whether another step is needed."""
        return bool(self._open)

    def slots_in_use(self) -> frozenset[int]:
        """Those of sequences that have entered and are not done."""
        return self._scheduler.slots_in_use()

    def slots_running(self) -> frozenset[int]:
        """Those of sequences that a decode step samples a token of."""
        return frozenset(np.flatnonzero(self._slots.live).tolist())

    @property
    def _seen(self) -> Seen | None:
        """Whom to show the next pass's last hidden state; None: no request that waits or runs brings fingerprints."""
        return Seen() if self._open.tells_fingerprints else None

    @property
    def counts(self) -> Mapping[str, int]:
        """See `LocalEngine.counts`."""
        return {**self._entering.counts, **self._drafts.counts}

    def forget_prefixes(self) -> None:
        """Read every prompt anew from here on."""
        self._entering.forget()

    @property
    def adapters(self) -> Adapters:
        """Of the present weights."""
        return self._decoder.adapters

    def use(self, decoder: Network) -> None:
        """Run on other weights; nothing may wait or run."""
        self._decoder = decoder
        self.forget_prefixes()
        if self._machinery is not None:
            self._run_on(self._machinery.cache)

    def add(self, ticket: Ticket, request: Request) -> None:
        """Let a request wait that `Capacity.check` accepts."""
        adapter = self._decoder.adapters.number_of(request.adapter)
        length = self._capacity.length_of(request)
        self._open.add(ticket, request, length, adapter)
        self._scheduler.add(ticket, request.num_rollouts, length)

    def uses(self, adapter: str) -> bool:
        """Whether a request that waits or runs names this adapter."""
        return self._open.uses(adapter)

    def cancel(self, ticket: Ticket) -> bool:
        """Forget a request; its slots are free at once. Whether anything of it was still to come."""
        if ticket not in self._open:
            return False
        self._scheduler.withdraw(ticket)
        left = self._slots.cancel(ticket)
        self._drafts.end([self._slots.owner[slot] for slot in left])
        self._scheduler.finish([*left, *self._entering.withdraw(ticket)])
        self._open.close(ticket)
        return True

    def step(self) -> Events:
        """Sample one token of every sequence that runs, and read of the prompts of whoever enters.

        Raises:
            NonFiniteLogits: the weights are broken; all requests are dropped.
        """
        if not self._open:
            return Events.joined(())
        try:
            machinery = self._fit()
            self._admit(machinery)
            if self._capacity.limits.max_step_tokens is None and self._entering.prompts:
                return self._read(machinery)
            sampled = [self._advance(machinery)] if self._slots.live.any() else []
            return Events.joined([*sampled, self._read(machinery)])
        except BaseException:
            # Half a step leaves slots and cache at odds, and a NaN that stayed in the cache would
            # reach later sequences through masked positions.
            self._machinery = None
            self._entering.drop()
            self._begin()
            raise

    def _fit(self) -> Machinery:
        """Give what waits the cache that it needs, as soon as what runs fits into it too."""
        held, rows = self._machinery, self._scheduler.num_rows
        if held is not None and not self._scheduler.num_waiting:
            return held
        demand = Demand(self._scheduler.num_sequences, self._open.longest)
        shape = self._capacity.shape(demand, None if held is None else held.cache.shape, rows)
        if rows == 0:
            self._slots = Slots(shape.num_slots)
            self._scheduler.resize(shape.num_slots)
        same_rows = held is not None and (
            rows > 0 or held.min_rows == self._capacity.arithmetic.min_rows()
        )
        if held is not None and same_rows and held.cache.shape == shape:
            return held
        if held is None or rows == 0:
            self._machinery = held = None  # the old cache goes before the new one comes
            cache = self._decoder.new_cache(shape)
        else:
            cache = held.cache
            cache.reshape(shape, rows)
            self._slots = self._slots.resized(shape.num_slots, rows)
            self._scheduler.resize(shape.num_slots)
        return self._run_on(cache)

    def _run_on(self, cache: Cache) -> Machinery:
        limit = self._capacity.limits.max_prefill_tokens
        self._machinery = assemble(self._decoder, cache, limit)
        self._entering.beside(cache.shape)
        return self._machinery

    def _admit(self, machinery: Machinery) -> None:
        """Whoever has got slots begins to have its prompt read."""
        for admission in self._scheduler.admit(machinery.cache.shape.length):
            opened = self._open[admission.ticket]
            told = self._open.is_told(opened.request)
            self._entering.enter(opened.request, admission, opened.adapter, told=told)

    def _read(self, machinery: Machinery) -> Events:
        """Some of the prompts, and the first tokens after those that end."""
        parts = list[Events]()
        for batch, x in self._entering.read(machinery, told=self._open.tells_experts):
            seen = self._seen
            logits = logits_after(machinery, [each.prompt for each in batch], x, seen)
            slots = self._begin_sampling(batch)
            if seen is not None:
                self._slots.saw(slots, seen, slice(None))
            parts.append(self._collect(slots, *self._sample(logits, slots)))
        return Events.joined(parts)

    def _begin_sampling(self, batch: list[Reading]) -> np.ndarray:
        """Prompts have been read; the slots that go on from them."""
        self._slots.admit([(each.request, each.admission) for each in batch])
        for each in batch:
            slots = list(each.admission.slots)
            self._slots.adapter[slots] = each.adapter
            for slot in slots:
                self._drafts.begin(self._slots.owner[slot], each.request)
            if self._open.is_told(each.request):
                for slot in slots:
                    self._slots.read(slot, bytes(each.told))
        return np.array([slot for each in batch for slot in each.admission.slots])

    def _advance(self, machinery: Machinery) -> Events:
        """The next token of each sequence that runs, and of what was guessed behind it all that stands."""
        self._compact(machinery)
        living = np.flatnonzero(self._slots.live)
        owners = [self._slots.owner[slot] for slot in living.tolist()]
        guesses = self._drafts.of(owners)
        told = self._open.tells_experts
        if any(guesses):
            fed = feed_guesses(machinery, self._slots, living, guesses, told=told)
        else:
            fed = feed_last(machinery, self._slots, self._entering.prompts.slots, told=told)
        seen = self._seen
        logits = self._decoder.logits(fed.x, seen, fed.company)
        guessed = dict(zip(living.tolist(), guesses, strict=True))
        parts, place, standing = list[Events](), 0, living
        counts = dict.fromkeys(living.tolist(), 0)
        while len(standing):
            parts.append(self._take(fed, logits, seen, standing, place))
            stands = [self._stands(slot, guessed[slot], place) for slot in standing.tolist()]
            standing = standing[stands]
            for slot in standing.tolist():
                counts[slot] += 1
            place += 1
        self._drafts.stood(owners, [counts[slot] for slot in living.tolist()])
        return Events.joined(parts)

    def _take(
        self, fed: Fed, logits: Tensor, seen: Seen | None, slots: np.ndarray, place: int
    ) -> Events:
        """Sample from what the pass made of the last token, or of the guess at `place`, of each of these slots."""
        rows = fed.first[slots] + place
        if fed.choices is not None:
            self._slots.sent(slots, fed.choices.flat()[rows])
        if seen is not None:
            self._slots.saw(slots, seen, rows)
        self._slots.position[slots] += 1
        if not np.array_equal(rows, np.arange(len(logits))):
            logits = logits.index_select(0, torch.from_numpy(rows).to(logits.device))
        return self._collect(slots, *self._sample(logits, slots))

    def _stands(self, slot: int, guess: Sequence[int], place: int) -> bool:
        """Whether the token that was just sampled is the guessed one, and the sequence goes on behind it."""
        return bool(
            place < len(guess)
            and self._slots.live[slot]
            and self._slots.last_token[slot] == guess[place]
        )

    def _sample(self, logits: Tensor, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        draw = self._slots.draw(slots, self._draws_on)
        tokens, logprobs = self._decoder.arithmetic.sample(logits, draw)
        return tokens.cpu().numpy(), logprobs.cpu().numpy()

    def _collect(self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> Events:
        # One sum instead of a test per element: any NaN or infinity survives it.
        if not math.isfinite(logprobs.sum()):
            raise NonFiniteLogits(
                "a sampled log-probability is not finite; expected finite logits: "
                "check the weights that were loaded"
            )
        owners = [self._slots.owner[slot] for slot in slots.tolist()]
        self._drafts.took(owners, tokens.tolist())
        ended = self._slots.record(slots, tokens, logprobs)
        done = {self._slots.owner[slot]: completion for slot, completion in ended.items()}
        if ended:
            self._scheduler.finish(ended)
            self._drafts.end(done)
            for ticket, _ in done:
                self._open.end_one(ticket)
        return Events(owners, tokens.tolist(), logprobs.tolist(), done)

    def _compact(self, machinery: Machinery) -> None:
        moves = self._scheduler.compact()
        if moves:
            device = machinery.device
            sources = torch.tensor([m.source for m in moves], device=device)
            targets = torch.tensor([m.target for m in moves], device=device)
            moved = np.array([m.source for m in moves])
            running = int(self._slots.position[moved[self._slots.live[moved]]].max(initial=0))
            length = max(self._entering.prompts.farthest(moved.tolist()), running)
            machinery.cache.move(sources, targets, length)
            self._slots.move(moves)
            self._entering.prompts.move({m.source: m.target for m in moves})
