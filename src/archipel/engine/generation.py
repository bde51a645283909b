"""One call of `generate`: step() = schedule -> run -> collect, until nothing waits or runs.

Law: everything a sequence's numbers depend on is a function of that sequence; see `prefill`,
`decode` and `attention` for how products and sums are kept that way.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archipel.engine.decode import decode
from archipel.engine.machinery import Machinery
from archipel.engine.prefill import Prompt, prompt_batches, read_prompts
from archipel.engine.protocol import Completion, NonFiniteLogits, Request
from archipel.engine.sampler import sample
from archipel.engine.scheduler import Scheduler
from archipel.engine.slots import Slots


class Generation:
    """Serves a list of requests."""

    def __init__(self, machinery: Machinery, requests: Sequence[Request], num_slots: int) -> None:
        self._requests = requests
        self._machinery = machinery
        self._scheduler = Scheduler([r.num_rollouts for r in requests], num_slots)
        self._slots = Slots(requests, num_slots)
        self._done: list[dict[int, Completion]] = [{} for _ in requests]
        self.num_tokens = 0
        """Sampled so far."""

    @property
    def has_work(self) -> bool:
        """Whether another step is needed."""
        return self._scheduler.has_work

    def step(self) -> None:
        """Read the prompts of whoever enters, or else sample one token of every sequence."""
        admissions = self._scheduler.admit()
        if not admissions:
            self._compact()
            self._decode()
            return
        self._slots.admit(admissions)
        prompts = [Prompt(self._requests[a.request].prompt, a.slots) for a in admissions]
        for batch in prompt_batches(prompts, self._machinery.max_prefill_tokens):
            slots = np.array([slot for prompt in batch for slot in prompt.slots])
            self._collect(slots, *self._sample(read_prompts(self._machinery, batch), slots))

    def completions(self) -> list[tuple[Completion, ...]]:
        """All completions, in request and rollout order, once nothing is left to do."""
        return [
            tuple(done[rollout] for rollout in range(request.num_rollouts))
            for request, done in zip(self._requests, self._done, strict=True)
        ]

    def _decode(self) -> None:
        machinery = self._machinery
        rows = max(self._scheduler.num_rows, machinery.min_rows)
        live, position = self._slots.live[:rows], self._slots.position[:rows]
        living = np.flatnonzero(live)
        lowest, highest = int(position[living].min()), int(position[living].max())
        # Dead rows follow along: what they compute is dropped, what they write is masked.
        position[~live] = highest
        tokens = torch.from_numpy(self._slots.last_token[:rows]).to(machinery.device)
        positions = torch.from_numpy(position).to(machinery.device)
        logits = decode(machinery, tokens, positions, highest if lowest == highest else None)
        position[living] += 1
        drawn, logprobs = self._sample(logits, np.arange(rows))
        self._collect(living, drawn[living], logprobs[living])

    def _sample(self, logits: Tensor, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tokens, logprobs = sample(logits, self._slots.draw(slots, self._machinery.device))
        return tokens.cpu().numpy(), logprobs.cpu().numpy()

    def _collect(self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> None:
        # One sum instead of a test per element: any NaN or infinity survives it.
        if not math.isfinite(logprobs.sum()):
            raise NonFiniteLogits(
                "a sampled log-probability is not finite; expected finite logits: "
                "check the weights that were loaded"
            )
        self.num_tokens += len(slots)
        ended = self._slots.record(slots, tokens, logprobs)
        for _, (request, rollout), completion in ended:
            self._done[request][rollout] = completion
        self._scheduler.finish(slot for slot, _, _ in ended)

    def _compact(self) -> None:
        moves = self._scheduler.compact()
        if moves:
            device = self._machinery.device
            sources = torch.tensor([m.source for m in moves], device=device)
            targets = torch.tensor([m.target for m in moves], device=device)
            length = int(self._slots.position[[m.source for m in moves]].max())
            self._machinery.cache.move(sources, targets, length)
            self._slots.move(moves)
