"""The default engine: this machine, our network, many sequences at once.

Parts: `LocalEngine`, `EngineLimits`; `Engine`, `Request`, `Completion` come from `protocol`.
Law: on a CPU, tokens and log-probabilities are bitwise the same whatever runs beside them on the
same machine with the same torch and number of threads; `selftest` checks it for loaded weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.engine.attention import round_up, window_granule
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.fused import FusedDecoder
from archipel.engine.generation import Generation
from archipel.engine.machinery import Machinery
from archipel.engine.protocol import (
    Completion,
    Engine,
    InvalidRequest,
    NonFiniteLogits,
    NotLoaded,
    Request,
    WrongWeights,
)
from archipel.model.config import DecoderConfig

__all__ = [
    "Completion",
    "Engine",
    "EngineLimits",
    "InvalidRequest",
    "LocalEngine",
    "NonFiniteLogits",
    "NotLoaded",
    "Request",
    "WrongWeights",
]

MIN_ROWS = 4
"""Fewer rows make BLAS choose kernels that sum in another order."""


@dataclass(frozen=True)
class EngineLimits:
    """What one engine may take of its machine."""

    max_slots: int = 256
    """Sequences at once."""
    max_cache_bytes: int = 4 * 1024**3
    max_prefill_tokens: int = 2048
    """Padded prompt tokens that go through the network together."""


class LocalEngine:
    """An `Engine` for the families of `model.network`."""

    def __init__(
        self,
        config: DecoderConfig,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        limits: EngineLimits | None = None,
    ) -> None:
        """Products compute in `dtype`; fp32 holds bf16 weights exactly."""
        self.config = config
        self._dtype = dtype
        self._device = torch.device(device)
        self._limits = limits or EngineLimits()
        self._decoder: FusedDecoder | None = None
        self._cache: Cache | None = None
        self._rotations = torch.empty(0)

    @torch.inference_mode()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`.

        Raises:
            WrongWeights: names or shapes are not those of the architecture.
        """
        self._decoder = FusedDecoder(self.config, state, self._dtype, self._device)

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Completion, ...]]:
        """See `Engine.generate`.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: a token outside the vocabulary, or longer than model or cache allow.
            NonFiniteLogits: the weights are broken.
        """
        if not requests:
            return []
        for request in requests:
            self._check(request)
        machinery, num_slots = self._machinery(requests)
        generation = Generation(machinery, requests, num_slots)
        try:
            while generation.has_work:
                generation.step()
                if on_progress is not None:
                    on_progress(generation.num_tokens)
        except NonFiniteLogits:
            # A NaN that stayed in the cache would reach later sequences through masked positions.
            self._cache = None
            raise
        return generation.completions()

    def _machinery(self, requests: Sequence[Request]) -> tuple[Machinery, int]:
        decoder = self._decoder
        if decoder is None:
            raise NotLoaded("the engine has no weights; call load(state) before generate")
        length = max(len(r.prompt) + r.max_new_tokens for r in requests)
        granule = window_granule(
            self.config.head_dim, self.config.num_heads // self.config.num_kv_heads
        )
        length = round_up(length, granule)
        # With fewer matrices than threads, BLAS would split one of them into too few rows.
        min_rows = max(MIN_ROWS, torch.get_num_threads())
        wanted = max(min_rows, sum(request.num_rollouts for request in requests))
        cache, num_slots = self._cache_for(length, wanted, min_rows)
        if self._rotations.shape[0] < cache.shape.length:
            self._rotations = decoder.rotations(cache.shape.length)
        return self._assemble(decoder, cache, min_rows), num_slots

    def _assemble(self, decoder: FusedDecoder, cache: Cache, min_rows: int) -> Machinery:
        length = cache.shape.length
        ramp = torch.zeros(2 * length, dtype=self._dtype, device=self._device)
        ramp[length:] = -torch.inf
        return Machinery(
            decoder=decoder,
            cache=cache,
            rotations=self._rotations,
            columns=torch.arange(length, device=self._device),
            ramp=ramp,
            min_rows=min_rows,
            max_prefill_tokens=self._limits.max_prefill_tokens,
        )

    def _cache_for(self, length: int, wanted: int, min_rows: int) -> tuple[Cache, int]:
        config = self.config
        one = CacheShape(config.num_layers, 1, config.num_kv_heads, config.head_dim, length)
        affordable = self._limits.max_cache_bytes // one.bytes_per_slot(self._dtype)
        if affordable < min_rows:
            raise InvalidRequest(
                f"{length} positions leave room for {affordable} sequences in "
                f"{self._limits.max_cache_bytes} bytes of cache; expected at least {min_rows}: "
                "shorten prompt or max_new_tokens, or raise max_cache_bytes"
            )
        num_slots = min(wanted, affordable, max(min_rows, self._limits.max_slots))
        held = self._cache
        if held is None or held.shape.length < length or held.shape.num_slots < num_slots:
            self._cache = held = None  # the old one goes before the new one comes
            shape = CacheShape(
                config.num_layers, num_slots, config.num_kv_heads, config.head_dim, length
            )
            held = self._cache = Cache(shape, self._dtype, self._device)
        return held, num_slots

    def _check(self, request: Request) -> None:
        limit, vocabulary = self.config.max_position_embeddings, self.config.vocab_size
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
