"""What is known of each running sequence beside its keys and values: one row per slot.

Plain arrays on the host, because the questions a step asks (who is done? where does everybody
stand?) are a microsecond each here and several on tensors.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archipel.engine.noise import uniforms
from archipel.engine.protocol import Completion, Request
from archipel.engine.sampler import Draw
from archipel.engine.scheduler import Admission, Move


class Slots:
    """State of `num_slots` sequences; a slot's row means something while it is live."""

    def __init__(self, requests: Sequence[Request], num_slots: int) -> None:
        self._requests = requests
        num_new = max(request.max_new_tokens for request in requests)
        num_stops = max(len(request.stop_tokens) for request in requests)
        self.live = np.zeros(num_slots, dtype=bool)
        self.position = np.zeros(num_slots, dtype=np.int64)
        """Cache position that the last sampled token will take."""
        self.last_token = np.zeros(num_slots, dtype=np.int64)
        self._owner = [(0, 0)] * num_slots
        self._count = np.zeros(num_slots, dtype=np.int64)
        self._limit = np.zeros(num_slots, dtype=np.int64)
        self._stops = np.full((num_slots, num_stops), -1, dtype=np.int64)
        self._temperature = np.ones(num_slots, dtype=np.float32)
        self._greedy = np.zeros(num_slots, dtype=bool)
        self._uniform = np.full((num_slots, num_new), 0.5)
        self._tokens = np.zeros((num_slots, num_new), dtype=np.int64)
        self._logprobs = np.zeros((num_slots, num_new), dtype=np.float32)
        self._all_plain = all(request.temperature == 1.0 for request in requests)
        self._any_greedy = any(request.temperature == 0.0 for request in requests)

    def admit(self, admissions: Sequence[Admission]) -> None:
        """Begin sequences; their prompts are about to be read."""
        sizes = [len(admission.slots) for admission in admissions]
        slots = np.concatenate([np.array(admission.slots) for admission in admissions])
        requests = [self._requests[admission.request] for admission in admissions]
        owners = [(a.request, a.first_rollout + i) for a in admissions for i in range(len(a.slots))]
        for slot, owner in zip(slots.tolist(), owners, strict=True):
            self._owner[slot] = owner

        def each(values: list[float] | list[int], dtype: type) -> np.ndarray:
            """One value per admission, repeated for its slots."""
            return np.repeat(np.array(values, dtype=dtype), sizes)

        self.position[slots] = each([len(r.prompt) for r in requests], np.int64)
        self._limit[slots] = each([r.max_new_tokens for r in requests], np.int64)
        temperature = each([r.temperature for r in requests], np.float32)
        self._greedy[slots] = temperature == 0.0
        self._temperature[slots] = np.where(temperature == 0.0, 1.0, temperature)
        self._count[slots], self.live[slots], self._stops[slots] = 0, True, -1
        for admission, request in zip(admissions, requests, strict=True):
            if request.stop_tokens:
                at = np.array(admission.slots)
                self._stops[at, : len(request.stop_tokens)] = request.stop_tokens
        self._uniform[slots] = uniforms(
            each([r.seed for r in requests], np.uint64),
            np.array([rollout for _, rollout in owners], dtype=np.uint64),
            self._uniform.shape[1],
        )

    def draw(self, slots: np.ndarray, device: torch.device) -> Draw:
        """How the next token of each of these slots is sampled."""
        count = np.minimum(self._count[slots], self._uniform.shape[1] - 1)

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).unsqueeze(1).to(device)

        return Draw(
            column(self._uniform[slots, count]),
            None if self._all_plain else column(self._temperature[slots]),
            column(self._greedy[slots]) if self._any_greedy else None,
        )

    def record(
        self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray
    ) -> list[tuple[int, tuple[int, int], Completion]]:
        """Append one token to each of these live slots.

        Returns, for every sequence that ended: its slot, (request, rollout) and completion.
        """
        count = self._count[slots]
        self._tokens[slots, count], self._logprobs[slots, count] = tokens, logprobs
        self.last_token[slots] = tokens
        self._count[slots] = count = count + 1
        stopped = (tokens[:, None] == self._stops[slots]).any(axis=1)
        ended = stopped | (count >= self._limit[slots])
        if not ended.any():
            return []
        done = []
        for slot, by_stop in zip(slots[ended].tolist(), stopped[ended].tolist(), strict=True):
            self.live[slot] = False
            done.append((slot, self._owner[slot], self._completion(slot, by_stop)))
        return done

    def move(self, moves: Sequence[Move]) -> None:
        """Follow the sequences into their new slots."""
        sources, targets = [m.source for m in moves], [m.target for m in moves]
        for column in (
            self.position, self.last_token, self._count, self._limit, self._stops,
            self._temperature, self._greedy, self._uniform, self._tokens, self._logprobs,
        ):  # fmt: skip
            column[targets] = column[sources]
        self.live[sources], self.live[targets] = False, True
        for source, target in zip(sources, targets, strict=True):
            self._owner[target] = self._owner[source]

    def _completion(self, slot: int, finished: bool) -> Completion:
        length = int(self._count[slot])
        tokens = tuple(self._tokens[slot, :length].tolist())
        return Completion(tokens, tuple(self._logprobs[slot, :length].tolist()), finished)
