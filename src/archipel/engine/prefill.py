"""Read prompts: each group's once, its keys and values copied to all of the group's slots.

Products run over the prompts' tokens without padding; attention runs over prompts padded to a
multiple of 8. Long prompts go block by block, alone, attending to what the cache holds of them; other
work may come between two blocks (`prompts`). Law: how a prompt is cut and padded follows from its own length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import NONE
from archipel.engine.attention import round_up
from archipel.engine.feeding import Note
from archipel.engine.fingerprints import Seen
from archipel.engine.machinery import Machinery
from archipel.engine.passing import Block, Passing
from archipel.engine.telling import Choices

GRANULE = 8
"""Prompts of equal length after rounding up to this share a batch."""
BLOCK = 256
"""Positions of one prompt that are read at a time where nothing else is asked; bounds the memory of the scores."""


@dataclass(frozen=True)
class Prompt:
    """A prompt and the slots that will continue it."""

    tokens: tuple[int, ...]
    slots: tuple[int, ...]
    adapter: int = NONE
    """Its number among the decoder's adapters."""


def prompt_batches(prompts: Sequence[Prompt], max_tokens: int) -> list[list[Prompt]]:
    """Prompts of equal padded length together, long ones alone, at most `max_tokens` each."""
    by_length: dict[int, list[Prompt]] = {}
    for prompt in prompts:
        by_length.setdefault(round_up(len(prompt.tokens), GRANULE), []).append(prompt)
    batches = []
    for padded, alike in by_length.items():
        size = 1 if padded > BLOCK else max(1, max_tokens // padded)
        batches += [alike[start : start + size] for start in range(0, len(alike), size)]
    return batches


def read_prompts(machinery: Machinery, batch: Sequence[Prompt]) -> Tensor:
    """Fill the cache from one batch of `prompt_batches`; logits (slots, V) after each prompt.

    Rows follow the batch's slots in order.
    """
    longest = max(len(prompt.tokens) for prompt in batch)
    x = torch.empty(0)
    for start in range(0, longest, BLOCK):
        x = read_piece(machinery, batch, start, BLOCK)
    return logits_after(machinery, batch, x)


def read_piece(
    machinery: Machinery,
    batch: Sequence[Prompt],
    start: int,
    block: int,
    told: Sequence[bytearray] | None = None,
) -> Tensor:
    """Fill the cache from positions [start, start + block) of each prompt; what is before them is there already.

    Returns what `logits_after` takes, if this was the end. `block` is a multiple of `GRANULE`, and `start` of `block`;
    more than one prompt only where they end here and are alike. told: takes the experts that each one's tokens were
    sent to.
    """
    piece = _Block(machinery, batch, start, block)
    if told is None:
        return piece.read()
    choices = Choices(machinery.decoder.config, piece.num_rows, machinery.device)
    x = piece.read(choices)
    for prompt, rows in zip(told, piece.parted(choices.flat()), strict=True):
        prompt += rows.tobytes()
    return x


def logits_after(
    machinery: Machinery, batch: Sequence[Prompt], x: Tensor, seen: Seen | None = None
) -> Tensor:
    """Logits (slots, V) after prompts whose last pieces gave x, row i of it the i-th prompt's.

    Rows follow the batch's slots in order. seen: is shown the last hidden state, rows as the logits'.
    """
    own = [prompt.adapter for prompt in batch]
    adapters = np.array(own)[np.minimum(np.arange(len(x)), len(own) - 1)]
    company = machinery.decoder.adapters.company(adapters)
    logits, owners = machinery.decoder.logits(x, seen, company), _owners(batch)
    if seen is not None and seen.patterns is not None:
        seen.patterns = seen.patterns[owners.numpy()]
    return logits.index_select(0, owners.to(machinery.device))


def read_block(machinery: Machinery, what: Block) -> Tensor:
    """The residual stream after a block of prompts whose tokens only the network knows, as `_Block.read`."""
    prompts = [
        Prompt((0,) * (what.start + length), slots)
        for length, slots in zip(what.lengths, what.slots, strict=True)
    ]
    return _Block(machinery, prompts, what.start, max(what.lengths)).read()


class _Block:
    """Positions [start, start + block) of each prompt of a batch."""

    def __init__(
        self, machinery: Machinery, batch: Sequence[Prompt], start: int, block: int
    ) -> None:
        self._machinery, self._batch, self._start = machinery, batch, start
        pieces = [prompt.tokens[start : start + block] for prompt in batch]
        lengths = np.array([len(piece) for piece in pieces])
        tokens = np.array([token for piece in pieces for token in piece])
        adapters = np.repeat([prompt.adapter for prompt in batch], lengths)
        self._ends = ends = lengths.cumsum()
        self._lengths = tuple(lengths.tolist())
        self._padded = round_up(int(lengths.max()), GRANULE)
        self._packing = None
        if len(tokens) < len(batch) * self._padded:
            self._packing = _Packing(lengths, self._padded, machinery)
            tokens = tokens[self._packing.repeated]
            adapters = adapters[self._packing.repeated]
        # Repeating the last row keeps products at the smallest number of rows.
        wanted = np.minimum(np.arange(max(len(batch), machinery.min_rows)), len(batch) - 1)
        self._company = machinery.decoder.adapters.company(adapters)
        self._tokens_N = torch.from_numpy(tokens).to(machinery.device)
        self._last_rows = torch.from_numpy(ends[wanted] - 1).to(machinery.device)
        self._owners = _owners(batch).to(machinery.device)
        slots = [slot for prompt in batch for slot in prompt.slots]
        self._slots = torch.tensor(slots, device=machinery.device)

    @property
    def num_rows(self) -> int:
        """That go through the network."""
        return self._tokens_N.shape[0]

    def parted(self, rows: np.ndarray) -> list[np.ndarray]:
        """Of the pass's rows, each prompt's own."""
        return np.split(rows[: self._ends[-1]], self._ends[:-1])

    def read(self, note: Note | None = None) -> Tensor:
        """Residual stream (at least min_rows, d): row i is the end of the block in prompt i."""
        machinery, end = self._machinery, self._start + self._padded
        columns = machinery.columns[self._start : end]
        bias = machinery.mask(columns, end).repeat_interleave(machinery.group, dim=0).unsqueeze(0)
        positions = columns.repeat(len(self._batch))
        if self._packing is not None:
            positions = positions.index_select(0, self._packing.padded_place)

        def attend_prompts(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return self._attend(layer, (q, k, v), bias)

        slots = tuple(prompt.slots for prompt in self._batch)
        return machinery.decoder.forward(
            self._tokens_N,
            machinery.rotations.index_select(0, positions),
            Passing(attend_prompts, Block(slots, self._lengths, self._start)),
            self._last_rows,
            self._company,
            note,
        )

    def _attend(self, layer: int, qkv: tuple[Tensor, Tensor, Tensor], bias: Tensor) -> Tensor:
        machinery, cache = self._machinery, self._machinery.cache
        num, rows = len(self._batch), self._padded
        heads, group, dim = machinery.kv_heads, machinery.group, machinery.head_dim
        q, k, v = (self._pad(part) for part in qkv)
        numbers = machinery.decoder.arithmetic
        apart = (num, rows, heads, dim)
        laid = cache.laid(numbers.held(k.view(apart), v.view(apart)))
        cache.write(layer, laid, self._owners, self._slots, self._start)
        seen = tuple(part.flatten(0, 1) for part in laid)
        if self._start:
            first = self._batch[0].slots[0]
            seen = cache.window(layer, first, first + 1, self._start + rows)
        q = q.view(num, rows, heads, group, dim).transpose(1, 2)
        q = q.reshape(num * heads, rows * group, dim)
        mixed = numbers.attend(q, seen, bias).view(num, heads, rows, group, dim)
        mixed = mixed.transpose(1, 2).reshape(num * rows, heads * group * dim)
        if self._packing is None:
            return mixed
        return mixed.index_select(0, self._packing.padded_place)

    def _pad(self, packed_NHD: Tensor) -> Tensor:
        """(N, H, D) over packed rows -> (n * R, H * D); padding repeats some real row."""
        flat = packed_NHD.flatten(1)
        if self._packing is None:
            return flat
        return flat.index_select(0, self._packing.packed_place)


class _Packing:
    """Where rows without padding lie among padded ones, and back."""

    def __init__(self, lengths_n: np.ndarray, padded: int, machinery: Machinery) -> None:
        column_R = np.arange(padded)
        real_nR = column_R < lengths_n[:, None]
        begins_n = lengths_n.cumsum() - lengths_n
        packed_nR = np.where(real_nR, begins_n[:, None] + column_R, 0)
        places = np.flatnonzero(real_nR)
        count = max(len(places), machinery.min_rows)
        self.repeated = np.minimum(np.arange(count), len(places) - 1)
        """Packed rows, the last one repeated up to the smallest number of rows."""
        self.packed_place = torch.from_numpy(packed_nR.reshape(-1)).to(machinery.device)
        """For each padded row, its packed row (0 for padding)."""
        self.padded_place = torch.from_numpy(places[self.repeated]).to(machinery.device)
        """For each packed row, its padded row."""


def _owners(batch: Sequence[Prompt]) -> Tensor:
    """For each slot of the batch, the row of its prompt."""
    return torch.tensor([row for row, prompt in enumerate(batch) for _ in prompt.slots])
