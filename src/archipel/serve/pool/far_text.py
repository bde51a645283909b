"""A text that is read without sampling over the lines of a pool: what `engine.reading` takes for a network.

Parts: `FarText`. Law: its rows have the bits of the whole network here; a text whose line changes under it is read anew,
and of that nothing is seen but its time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from archipel.engine.adapters import Adapters, Company
from archipel.engine.arithmetic import Arithmetic
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.feeding import Note
from archipel.engine.fingerprints import Seen
from archipel.engine.fused import FusedEnds
from archipel.engine.passing import Attend
from archipel.engine.reading import BLOCK
from archipel.model.config import DecoderConfig
from archipel.records.requests import InvalidRequest
from archipel.serve.pool.devices import CannotHold
from archipel.serve.pool.line import Line
from archipel.serve.pool.links import LinkLost
from archipel.serve.pool.trips import TextPart

AGAIN_S = 0.1
MAX_TRIES = 16
"""Times that a text is begun: as many devices may be lost while it is read."""


@dataclass(eq=False)
class FarText:
    """One text."""

    ends: FusedEnds
    line: Callable[[], Line]
    """One that is loaded now. Raises PoolBroken."""
    number: Callable[[], int]
    """A new one each time."""
    tokens: Sequence[int]
    _num_read: int = 0
    _over: tuple[Line, int] | None = None
    """The line that it goes over, and its number there."""
    _tries: int = field(default=MAX_TRIES)

    @property
    def config(self) -> DecoderConfig:
        """See `machinery.Network`."""
        return self.ends.config

    @property
    def arithmetic(self) -> Arithmetic:
        """See `machinery.Network`."""
        return self.ends.arithmetic

    @property
    def adapters(self) -> Adapters:
        """None: see `machinery.Network`."""
        return self.ends.adapters

    @property
    def num_layers(self) -> int:
        """That are here."""
        return 0

    def read(self, x_Nd: Tensor) -> Tensor:
        """See `FusedEnds.read`."""
        return self.ends.read(x_Nd)

    def logits(
        self, x_Nd: Tensor, seen: Seen | None = None, company: Company | None = None
    ) -> Tensor:
        """See `FusedEnds.logits`."""
        return self.ends.logits(x_Nd, seen, company)

    def new_cache(self, shape: CacheShape) -> Cache:
        """`Generation` alone asks for one."""
        raise TypeError("a text has its caches on devices")

    def forward(
        self,
        tokens_N: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
        company: Company | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """The next block of the text; see `FusedDecoder.forward`.

        Raises:
            PoolBroken: no line is left. InvalidRequest: none has room for this text.
        """
        del rotations_N2D, attend, wanted, company, note  # the devices have their own
        end = min(self._num_read + BLOCK, len(self.tokens))
        while True:
            try:
                if self._over is None:
                    self._over = self.line(), self.number()
                    self._again(self._num_read)
                x = self._part(self._num_read, end)
                break
            except (LinkLost, CannotHold) as error:
                self._over, self._tries = None, self._tries - 1
                if not self._tries:
                    raise InvalidRequest(
                        f"a text of {len(self.tokens)} tokens could not be read: {error}; shorten it, or ask again"
                    ) from None
                if self._tries < MAX_TRIES - 1:
                    time.sleep(AGAIN_S)  # others take over, in another thread
        self._num_read = end
        return torch.cat((x, x[-1:].expand(len(tokens_N) - len(x), -1)))

    def _again(self, end: int) -> None:
        """Read what was read over another line."""
        for start in range(0, end, BLOCK):
            self._part(start, min(start + BLOCK, end))

    def _part(self, start: int, end: int) -> Tensor:
        x = self.ends.embedded(torch.tensor(self.tokens[start:end]))
        if self._over is None:
            raise LinkLost("no line was chosen")
        line, number = self._over
        for device, ranges in line.hops():
            x = device.read(TextPart(number, start, len(self.tokens), ranges), x)
        return x
