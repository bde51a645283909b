"""How much cache an engine may have: slots and positions, from its limits and what is asked of it.

Parts: `EngineLimits`, `Demand` (what waits and runs), `Capacity`. One more sequence or position is
paid for by the others: slots times positions is what `max_cache_bytes` holds.
Law: pure; what is sampled never depends on the shape chosen here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.attention import round_up, window_granule
from archipel.engine.cache import CacheShape
from archipel.engine.prefill import BLOCK
from archipel.records.requests import InvalidRequest, Request

_BLOCKS = 16
STEP_TOKENS = 64
"""Of prompts, in one step of a served model: small enough that streams go on, large enough for the matrix unit."""
PREFIX_SHARE = 4
"""One part in so many of a served model's cache may hold beginnings of prompts."""


@dataclass(frozen=True)
class EngineLimits:
    """What one engine may take of its machine."""

    max_slots: int = 256
    """Sequences at once."""
    max_cache_bytes: int = 4 * 1024**3
    max_prefill_tokens: int = 2048
    """Padded prompt tokens that go through the network together."""
    max_step_tokens: int | None = None
    """Positions of prompts that a step reads beside what it samples, or one block where that is more; None: prompts
    are read to their end first, which serves a batch that nobody watches best."""
    block: int = BLOCK
    """Positions of one prompt that are read at a time, a multiple of 16. Bits may hang on it where a library's sums
    do; on x86 none was found to."""
    max_prefix_bytes: int = 0
    """What may be held of prompts' beginnings for later ones, out of `max_cache_bytes`; 0: nothing."""

    def __post_init__(self) -> None:
        if self.block < 1 or self.block % _BLOCKS:
            raise ValueError(f"block is {self.block}; expected a multiple of {_BLOCKS}")
        if self.max_step_tokens is not None and self.max_step_tokens < 1:
            raise ValueError(
                f"max_step_tokens is {self.max_step_tokens}; expected 1 or more, or None"
            )
        if self.max_prefix_bytes < 0:
            raise ValueError(f"max_prefix_bytes is {self.max_prefix_bytes}; expected 0 or more")

    @classmethod
    def serving(cls, max_cache_bytes: int) -> Self:
        """For people who wait for answers: prompts in small pieces between tokens, and their beginnings kept."""
        return cls(
            max_cache_bytes=max_cache_bytes,
            max_step_tokens=STEP_TOKENS,
            block=STEP_TOKENS,
            max_prefix_bytes=max_cache_bytes // PREFIX_SHARE,
        )


@dataclass(frozen=True)
class Demand:
    """What waits and runs at one moment."""

    num_sequences: int
    length: int
    """Positions of the longest of them."""


