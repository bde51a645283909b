"""A network whose layers are on the devices of a line: both ends of the model here, and a cache that holds nothing.

Parts: `FarNetwork`, a `machinery.Network`. Law: what it makes of a pass has the bits of the whole network here.
"""

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from archipel.engine.adapters import Company
from archipel.engine.cache import Cache, CacheShape, Window
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.rows import Rows
from archipel.engine.feeding import Note
from archipel.engine.fingerprints import Seen
from archipel.engine.fused import FusedEnds
from archipel.engine.passing import Again, Attend, Passing
from archipel.serve.pool.line import Line
from archipel.serve.pool.placing import Form, Placing
from archipel.serve.pool.weights import Original


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


class FarNetwork(FusedEnds):
    """Of one line."""

    def __init__(
        self, original: Original, ends: Mapping[str, Tensor], form: Form, placing: Placing
    ) -> None:
        super().__init__(original.config, ends, form.arithmetic)
        self._original, self._form, self._placing = original, form, placing
        self.line = Line(original, form, placing, self.embedded)

    def another(self) -> Self:
        """With the same ends, over a line of its own."""
        other = copy.copy(self)
        other.line = Line(self._original, self._form, self._placing, self.embedded)
        return other

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
        what = attend.what
        if isinstance(what, Again):
            # Its rows may be repeated up to the smallest number of a product: those are not sent.
            count = len(what.slots)
            x = self.line.through(what, tokens_N[:count], count)
            return torch.cat((x, x[-1:].expand(len(tokens_N) - count, -1)))
        return self.line.through(what, tokens_N, len(tokens_N if wanted is None else wanted))

    def logits(
        self, x_Nd: Tensor, seen: Seen | None = None, company: Company | None = None
    ) -> Tensor:
        """See `FusedEnds`; by the exact contract the last device has done the final norm."""
        if not isinstance(self.arithmetic, ExactArithmetic):
            return super().logits(x_Nd, seen, company)
        width = self.config.hidden_size
        num_digits = self.arithmetic.variant.activation_digits
        logits = self._head(Rows(x_Nd[:, :width], x_Nd[:, width:], num_digits))
        return logits if self.config.logits_scaling == 1.0 else logits / self.config.logits_scaling

    def new_cache(self, shape: CacheShape) -> Cache:
        """See `FusedDecoder`."""
        return _FarCache(shape, self.arithmetic.device, self.line)
