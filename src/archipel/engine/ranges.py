"""Some of a model's layers with a cache of their own: a pass through them from rows to rows.

Parts: `LayerRange`. Law: the layers of a model cut into ranges anywhere, one after the other, give the bits of the
whole (`passing` says what a pass needs beside its rows).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from archipel.engine.adapters import Adapters, Company
from archipel.engine.again import feed_again
from archipel.engine.arithmetic import Arithmetic
from archipel.engine.attention import round_up
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.decode import decode
from archipel.engine.feeding import Note
from archipel.engine.fingerprints import Seen
from archipel.engine.fused import FusedLayers
from archipel.engine.machinery import Machinery, assemble
from archipel.engine.passing import Attend, Block, Next, Pass
from archipel.engine.prefill import GRANULE, read_block
from archipel.engine.reading import TextLayers, shape_of
from archipel.model.config import DecoderConfig


class OutOfCache(ValueError):
    """A pass over places that the cache does not have."""


class LayerRange:
    """Layers [first, last) of a model."""

    def __init__(
        self,
        config: DecoderConfig,
        state: Mapping[str, Tensor],
        arithmetic: Arithmetic,
        layers: range,
    ) -> None:
        """state: their weights, by Hugging Face names."""
        self._network = _Middle(config, state, arithmetic, layers)
        self._machinery: Machinery | None = None
        self.layers = layers

    def have(self, num_slots: int, length: int, rows: int) -> None:
        """A cache of so many slots and positions; slots 0 .. rows-1 keep what they hold."""
        config, numbers = self._network.config, self._network.arithmetic
        shape = CacheShape(len(self.layers), num_slots, config.num_kv_heads, numbers.planes, length)
        if self._machinery is not None and rows:
            cache = self._machinery.cache
            cache.reshape(shape, rows)
        else:
            self._machinery = None  # the old cache goes before the new one comes
            cache = self._network.new_cache(shape)
        self._machinery = assemble(self._network, cache, 0)

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """As `Cache.move`."""
        cache = self._ready.cache
        device = cache.device
        cache.move(
            torch.tensor(sources, device=device), torch.tensor(targets, device=device), length
        )

    @torch.inference_mode()
    def run(self, what: Pass, x_Nd: Tensor) -> Tensor:
        """Rows after these layers, of a pass whose rows before them are `x_Nd`, as the whole network has them there.

        After the last layer of a model, a `Block` gives the end of each prompt alone.

        Raises:
            OutOfCache: it leads to a slot or position that is not there.
        """
        machinery = self._ready
        self._check(what)
        self._network.given = x_Nd.to(machinery.device)
        if isinstance(what, Next):
            positions = what.positions.to(machinery.device)
            written = what.written
            if isinstance(written, Tensor):
                written = written.to(machinery.device)
            return decode(machinery, torch.zeros_like(positions), Next(positions, written))
        if isinstance(what, Block):
            found = read_block(machinery, what)
            return found if self._network.is_last else found[: len(x_Nd)]
        tokens = torch.zeros(len(what.slots), dtype=torch.int64)
        return feed_again(machinery, tokens, what)[: len(what.slots)]

    def text(self, total: int) -> TextLayers:
        """A cache of its own, for a text of so many tokens."""
        return TextLayers(self._network, len(self.layers), total)

    def text_bytes(self, total: int) -> int:
        """Of such a cache, before it is made."""
        return shape_of(self._network, len(self.layers), total).bytes_per_slot

    @torch.inference_mode()
    def read(self, text: TextLayers, x_Nd: Tensor) -> Tensor:
        """Rows after these layers of the next tokens of a text, whose rows before them are `x_Nd`."""
        self._network.given = x_Nd.to(self._network.arithmetic.device)
        return text.next((0,) * len(x_Nd))[: len(x_Nd)]

    def _check(self, what: Pass) -> None:
        shape = self._ready.cache.shape
        if isinstance(what, Next):
            highest = max(int(what.positions.max()), int(torch.as_tensor(what.written).max()))
            slots, positions = len(what.positions), highest + 1
        elif isinstance(what, Block):
            slots = 1 + max(max(each) for each in what.slots)
            positions = round_up(what.start + max(what.lengths), GRANULE)
        else:
            slots, positions = int(what.slots.max()) + 1, int(what.positions.max()) + 1
        if slots > shape.num_slots or positions > shape.length:
            raise OutOfCache(
                f"a pass over {slots} slots and {positions} positions came; the cache has {shape.num_slots} and "
                f"{shape.length}"
            )

    @property
    def _ready(self) -> Machinery:
        if self._machinery is None:
            raise RuntimeError("these layers have no cache; call have first")
        return self._machinery


class _Middle(FusedLayers):
    """A `machinery.Network` whose tokens are known elsewhere: rows are laid before it."""

    def __init__(
        self,
        config: DecoderConfig,
        state: Mapping[str, Tensor],
        arithmetic: Arithmetic,
        layers: range,
    ) -> None:
        super().__init__(config, state, arithmetic, layers)
        self.adapters = Adapters(arithmetic)
        self.given = torch.empty(0)
        self.is_last = layers.stop == config.num_layers

    def forward(
        self,
        tokens_N: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
        company: Company | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """See `FusedDecoder.forward`."""
        missing = len(tokens_N) - len(self.given)
        x = self.given
        if missing > 0:
            x = torch.cat((x, x[-1:].expand(missing, -1)))
        chosen = wanted if self.is_last else None
        return self.through(x, rotations_N2D, attend, chosen, company, note)

    def logits(
        self, x_Nd: Tensor, seen: Seen | None = None, company: Company | None = None
    ) -> Tensor:
        """`read_prompts` alone asks for them."""
        raise TypeError("layers in the middle have no logits")

    def new_cache(self, shape: CacheShape) -> Cache:
        """For these layers."""
        return Cache(shape, self.arithmetic.device)
