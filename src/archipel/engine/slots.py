"""What is known of each running sequence beside its keys and values: one row per slot.

Plain arrays on the host, because the questions a step asks (who is done? where does everybody
stand?) are a microsecond each here and several on tensors. Rows follow the slots of the cache;
columns grow to the longest sequence that entered.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import NONE
from archipel.engine.noise import uniforms
from archipel.engine.protocol import Ticket
from archipel.engine.sampler import Draw
from archipel.engine.scheduler import Admission, Move
from archipel.engine.telling import Told
from archipel.model.cuts import AllowedRows, CutRows
from archipel.records.cuts import Cut
from archipel.records.requests import ENDED, Allowed, Ending, Hand, Request
from archipel.records.rollouts import Rollout

ALL = 2**62
"""`top_k` of a slot that keeps every token."""


class Slots:
    """State of `num_slots` sequences; a slot's row means something while it is live."""

    def __init__(self, num_slots: int) -> None:
        self.live = np.zeros(num_slots, dtype=bool)
        self.position = np.zeros(num_slots, dtype=np.int64)
        """Cache position that the last sampled token will take."""
        self.last_token = np.zeros(num_slots, dtype=np.int64)
        self.adapter = np.full(num_slots, NONE, dtype=np.int64)
        """Number of the adapter that each sequence is sampled with."""
        self.owner = [(Ticket(-1), 0)] * num_slots
        """(ticket, rollout) of each slot."""
        self._count = np.zeros(num_slots, dtype=np.int64)
        self._limit = np.zeros(num_slots, dtype=np.int64)
        self._stops = np.full((num_slots, 0), -1, dtype=np.int64)
        self._temperature = np.ones(num_slots, dtype=np.float32)
        self._greedy = np.zeros(num_slots, dtype=bool)
        self._top_k = np.full(num_slots, ALL, dtype=np.int64)
        self._top_p = np.full(num_slots, 2.0)
        self._min_gap = np.full(num_slots, -np.inf, dtype=np.float32)
        self._uniform = np.full((num_slots, 1), 0.5)
        self._tokens = np.zeros((num_slots, 1), dtype=np.int64)
        self._logprobs = np.zeros((num_slots, 1), dtype=np.float32)
        self._reading = np.zeros(num_slots, dtype=np.int64)
        """State of the ending of each slot that has one."""
        self._ending: list[Ending | None] = [None] * num_slots
        self._allowed: list[Allowed | None] = [None] * num_slots
        self._hands: dict[int, Hand] = {}
        """What bends the logits of the slots that have something."""
        self._told = Told(num_slots)
        self._all_plain = True
        self._any_greedy = False
        self._any_cut = False
        self._any_ending = self._any_allowed = False

    def admit(self, admissions: Sequence[tuple[Request, Admission]]) -> None:
        """Begin sequences; their prompts are about to be read."""
        sizes = [len(admission.slots) for _, admission in admissions]
        slots = np.concatenate([np.array(admission.slots) for _, admission in admissions])
        requests = [request for request, _ in admissions]
        self._told.forget(slots)
        owners = [
            (a.ticket, a.first_rollout + i) for _, a in admissions for i in range(len(a.slots))
        ]
        for slot, owner in zip(slots.tolist(), owners, strict=True):
            self.owner[slot] = owner

        def each(values: list[float] | list[int], dtype: type) -> np.ndarray:
            """One value per admission, repeated for its slots."""
            return np.repeat(np.array(values, dtype=dtype), sizes)

        num_new = max(request.max_new_tokens for request in requests)
        self._widen(num_new, max(len(request.stop_tokens) for request in requests))
        self.position[slots] = each([len(r.prompt) for r in requests], np.int64)
        self._limit[slots] = each([r.max_new_tokens for r in requests], np.int64)
        temperature = each([r.temperature for r in requests], np.float32)
        self._greedy[slots] = temperature == 0.0
        self._temperature[slots] = np.where(temperature == 0.0, 1.0, temperature)
        self._all_plain &= bool(np.isin(temperature, (0.0, 1.0)).all())
        self._any_greedy |= bool((temperature == 0.0).any())
        self._admit_cuts(slots, [request.cut for request in requests], sizes)
        self._count[slots], self.live[slots], self._stops[slots] = 0, True, -1
        for request, admission in admissions:
            if request.stop_tokens:
                at = np.array(admission.slots)
                self._stops[at, : len(request.stop_tokens)] = request.stop_tokens
            self._admit_words(request, admission.slots)
        first_rollout = each([r.first_rollout for r in requests], np.uint64)
        first_position = each([r.first_position for r in requests], np.int64)
        drawn = uniforms(
            each([r.seed for r in requests], np.uint64),
            np.array([rollout for _, rollout in owners], dtype=np.uint64) + first_rollout,
            int(first_position.max()) + num_new,
        )
        places = first_position[:, None] + np.arange(num_new)
        self._uniform[slots, :num_new] = np.take_along_axis(drawn, places, axis=1)

    def draw(self, slots: np.ndarray, device: torch.device) -> Draw:
        """How the next token of each of these slots is sampled."""
        count = np.minimum(self._count[slots], self._uniform.shape[1] - 1)

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).unsqueeze(1).to(device)

        return Draw(
            column(self._uniform[slots, count]),
            None if self._all_plain else column(self._temperature[slots]),
            column(self._greedy[slots]) if self._any_greedy else None,
            CutRows(*(column(each[slots]) for each in self._cut_columns()))
            if self._any_cut
            else None,
            self._allowed_rows(slots, device) if self._any_allowed else None,
            self._steered(slots) if self._hands else (),
        )

    def read(self, slot: int, choices: bytes) -> None:
        """A slot's prompt was read, and its tokens were sent to these experts (`records.experts`)."""
        self._told.begin(slot, choices)

    def sent(self, slots: np.ndarray, choices_NC: np.ndarray) -> None:
        """The last tokens of these slots were read, and sent to these experts."""
        self._told.append(slots, choices_NC)

    def record(
        self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray
    ) -> dict[int, Rollout]:
        """Append one token to each of these live slots; what ended, by slot."""
        count = self._count[slots]
        self._tokens[slots, count], self._logprobs[slots, count] = tokens, logprobs
        self.last_token[slots] = tokens
        self._count[slots] = count = count + 1
        if self._hands:
            self._took(slots.tolist(), tokens.tolist())
        stopped = (tokens[:, None] == self._stops[slots]).any(axis=1)
        if self._any_ending:
            stopped |= self._read(slots.tolist(), tokens.tolist())
        ended = stopped | (count >= self._limit[slots])
        if not ended.any():
            return {}
        self.live[slots[ended]] = False
        return {
            slot: self._completion(slot, by_stop)
            for slot, by_stop in zip(slots[ended].tolist(), stopped[ended].tolist(), strict=True)
        }

    def cancel(self, ticket: Ticket) -> list[int]:
        """End the sequences of one request where they stand; the slots that they leave."""
        slots = [
            slot for slot in np.flatnonzero(self.live).tolist() if self.owner[slot][0] == ticket
        ]
        self.live[slots] = False
        for slot in slots:
            self._hands.pop(slot, None)
        return slots

    def move(self, moves: Sequence[Move]) -> None:
        """Follow the sequences into their new slots."""
        sources, targets = [m.source for m in moves], [m.target for m in moves]
        for column in self._columns():
            column[targets] = column[sources]
        self.live[sources] = False
        for source, target in zip(sources, targets, strict=True):
            self.owner[target] = self.owner[source]
            self._ending[target] = self._ending[source]
            self._allowed[target] = self._allowed[source]
            if source in self._hands:
                self._hands[target] = self._hands.pop(source)
            self._told.move(source, target)

    def resized(self, num_slots: int, rows: int) -> "Slots":
        """A table of `num_slots` whose first `rows` are those of this one."""
        other = Slots(num_slots)
        other._widen(self._tokens.shape[1], self._stops.shape[1])
        for new, old in zip(other._columns(), self._columns(), strict=True):
            new[:rows] = old[:rows]
        other.owner[:rows] = self.owner[:rows]
        other._ending[:rows], other._allowed[:rows] = self._ending[:rows], self._allowed[:rows]
        other._hands = dict(self._hands)
        other._any_ending, other._any_allowed = self._any_ending, self._any_allowed
        other._all_plain, other._any_greedy = self._all_plain, self._any_greedy
        other._any_cut = self._any_cut
        other._told = self._told.resized(num_slots, rows)
        return other

    def _columns(self) -> tuple[np.ndarray, ...]:
        return (
            self.live, self.position, self.last_token, self.adapter, self._count, self._limit,
            self._stops, self._temperature, self._greedy, self._uniform, self._tokens,
            self._logprobs, self._reading, *self._cut_columns(),
        )  # fmt: skip

    def _cut_columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._top_k, self._top_p, self._min_gap

    def _admit_cuts(self, slots: np.ndarray, cuts: list[Cut | None], sizes: list[int]) -> None:
        """What each of these slots leaves of its distribution."""
        self._any_cut |= any(cuts)
        if not self._any_cut:
            return
        given = [cut or Cut() for cut in cuts]
        gaps = [math.log(cut.min_p) if cut.min_p else -math.inf for cut in given]
        self._top_k[slots] = np.repeat([cut.top_k or ALL for cut in given], sizes)
        self._top_p[slots] = np.repeat(
            [cut.top_p if cut.top_p < 1 else 2.0 for cut in given], sizes
        )
        self._min_gap[slots] = np.repeat(gaps, sizes)

    def _admit_words(self, request: Request, slots: Sequence[int]) -> None:
        """What ends each of these slots beside tokens, and what it may say."""
        self._any_ending |= request.ending is not None
        self._any_allowed |= request.allowed is not None
        for slot in slots:
            self._ending[slot], self._allowed[slot] = request.ending, request.allowed
            self._reading[slot] = 0
            if request.steering is not None:
                self._hands[slot] = request.steering.hand(self.owner[slot][1])

    def _read(self, slots: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Whether the token that each of these slots got is its ending."""
        ended = np.zeros(len(slots), dtype=bool)
        for row, (slot, token) in enumerate(zip(slots, tokens, strict=True)):
            ending = self._ending[slot]
            if ending is not None:
                state = ending.after(int(self._reading[slot]), token)
                self._reading[slot], ended[row] = state, state == ENDED
        return ended

    def _steered(self, slots: np.ndarray) -> tuple[tuple[int, Hand], ...]:
        """(row, hand) of the live ones among these that have a hand."""
        rows = enumerate(slots.tolist())
        return tuple(
            (row, self._hands[slot])
            for row, slot in rows
            if slot in self._hands and self.live[slot]
        )

    def _took(self, slots: Sequence[int], tokens: Sequence[int]) -> None:
        for slot, token in zip(slots, tokens, strict=True):
            if slot in self._hands:
                self._hands[slot].took(token)

    def _allowed_rows(self, slots: np.ndarray, device: torch.device) -> AllowedRows:
        held = [self._allowed[slot] for slot in slots.tolist()]
        choices = tuple(dict.fromkeys(held))
        if len(choices) == 1:
            return AllowedRows(choices, None)
        places = {each: place for place, each in enumerate(choices)}
        return AllowedRows(choices, torch.tensor([places[each] for each in held], device=device))

    def _widen(self, num_new: int, num_stops: int) -> None:
        """Make room for this many tokens and stop tokens in every row."""
        more = num_new - self._tokens.shape[1]
        if more > 0:
            self._uniform = _wider(self._uniform, more, 0.5)
            self._tokens = _wider(self._tokens, more, 0)
            self._logprobs = _wider(self._logprobs, more, 0)
        if num_stops > self._stops.shape[1]:
            self._stops = _wider(self._stops, num_stops - self._stops.shape[1], -1)

    def _completion(self, slot: int, finished: bool) -> Rollout:
        self._hands.pop(slot, None)
        length = int(self._count[slot])
        tokens = tuple(self._tokens[slot, :length].tolist())
        logprobs = tuple(self._logprobs[slot, :length].tolist())
        return Rollout(tokens, logprobs, finished, experts=self._told.end(slot))


def _wider(table: np.ndarray, columns: int, filler: float) -> np.ndarray:
    added = np.full((len(table), columns), filler, dtype=table.dtype)
    return np.concatenate((table, added), axis=1)
