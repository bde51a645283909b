"""Guesses by a small model of the same tokens: it goes on from what was said, and its draws use the large one's noise.

Parts: `DraftModel` (a `guessing.Drafter`). With the same uniform number for the same place, two models that agree on how
likely tokens are draw the same one most of the time. What of its own guesses did not stand is read over.
Law: it is asked for guesses alone; a prompt is read a block for each step, so that nobody waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch

from archipel.engine.again import ROWS, feed_again
from archipel.engine.attention import round_up
from archipel.engine.cache import CacheShape
from archipel.engine.fused import FusedDecoder
from archipel.engine.guessing import Owner, Running
from archipel.engine.machinery import Machinery, assemble
from archipel.engine.noise import uniforms
from archipel.engine.passing import Again
from archipel.engine.prefill import Prompt, read_piece
from archipel.engine.sampler import Draw
from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes

SLOTS = 8
"""Sequences that it follows at once."""
GRANULE = 128
"""Its cache grows by so many positions."""


@dataclass(eq=False)
class _Followed:
    """One sequence."""

    slot: int
    uniform: np.ndarray
    """Of each place of the answer."""
    held: list[int] = field(default_factory=list)
    """Tokens that the cache holds."""
    sure: int = 0
    """So many of them are known to be what was said."""

    def missing(self, said: Sequence[int]) -> Sequence[int]:
        """What is to be read before the last token; what did not stand is forgotten."""
        same, most = self.sure, min(len(self.held), len(said) - 1)
        while same < most and self.held[same] == said[same]:
            same += 1
        del self.held[same:]
        self.sure = same
        return said[same : len(said) - 1]


def price_beside(small: DecoderConfig, large: DecoderConfig) -> float:
    """Of a step of the small model in steps of the large one: by layers or by weights, whichever is more."""
    layers = small.num_layers / large.num_layers
    return max(layers, _num_weights(small) / _num_weights(large))


def _num_weights(config: DecoderConfig) -> int:
    return sum(prod(shape) for shape in expected_shapes(config).values())


class DraftModel:
    """A small model beside a large one."""

    def __init__(
        self, decoder: FusedDecoder, large: DecoderConfig, max_cache_bytes: int = 1 << 30
    ) -> None:
        """large: the model that is guessed for; tokens beyond its vocabulary are never guessed."""
        self.price = price_beside(decoder.config, large)
        self._decoder, self._vocabulary = decoder, large.vocab_size
        self._max_cache_bytes = max_cache_bytes
        self._machinery: Machinery | None = None
        self._followed: dict[Owner, _Followed] = {}

    def propose(self, wanted: Sequence[tuple[Running, int]]) -> list[Sequence[int]]:
        """See `guessing.Drafter`."""
        found: list[Sequence[int]] = [()] * len(wanted)
        ready: list[tuple[int, Running, _Followed, int]] = []
        for place, (running, most) in enumerate(wanted[:SLOTS]):
            machinery = self._with(len(running.said) + most)
            if machinery is None:
                continue
            followed = self._follow(running)
            if self._catch_up(machinery, followed, running.said):
                ready.append((place, running, followed, most))
        if ready and self._machinery is not None:
            each = [(running, followed, most) for _, running, followed, most in ready]
            guesses = self._guess(self._machinery, each)
            for (place, *_), guess in zip(ready, guesses, strict=True):
                found[place] = guess
        return found

    def end(self, owner: Owner) -> None:
        """See `guessing.Drafter`."""
        self._followed.pop(owner, None)

    def _with(self, length: int) -> Machinery | None:
        """A cache of at least so many positions; None: that is more than there may be."""
        held, config = self._machinery, self._decoder.config
        if held is not None and held.cache.shape.length >= length:
            return held
        numbers = self._decoder.arithmetic
        shape = CacheShape(
            config.num_layers,
            max(SLOTS, numbers.min_rows()),
            config.num_kv_heads,
            numbers.planes,
            round_up(length, GRANULE),
        )
        too_large = shape.num_slots * shape.bytes_per_slot > self._max_cache_bytes
        if length > numbers.max_positions or too_large:
            return None
        if held is None:
            cache = self._decoder.new_cache(shape)
        else:
            cache = held.cache
            cache.reshape(shape, held.cache.shape.num_slots)
        self._machinery = assemble(self._decoder, cache, ROWS)
        return self._machinery

    def _follow(self, running: Running) -> _Followed:
        """The longest followed is left where there are too many."""
        followed = self._followed.pop(running.owner, None)
        if followed is None:
            if len(self._followed) == SLOTS:
                del self._followed[next(iter(self._followed))]
            taken = {each.slot for each in self._followed.values()}
            slot = next(slot for slot in range(SLOTS) if slot not in taken)
            request = running.request
            rollout = running.owner[1] + request.first_rollout
            end = request.first_position + request.max_new_tokens
            drawn = uniforms(
                np.array([request.seed], np.uint64), np.array([rollout], np.uint64), end
            )
            followed = _Followed(slot, drawn[0, request.first_position :])
        self._followed[running.owner] = followed
        return followed

    def _catch_up(self, machinery: Machinery, followed: _Followed, said: Sequence[int]) -> bool:
        """Whether what is missing is little enough to be read with the first guess."""
        missing = followed.missing(said)
        if len(missing) < ROWS:
            return True
        start, part = len(followed.held), missing[:ROWS]
        if start % ROWS == 0:
            prompt = Prompt(tuple(said[: start + ROWS]), (followed.slot,))
            read_piece(machinery, [prompt], start, ROWS)
        else:
            positions = range(start, start + ROWS)
            what = Again.of([followed.slot] * ROWS, list(positions))
            feed_again(machinery, torch.tensor(part), what)
        followed.held += part
        return False

    def _guess(
        self, machinery: Machinery, wanted: Sequence[tuple[Running, _Followed, int]]
    ) -> list[list[int]]:
        guesses: list[list[int]] = [[] for _ in wanted]
        fed = [
            [*followed.missing(running.said), running.said[-1]] for running, followed, _ in wanted
        ]
        going = list(range(len(wanted)))
        while going:
            some = [wanted[place] for place in going]
            tokens = self._next(machinery, some, [fed[place] for place in going], guesses, going)
            for place, token in zip(going, tokens, strict=True):
                wanted[place][1].held.extend(fed[place])
                guesses[place].append(token)
                fed[place] = [token]
            going = [place for place in going if len(guesses[place]) < wanted[place][2]]
        return guesses

    def _next(
        self,
        machinery: Machinery,
        some: Sequence[tuple[Running, _Followed, int]],
        fed: Sequence[Sequence[int]],
        guesses: Sequence[Sequence[int]],
        going: Sequence[int],
    ) -> list[int]:
        """What each of these sequences may say after these tokens."""
        slots = [each.slot for (_, each, _), new in zip(some, fed, strict=True) for _ in new]
        positions = [
            len(each.held) + place
            for (_, each, _), new in zip(some, fed, strict=True)
            for place in range(len(new))
        ]
        tokens = torch.tensor([token for new in fed for token in new])
        x = feed_again(machinery, tokens, Again.of(slots, positions))
        ends = np.cumsum([len(new) for new in fed]) - 1
        padded = ends[np.minimum(np.arange(max(len(ends), machinery.min_rows)), len(ends) - 1)]
        at = torch.from_numpy(padded).to(x.device)
        logits = self._decoder.logits(x.index_select(0, at))[: len(some), : self._vocabulary]
        places = [
            running.num_new + len(guesses[place])
            for place, (running, _, _) in zip(going, some, strict=True)
        ]
        drawn, _ = self._decoder.arithmetic.sample(logits, _draw(some, places, logits.device))
        found: list[int] = drawn.tolist()
        return found


def _draw(
    some: Sequence[tuple[Running, _Followed, int]], places: Sequence[int], device: torch.device
) -> Draw:
    temperatures = [running.request.temperature for running, _, _ in some]
    return Draw(
        torch.tensor(
            [[each.uniform[place]] for (_, each, _), place in zip(some, places, strict=True)],
            dtype=torch.float64,
            device=device,
        ),
        torch.tensor([[each or 1.0] for each in temperatures], dtype=torch.float32, device=device),
        torch.tensor([[each == 0.0] for each in temperatures], device=device),
    )
