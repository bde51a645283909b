"""One call of `generate`: step() = schedule -> run -> collect, until nothing waits or runs.

Law: everything a sequence's numbers depend on is a function of that sequence: prompts are padded
to their own length's multiple of 16, sums over keys run in the fixed order of `attention`, and
every product has at least four rows (below that, BLAS picks other kernels).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.attention import attend, round_up, window_granule
from archipel.engine.cache import Cache
from archipel.engine.fused import FusedDecoder
from archipel.engine.protocol import Completion, NonFiniteLogits, Request
from archipel.engine.sampler import sample
from archipel.engine.scheduler import Admission, Scheduler
from archipel.engine.slots import Slots

PROMPT_GRANULE = 16
"""Prompts are padded to a multiple of this; its products are large enough for one kernel."""
PROMPT_BLOCK = 256
"""Prompt positions that go through the network at a time; bounds the scores' memory."""


@dataclass(frozen=True)
class Machinery:
    """What a generation runs on."""

    decoder: FusedDecoder
    cache: Cache
    rotations: tuple[Tensor, Tensor]
    """Cos and signed sin, each (cache length, 1, D)."""
    min_rows: int
    max_prefill_tokens: int


class Generation:
    """Serves a list of requests."""

    def __init__(self, machinery: Machinery, requests: Sequence[Request], num_slots: int) -> None:
        self._requests = requests
        self._machinery = machinery
        config = machinery.decoder.config
        self._kv_heads, self._head_dim = config.num_kv_heads, config.head_dim
        self._group = config.num_heads // config.num_kv_heads
        self._scale = config.head_dim**-0.5
        self._granule = window_granule(self._head_dim, self._group)
        self._device = machinery.rotations[0].device
        self._columns = torch.arange(machinery.cache.shape.length, device=self._device)
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
        if admissions:
            self._slots.admit(admissions)
            for batch in self._prefill_batches(admissions):
                slots = np.array([slot for admission in batch for slot in admission.slots])
                self._collect(slots, *self._sample(self._prefill(batch), slots))
        else:
            self._compact()
            logits, rows = self._decode()
            tokens, logprobs = self._sample(logits, np.arange(rows))
            live = self._slots.live[:rows]
            self._collect(np.flatnonzero(live), tokens[live], logprobs[live])

    def completions(self) -> list[tuple[Completion, ...]]:
        """All completions, in request and rollout order, once nothing is left to do."""
        return [
            tuple(done[rollout] for rollout in range(request.num_rollouts))
            for request, done in zip(self._requests, self._done, strict=True)
        ]

    def _collect(self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> None:
        if not np.isfinite(logprobs).all():
            raise NonFiniteLogits(
                "a sampled log-probability is not finite; expected finite logits: "
                "check the weights that were loaded"
            )
        self.num_tokens += len(slots)
        ended = self._slots.record(slots, tokens, logprobs)
        for _, (request, rollout), completion in ended:
            self._done[request][rollout] = completion
        self._scheduler.finish(slot for slot, _, _ in ended)

    def _sample(self, logits: Tensor, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tokens, logprobs = sample(logits, self._slots.draw(slots, self._device))
        return tokens.cpu().numpy(), logprobs.cpu().numpy()

    def _compact(self) -> None:
        moves = self._scheduler.compact()
        if moves:
            sources = torch.tensor([m.source for m in moves], device=self._device)
            targets = torch.tensor([m.target for m in moves], device=self._device)
            length = int(self._slots.position[[m.source for m in moves]].max())
            self._machinery.cache.move(sources, targets, length)
            self._slots.move(moves)

    def _decode(self) -> tuple[Tensor, int]:
        """Feed the last token of every live sequence; logits (rows, V) and the row count."""
        machinery, cache = self._machinery, self._machinery.cache
        rows = max(self._scheduler.num_rows, machinery.min_rows)
        live, position = self._slots.live[:rows], self._slots.position[:rows]
        lowest, highest = int(position[live].min()), int(position[live].max())
        # Dead rows follow along: what they compute is dropped, what they write is masked.
        position[~live] = highest
        positions = torch.from_numpy(position).to(self._device)
        window = round_up(highest + 1, self._granule)
        bias = self._decode_bias(positions, window)
        places = highest if lowest == highest else cache.decode_places(positions)

        def attend_cached(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.append(layer, k, v, places)
            keys, values = cache.window(layer, 0, rows, window)
            q = q.reshape(rows * self._kv_heads, self._group, self._head_dim)
            return attend(q, keys, values, bias, self._scale).view(rows, -1)

        tokens = torch.from_numpy(self._slots.last_token[:rows]).to(self._device)
        cos, sin = (table.index_select(0, positions) for table in machinery.rotations)
        x = machinery.decoder.forward(tokens, (cos, sin), attend_cached)
        position[live] += 1
        return machinery.decoder.logits(x), rows

    def _decode_bias(self, positions_B: Tensor, window: int) -> Tensor:
        """(B * Hkv, G, window): 0 up to each row's position, -inf after it."""
        rows, dtype = positions_B.shape[0], self._machinery.decoder.dtype
        after = self._columns[:window] > positions_B.unsqueeze(1)
        bias = torch.zeros(rows, window, dtype=dtype, device=self._device)
        bias.masked_fill_(after, -torch.inf)
        shape = (rows, self._kv_heads, self._group, window)
        return bias[:, None, None, :].expand(shape).reshape(-1, self._group, window)

    def _prefill_batches(self, admissions: list[Admission]) -> Iterator[list[Admission]]:
        """Prompts of equal padded length together, long ones alone, bounded in tokens."""
        by_length: dict[int, list[Admission]] = defaultdict(list)
        for admission in admissions:
            prompt = self._requests[admission.request].prompt
            by_length[round_up(len(prompt), PROMPT_GRANULE)].append(admission)
        for padded, alike in by_length.items():
            size = (
                1 if padded > PROMPT_BLOCK else max(1, self._machinery.max_prefill_tokens // padded)
            )
            yield from (alike[start : start + size] for start in range(0, len(alike), size))

    def _prefill(self, batch: list[Admission]) -> Tensor:
        """Read each group's prompt once into all its slots; logits (slots, V) after its end."""
        prompts = [self._requests[admission.request].prompt for admission in batch]
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        padded = round_up(int(lengths.max()), PROMPT_GRANULE)
        tokens = torch.zeros(len(batch), padded, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = torch.tensor(prompt)
        x = torch.empty(0)
        for start in range(0, padded, PROMPT_BLOCK):
            block = tokens[:, start : start + PROMPT_BLOCK].to(self._device)
            x = self._prefill_block(batch, block, start)
        last_rows = (lengths - 1) % PROMPT_BLOCK + torch.arange(len(batch)) * (
            x.shape[0] // len(batch)
        )
        # Repeating the last row keeps the product at four rows or more.
        last_rows = torch.cat((last_rows, last_rows[-1:].expand(max(0, 4 - len(batch)))))
        logits = self._machinery.decoder.logits(x.index_select(0, last_rows.to(self._device)))
        return logits.index_select(0, self._owners(batch))

    def _prefill_block(self, batch: list[Admission], tokens_nR: Tensor, start: int) -> Tensor:
        """Feed positions [start, start + R) of n prompts; residual stream (n * R, d)."""
        cache, (num, rows) = self._machinery.cache, tokens_nR.shape
        heads, group, dim = self._kv_heads, self._group, self._head_dim
        slots = torch.tensor([slot for admission in batch for slot in admission.slots])
        slots, owners = slots.to(self._device), self._owners(batch)
        end, first = start + rows, batch[0].slots[0]
        dtype = self._machinery.decoder.dtype
        bias = torch.zeros(rows, end, dtype=dtype, device=self._device)
        after = self._columns[:end] > self._columns[start:end].unsqueeze(1)
        bias = bias.masked_fill_(after, -torch.inf).repeat_interleave(group, dim=0).unsqueeze(0)

        def attend_prompt(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys = k.reshape(num, rows, heads, dim).permute(0, 2, 3, 1).contiguous()
            values = v.reshape(num, rows, heads, dim).transpose(1, 2).contiguous()
            cache.write(
                layer, keys.index_select(0, owners), values.index_select(0, owners), slots, start
            )
            # A prompt of one block needs nothing from the cache; longer ones come alone.
            seen = (keys.flatten(0, 1), values.flatten(0, 1))
            if start:
                seen = cache.window(layer, first, first + 1, end)
            q = q.reshape(num, rows, heads, group, dim).transpose(1, 2)
            q = q.reshape(num * heads, rows * group, dim)
            mixed = attend(q, *seen, bias, self._scale).view(num, heads, rows, group, dim)
            return mixed.transpose(1, 2).reshape(num * rows, -1)

        cos, sin = (table[start:end].repeat(num, 1, 1) for table in self._machinery.rotations)
        return self._machinery.decoder.forward(tokens_nR.reshape(-1), (cos, sin), attend_prompt)

    def _owners(self, batch: list[Admission]) -> Tensor:
        """For each slot of the batch, the row of its prompt."""
        owners = [row for row, admission in enumerate(batch) for _ in admission.slots]
        return torch.tensor(owners, device=self._device)
