"""Texts that a device reads without sampling, part by part: what it has of each between two parts.

Parts: `Texts`. Law: of many unfinished ones the oldest is forgotten; whoever goes on with it is told so.
"""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

from archipel.engine.ranges import LayerRange
from archipel.engine.reading import TextLayers
from archipel.serve.pool.messages import Text
from archipel.serve.pool.weights import Layers

MAX_TEXTS = 8
"""That are being read at once."""


class Forgotten(ValueError):
    """What came before of a text, or the layers that it went through, are held no more."""


class Texts:
    """By number, the oldest first."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, dict[Layers, TextLayers]] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Of their caches."""
        return sum(each.num_bytes for text in self._held.values() for each in text.values())

    def bytes_of(self, said: Text, ranges: Mapping[Layers, LayerRange]) -> int:
        """What the cache of a text that begins will take."""
        return sum(ranges[each].text_bytes(said.total) for each in said.ranges if each in ranges)

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()

    def read(self, said: Text, ranges: Mapping[Layers, LayerRange], x: Tensor) -> Tensor:
        """Rows after these layers of the part that was sent, whose rows before them are `x`.

        Raises:
            Forgotten: see there.
        """
        if missing := [each for each in said.ranges if each not in ranges]:
            raise Forgotten(f"layers {missing[0]} are not held here")
        if said.start == 0:
            self._held.pop(said.text, None)
            while len(self._held) >= MAX_TEXTS:
                self._held.popitem(last=False)
            self._held[said.text] = {each: ranges[each].text(said.total) for each in said.ranges}
        held = self._held.get(said.text, {})
        for layers in said.ranges:
            if layers not in held or held[layers].num_read != said.start:
                raise Forgotten("what came before of it is not held any more")
            x = ranges[layers].read(held[layers], x)
        if said.start + len(x) == said.total:
            del self._held[said.text]
        return x