@dataclass(frozen=True)
class Capacity:
    """What cache can be had for one architecture and its arithmetic."""

    arithmetic: Arithmetic
    limits: EngineLimits

    def check(self, request: Request) -> None:
        """Refuse what this model and cache can never serve.

        Raises:
            InvalidRequest: a token outside the vocabulary, longer than model or cache allow, or other than this
                arithmetic samples.
        """
        numbers = self.arithmetic
        if not numbers.takes_bends and (request.steering or request.cut or request.allowed):
            raise InvalidRequest(
                f"request {request.key!r:.80} bends its logits or cuts its distribution; the exact contract samples "
                "from all of it as it is: leave cuts, penalties and grammars out"
            )
        limit, vocabulary = numbers.max_positions, numbers.config.vocab_size
        total = len(request.prompt) + request.max_new_tokens
        if total > limit:
            raise InvalidRequest(
                f"request {request.key!r:.80}: prompt and new tokens are {total} together; "
                f"expected at most {limit} (max_position_embeddings)"
            )
        if min(request.prompt) < 0 or max(request.prompt) >= vocabulary:
            raise InvalidRequest(
                f"request {request.key!r:.80}: prompt has a token outside 0..{vocabulary - 1}; "
                "encode it with this model's tokenizer"
            )
        if request.draft and (min(request.draft) < 0 or max(request.draft) >= vocabulary):
            raise InvalidRequest(
                f"request {request.key!r:.80}: draft has a token outside 0..{vocabulary - 1}; "
                "encode it with this model's tokenizer, or leave it out"
            )
        if request.allowed is not None and min(request.allowed.tokens) >= vocabulary:
            raise InvalidRequest(
                f"request {request.key!r:.80}: no token of 0..{vocabulary - 1} is allowed; expected one at least"
            )
        affordable, least = self._affordable(self.length_of(request)), self._least
        if affordable < least:
            raise InvalidRequest(
                f"request {request.key!r:.80}: {total} positions leave room for {affordable} sequences in "
                f"{self.limits.max_cache_bytes} bytes of cache; expected at least "
                f"{least}: shorten prompt or max_new_tokens, or raise max_cache_bytes"
            )

    @property
    def longest(self) -> int:
        """Tokens, prompt included, that a request may have: the model's positions, or what the cache holds."""
        held = self.limits.max_cache_bytes // (self._least * self._bytes_per_position)
        return min(self.arithmetic.max_positions, held // self._granule * self._granule)

    def holds(self, request: Request) -> int:
        """How many sequences of the request's length there is room for."""
        return self._most_slots(self.length_of(request))

    def length_of(self, request: Request) -> int:
        """Positions that each sequence of the request takes in the cache."""
        return self._rounded(len(request.prompt) + request.max_new_tokens)

    def shape(self, demand: Demand, held: CacheShape | None, rows: int) -> CacheShape:
        """The cache to have now, when slots 0 .. `rows` - 1 of `held` are in use.

        `held` itself while it serves, or while what runs would not fit into what is wanted. With
        nothing running, exactly what is asked for; else twice what there was, where that can be
        had, so that the copying stays small beside the work. An idle one that takes what prefixes may
        have is given up.
        """
        length, slots = demand.length, self._slots(demand)
        if held is None or (rows == 0 and self.for_prefixes(held) < self.limits.max_prefix_bytes):
            return self._geometry(slots, length)
        if held.length >= length and held.num_slots >= slots:
            return held
        if rows == 0:
            return self._geometry(slots, length)
        roomy = held.length
        if length > roomy:
            roomy = max(
                length,
                min(2 * roomy, self._rounded(self.arithmetic.config.max_position_embeddings)),
            )
        if self._most_slots(roomy) >= slots:
            length = roomy
        spare = held.num_slots if held.num_slots >= slots else 2 * held.num_slots
        slots = max(slots, min(spare, self._most_slots(length)))
        return self._geometry(slots, length) if slots >= rows else held

    def for_prefixes(self, shape: CacheShape) -> int:
        """Bytes that prefixes may have beside such a cache: what the sequences leave of all there is."""
        left = self.limits.max_cache_bytes - shape.num_slots * shape.bytes_per_slot
        return max(0, min(self.limits.max_prefix_bytes, left))

    @property
    def _least(self) -> int:
        return self.arithmetic.min_rows()

    def _slots(self, demand: Demand) -> int:
        wanted = min(demand.num_sequences, self._most_slots(demand.length))
        return max(self._least, wanted)

    def _most_slots(self, length: int) -> int:
        return min(max(self._least, self.limits.max_slots), self._affordable(length))

    def _affordable(self, length: int) -> int:
        return self.limits.max_cache_bytes // (length * self._bytes_per_position)

    def _rounded(self, length: int) -> int:
        return round_up(length, self._granule)

    @cached_property
    def _bytes_per_position(self) -> int:
        return self._geometry(1, 1).bytes_per_slot

    @cached_property
    def _granule(self) -> int:
        config = self.arithmetic.config
        return window_granule(config.head_dim, config.num_heads // config.num_kv_heads)

    def _geometry(self, slots: int, length: int) -> CacheShape:
        config = self.arithmetic.config
        return CacheShape(
            config.num_layers, slots, config.num_kv_heads, self.arithmetic.planes, length
        )
