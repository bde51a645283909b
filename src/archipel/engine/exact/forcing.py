"""Completions fed to the network as they were recorded: what comes after each of their tokens.

Prompts are read as the engine reads them, each group's once; then the completions go on block by block,
all of a batch side by side, over the cache. Law: exact sums have no order, so blocks, batches and padding
are free: what comes out is what decoding gives, bit for bit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.attention import round_up
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.capacity import EngineLimits
from archipel.engine.fused import FusedDecoder
from archipel.engine.machinery import Machinery, assemble
from archipel.engine.prefill import GRANULE, Prompt, prompt_batches, read_prompts

MAX_SCORES = 1 << 22
"""Attention scores that one block may have at a time; each takes some 30 bytes on its way."""
MAX_LOGITS = 1 << 22
"""Logits that are sampled from at a time; each takes some 40 bytes on its way."""

Take = Callable[[np.ndarray, np.ndarray, Tensor], None]
"""(lines (n,), places (n,), logits (n, V)): after `places[i]` tokens of completion `lines[i]`."""


@dataclass(frozen=True)
class Line:
    """A prompt and one of its completions."""

    group: int
    """Lines of one group have the same prompt."""
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def fed(self) -> int:
        """How many of its tokens are read: all but the last, after which nothing came."""
        return len(self.tokens) - 1

    @property
    def length(self) -> int:
        """Positions in the cache."""
        return round_up(len(self.prompt) + self.fed, GRANULE)


def batches(
    lines: Sequence[Line], decoder: FusedDecoder, limits: EngineLimits
) -> Iterator[Sequence[Line]]:
    """The lines in their order, cut where cache or slots of one batch would be more than the limits."""
    start, longest = 0, 0
    for end, line in enumerate(lines):
        longest = max(longest, line.length)
        num = end + 1 - start
        if num > 1 and (
            num > limits.max_slots
            or _shape(decoder, 1, longest).bytes_per_slot * num > limits.max_cache_bytes
        ):
            yield lines[start:end]
            start, longest = end, line.length
    yield lines[start:]


def force(decoder: FusedDecoder, lines: Sequence[Line], limits: EngineLimits, take: Take) -> None:
    """Feed one batch; `take` is told the logits at every place of every line, some at a time."""
    # Longest first: those that go on are always the first slots.
    order = np.array(sorted(range(len(lines)), key=lambda i: -lines[i].fed))
    ordered = [lines[i] for i in order]
    shape = _shape(decoder, len(lines), max(line.length for line in lines))
    cache = Cache(shape, decoder.arithmetic.device)
    machinery = assemble(decoder, cache, limits.max_prefill_tokens)
    for batch in prompt_batches(_prompts(ordered), machinery.max_prefill_tokens):
        slots = np.array([slot for prompt in batch for slot in prompt.slots])
        logits = read_prompts(machinery, batch)
        for part in _parts(len(slots), decoder):
            take(order[slots[part]], np.zeros(len(slots[part]), np.int64), logits[part])
    start = 0
    while start < ordered[0].fed:
        block = _Block(machinery, ordered, start)
        x = block.read()
        for part in _parts(len(block.slots), decoder):
            take(order[block.slots[part]], block.offsets[part] + 1, decoder.logits(x[part]))
        start += block.rows


def _shape(decoder: FusedDecoder, num_slots: int, length: int) -> CacheShape:
    config = decoder.config
    return CacheShape(
        config.num_layers, num_slots, config.num_kv_heads, decoder.arithmetic.planes, length
    )


def _prompts(ordered: Sequence[Line]) -> list[Prompt]:
    slots: dict[int, list[int]] = {}
    for slot, line in enumerate(ordered):
        slots.setdefault(line.group, []).append(slot)
    return [Prompt(ordered[found[0]].prompt, tuple(found)) for found in slots.values()]


def _parts(num_rows: int, decoder: FusedDecoder) -> Iterator[slice]:
    size = max(1, MAX_LOGITS // decoder.config.vocab_size)
    return (slice(start, start + size) for start in range(0, num_rows, size))


class _Block:
    """Tokens [start, start + rows) of each completion that has any of them, slot after slot."""

    def __init__(self, machinery: Machinery, ordered: Sequence[Line], start: int) -> None:
        self._machinery = machinery
        fed = np.array([line.fed for line in ordered])
        num = int((fed > start).sum())
        begins = np.array([len(line.prompt) for line in ordered[:num]]) + start
        self.rows = self._affordable(num, int(fed[0]) - start, int(begins.max()))
        real = np.arange(self.rows) < (fed[:num] - start)[:, None]
        self.slots, offsets = np.nonzero(real)
        self.offsets = offsets + start
        self._packed = None if real.all() else self._places(real)
        columns = np.minimum(
            begins[:, None] + np.arange(self.rows), machinery.cache.shape.length - 1
        )
        self._window = int(columns[real].max()) + 1
        self._bias = self._mask(columns)
        tokens = [
            ordered[slot].tokens[at]
            for slot, at in zip(self.slots.tolist(), self.offsets.tolist(), strict=True)
        ]
        self._tokens = self._tensor(np.array(tokens))
        self._columns = self._tensor(columns[real])

    def read(self) -> Tensor:
        """Residual stream (N, d) after each token."""
        machinery = self._machinery
        places = machinery.cache.places(self._tensor(self.slots), self._columns)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            machinery.cache.append(layer, machinery.decoder.arithmetic.held(k, v), places)
            return self._attend(layer, q)

        rotations = machinery.rotations.index_select(0, self._columns)
        return machinery.decoder.forward(self._tokens, rotations, attend)

    def _attend(self, layer: int, q: Tensor) -> Tensor:
        machinery, num, rows = self._machinery, self._num_slots, self.rows
        heads, group, dim = machinery.kv_heads, machinery.group, machinery.head_dim
        if self._packed is not None:
            q = q.index_select(0, self._packed)
        q = q.reshape(num, rows, heads, group, dim).transpose(1, 2)
        q = q.reshape(num * heads, rows * group, dim)
        seen = machinery.cache.window(layer, 0, num, self._window)
        mixed = machinery.decoder.arithmetic.attend(q, seen, self._bias)
        mixed = mixed.view(num, heads, rows, group, dim).transpose(1, 2)
        mixed = mixed.reshape(num * rows, heads * group * dim)
        return mixed if self._packed is None else mixed.index_select(0, self._real)

    def _affordable(self, num: int, most: int, begin: int) -> int:
        """How many tokens of each completion: as many rows as a prompt may have, and scores."""
        self._num_slots = num
        rows = max(1, min(most, self._machinery.max_prefill_tokens // num))
        heads = self._machinery.kv_heads * self._machinery.group
        while rows > 1 and num * heads * rows * (begin + rows) > MAX_SCORES:
            rows = -(-rows // 2)
        return rows

    def _places(self, real: np.ndarray) -> Tensor:
        """For each padded row, its packed row; padding repeats the first."""
        self._real = self._tensor(np.flatnonzero(real))
        packed = np.zeros(real.size, dtype=np.int64)
        packed[real.reshape(-1)] = np.arange(int(real.sum()))
        return self._tensor(packed)

    def _mask(self, columns: np.ndarray) -> Tensor:
        """(1 or slots * Hkv, rows * group, window): slots whose prompts are of one length share it."""
        machinery = self._machinery
        heads, group, window = machinery.kv_heads, machinery.group, self._window
        shared = bool((columns == columns[0]).all())
        seen = columns[:1] if shared else columns
        bias = machinery.mask(self._tensor(seen.reshape(-1)), window)
        bias = bias.view(len(seen), 1, self.rows, 1, window)
        bias = bias.expand(-1, 1 if shared else heads, -1, group, -1)
        return bias.reshape(-1, self.rows * group, window)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._machinery.device)
