"""The engine of a pool: requests, sampling and both ends of the model here, its layers on devices.

Parts: `PoolEngine`, an `OpenEngine` that a desk drives like any other. Law: tokens and log-probabilities are those of
`LocalEngine` with the same weights, arithmetic and number of threads, on processors of one kind; by the exact contract
on any. Whichever devices came, went or were lost meanwhile is not seen in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from archipel.engine.adapters import Company
from archipel.engine.cache import Cache, CacheShape, Window
from archipel.engine.capacity import Capacity, EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.rows import Rows
from archipel.engine.feeding import Note
from archipel.engine.fingerprints import Seen
from archipel.engine.fused import FusedEnds
from archipel.engine.generation import Generation
from archipel.engine.passing import Attend, Passing
from archipel.engine.protocol import Events, NotLoaded, Ticket
from archipel.engine.reading import Follows, Reading
from archipel.model.adapter import Adapter
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.journal import Running
from archipel.serve.pool.line import Line
from archipel.serve.pool.links import Bounds
from archipel.serve.pool.placing import Form, Placing
from archipel.serve.pool.stage import arithmetic_named
from archipel.serve.pool.weights import Original

MOVED_POSITIONS = 4096
"""A line is laid anew for a device that joined while so many positions at most would be computed again."""


class PoolEngine(LocalEngine):
    """A model whose layers lie on devices."""

    def __init__(
        self,
        original: Original,
        devices: Devices,
        numbers: str = "float32",
        limits: EngineLimits | None = None,
    ) -> None:
        """numbers: "float32", "bfloat16" or a variant of the exact contract."""
        arithmetic = arithmetic_named(numbers, original.config, "cpu")
        limits = _in_frames(limits or EngineLimits(), original)
        super().__init__(original.config, limits=limits, arithmetic=arithmetic)
        bounds: Capacity = self._capacity
        form = self.form = Form(numbers, arithmetic, bounds.limits.max_cache_bytes)
        ends = original.ends()
        arithmetic.check_weights(ends)
        self.original, self._devices, self._num_seen = original, devices, 0
        self.placing = Placing(original, form, devices)
        network = _Network(original, ends, form, self.placing)
        self.line = network.line
        self._pool = Generation(bounds, network)
        self._generation = self._pool
        self.line.watch(Running(self._pool.slots_in_use, self._pool.slots_running))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The weights of a pool are those of its directory.

        Raises:
            NotLoaded: always.
        """
        raise NotLoaded("a pool serves the weights of its directory; start another for others")

    def adapt(self, name: str, adapter: Adapter | None) -> None:
        """A pool has no adapters.

        Raises:
            NotLoaded: always.
        """
        raise NotLoaded("a pool serves whole weights; merge the adapter and serve that directory")

    def add(self, request: Request) -> Ticket:
        """See `OpenEngine.add`; a draft is left.

        Raises:
            InvalidRequest: see `LocalEngine.add`, or it wants to know of experts.
        """
        if request.tells_experts:
            raise InvalidRequest(
                f"request {request.key!r:.80} wants to be told of experts, which a pool does not; leave that out"
            )
        # Its journals know of one token for each step of a sequence, so nothing is guessed.
        return super().add(replace(request, draft=()))

    def reading(
        self, tokens: Sequence[int], adapter: str | None = None, follows: Follows | None = None
    ) -> Reading:
        """Reading without sampling needs layers here.

        Raises:
            InvalidRequest: always.
        """
        del tokens, adapter, follows
        raise InvalidRequest(
            "a pool of devices answers questions, and neither embeds nor scores texts; ask a model on one machine"
        )

    @torch.inference_mode()
    def step(self) -> Events:
        """See `OpenEngine.step`.

        Raises:
            PoolBroken: the devices that are here cannot hold the model; every request is dropped.
            NonFiniteLogits: see `LocalEngine.step`.
        """
        self._welcome()
        return super().step()

    def _welcome(self) -> None:
        """Have devices that joined take part, where that makes nobody wait for long."""
        joined = self._devices.num_joined
        if joined == self._num_seen or self.line.num_positions > MOVED_POSITIONS:
            return
        self._num_seen = joined
        if self.line.segments and self.placing.is_better(self.line.segments):
            self.line.lay()


def _in_frames(limits: EngineLimits, original: Original) -> EngineLimits:
    """Prompts together only as far as their rows fit into one frame of a link; no prefixes, as no cache is here."""
    rows = Bounds().payload_bytes // (4 * original.config.hidden_size)
    least = min(limits.max_prefill_tokens, rows)
    return replace(limits, max_prefill_tokens=least, max_prefix_bytes=0)


class _FarCache(Cache):
    """Holds nothing here: what becomes of it becomes of the devices' caches."""

    def __init__(self, shape: CacheShape, device: torch.device, line: Line) -> None:
        self.device, self.layers, self._line = device, [], line
        line.have(shape, 0)
        self._take(shape)

    def reshape(self, shape: CacheShape, rows: int) -> None:
        """See `Cache`."""
        self._line.have(shape, rows)
        self._take(shape)

    def windows(self, rows: int, length: int) -> list[Window]:
        """None: attention is elsewhere."""
        del rows, length
        return []

    def move(self, sources: Tensor, targets: Tensor, length: int) -> None:
        """See `Cache`."""
        self._line.move(sources.tolist(), targets.tolist(), length)


class _Network(FusedEnds):
    """A `machinery.Network` whose layers are on the devices of a line."""

    def __init__(
        self, original: Original, ends: Mapping[str, Tensor], form: Form, placing: Placing
    ) -> None:
        super().__init__(original.config, ends, form.arithmetic)
        self.line = Line(original, form, placing, self.embedded)

    def forward(
        self,
        tokens_N: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
        company: Company | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """See `FusedDecoder.forward`; the devices have rotations and attention of their own."""
        if not isinstance(attend, Passing) or company is not None or note is not None:
            raise TypeError(
                "a pool takes the engine's own passes, without adapters or experts told"
            )
        return self.line.through(attend.what, tokens_N, len(tokens_N if wanted is None else wanted))

    def logits(self, x_Nd: Tensor, seen: Seen | None = None) -> Tensor:
        """See `FusedEnds`; by the exact contract the last device has done the final norm."""
        if not isinstance(self.arithmetic, ExactArithmetic):
            return super().logits(x_Nd, seen)
        width = self.config.hidden_size
        num_digits = self.arithmetic.variant.activation_digits
        logits = self._head(Rows(x_Nd[:, :width], x_Nd[:, width:], num_digits))
        return logits if self.config.logits_scaling == 1.0 else logits / self.config.logits_scaling

    def new_cache(self, shape: CacheShape) -> Cache:
        """See `FusedDecoder`."""
        return _FarCache(shape, self.arithmetic.device, self.line)
