"""The devices that hold one model between them, one after the other, and what happens when one is lost.

Parts: `Line`. A pass goes from device to device by way of the gateway, which so keeps what went into each (`journal`).
A device that is lost leaves a hole in the layers; others take it over, and what their part of the cache must hold is
made from the journal, cut as it was the first time. All other caches stay. Laws: a pass that was under way goes on
where it stood; what comes out of the line has the bits that it would have had.
"""

import itertools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from torch import Tensor

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.cache import CacheShape
from archipel.engine.passing import Pass
from archipel.serve.pool.devices import CannotHold, Device, Devices
from archipel.serve.pool.journal import Journal
from archipel.serve.pool.links import LinkLost
from archipel.serve.pool.messages import Have, Move
from archipel.serve.pool.spread import Room, patch, spread
from archipel.serve.pool.weights import Layers, Original, bytes_of_layer

logger = logging.getLogger("archipel.serve")

Embed = Callable[[Tensor], Tensor]
USUAL_NS = 1_000_000
"""Of a layer, where nobody has measured."""


class PoolBroken(RuntimeError):
    """The devices that are here cannot hold the model."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Layers of one device."""

    device: Device
    layers: Layers


@dataclass(frozen=True)
class Mended:
    """One loss that was made good."""

    lost: str
    seconds: float
    positions: int
    """That were computed again, over all ranges."""


@dataclass(frozen=True)
class Form:
    """How the model is computed."""

    name: str
    """"float32", "bfloat16" or a variant of the exact contract."""
    arithmetic: Arithmetic
    max_cache_bytes: int
    """Over all layers."""


class Line:
    """Where each layer is."""

    def __init__(
        self,
        original: Original,
        form: Form,
        devices: Devices,
        embed: Embed,
    ) -> None:
        """embed: tokens (N,) -> rows (N, d)."""
        self._original, self._devices, self._form, self._embed = original, devices, form, embed
        config, itemsize = original.config, form.arithmetic.dtype.itemsize
        largest = max(bytes_of_layer(config, i, itemsize) for i in range(config.num_layers))
        self.layer_bytes = largest + -(-form.max_cache_bytes // config.num_layers)
        self._in_use: Callable[[], Collection[int]] = frozenset
        self._segments: list[Segment] = []
        self._journals: dict[int, Journal] = {}
        self._shape: CacheShape | None = None
        self._at = 0
        """The first layer that the pass under way has not been through."""
        self.mended: list[Mended] = []

    def watch(self, in_use: Callable[[], Collection[int]]) -> None:
        """Be told who says which slots have a sequence that runs."""
        self._in_use = in_use

    @property
    def segments(self) -> tuple[Segment, ...]:
        """In the order of their layers."""
        return tuple(self._segments)

    @property
    def num_layers(self) -> int:
        """Of the model."""
        return self._original.config.num_layers

    def lay(self) -> None:
        """Give every layer to a device, by who is here now; of what runs the cache is made anew.

        Raises:
            PoolBroken: they have no room for it.
        """
        first = {at: each for at, each in self._journals.items() if at == 0}
        self.forget()
        self._journals = first
        self._fill()

    def forget(self) -> None:
        """Hold nothing anywhere, and know of no sequence."""
        self._tell(lambda device: device.drop(None))
        self._segments, self._journals = [], {}

    @property
    def num_positions(self) -> int:
        """That `lay` would compute again."""
        return self._journals[0].num_positions if 0 in self._journals else 0

    def have(self, shape: CacheShape, rows: int) -> None:
        """A cache of this shape; slots 0 .. rows-1 keep what they hold."""
        self._shape = shape
        if not rows:
            self._journals = {}
        if not self._segments:
            self._fill()
            return
        said = Have(num_slots=shape.num_slots, length=shape.length, rows=rows)
        self._tell(lambda device: device.have(said))

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Sequences change slots."""
        for journal in self._journals.values():
            journal.move(sources, targets)
        said = Move(sources=tuple(sources), targets=tuple(targets), length=length)
        self._tell(lambda device: device.move(said))

    def through(self, what: Pass, tokens_N: Tensor, num_wanted: int) -> Tensor:
        """Rows after the last layer, of which there are `num_wanted`.

        Raises:
            PoolBroken: devices were lost, and the others cannot hold what those held.
        """
        starts = {at for at, _ in self._hops(0)}
        self._journals = {at: each for at, each in self._journals.items() if at in starts}
        try:
            return self._go(what, tokens_N, num_wanted)
        finally:
            self._at = 0

    def _go(self, what: Pass, tokens_N: Tensor, num_wanted: int) -> Tensor:
        x = self._embed(tokens_N)
        while self._at < self.num_layers:
            hop = dict(self._hops(self._at)).get(self._at)
            if hop is None:
                self._fill()
                continue
            device, ranges = hop
            end = ranges[-1][1]
            count = num_wanted if end == self.num_layers else len(x)
            try:
                found = device.through(what, ranges, x, count)
            except (LinkLost, CannotHold) as error:
                self._mend(device, str(error))
                continue
            self._journal(self._at).note(what, tokens_N if self._at == 0 else x)
            self._at, x = end, found
        return x

    def _hops(self, start: int) -> list[tuple[int, tuple[Device, tuple[Layers, ...]]]]:
        """From layer `start` on: where each device begins, and the ranges that it goes through at once."""
        found: list[tuple[int, tuple[Device, tuple[Layers, ...]]]] = []
        for segment in self._segments:
            if segment.layers[0] < start:
                continue
            if found and found[-1][1][0] is segment.device:
                at, (device, ranges) = found[-1]
                found[-1] = at, (device, (*ranges, segment.layers))
            else:
                found.append((segment.layers[0], (segment.device, (segment.layers,))))
        return found

    def _journal(self, at: int) -> Journal:
        return self._journals.setdefault(at, Journal(lambda: self._in_use()))

    def _tell(self, say: Callable[[Device], None]) -> None:
        """Whoever is lost now is missed at the next pass."""
        for device in dict.fromkeys(segment.device for segment in self._segments):
            try:
                say(device)
            except LinkLost as error:
                logger.warning("%s", error)

    def _mend(self, lost: Device, why: str) -> None:
        """Have others take over what was lost."""
        began = time.perf_counter()
        lost.close()
        logger.warning("%s; others take over", why)
        positions = self._fill()
        self.mended.append(Mended(lost.name, time.perf_counter() - began, positions))

    def _fill(self) -> int:
        """Have somebody hold every layer that nobody holds; how many positions were computed again for it."""
        positions = 0
        while holes := self._holes():
            planned = self._planned(holes[0])
            if not all(self._give(segment) for segment in planned):
                continue
            try:
                positions += self._rebuild(holes[0], planned)
            except (LinkLost, CannotHold) as error:
                logger.warning("%s", error)
                self._take_back(planned)
                continue
            kept = [*self._kept(), *planned]
            self._segments = sorted(kept, key=lambda segment: segment.layers)
        return positions

    def _kept(self) -> list[Segment]:
        return [segment for segment in self._segments if not segment.device.is_lost]

    def _holes(self) -> list[Layers]:
        """Layers that nobody holds; one ends where the pass under way stands."""
        edges = sorted(segment.layers for segment in self._kept())
        edges += [(self.num_layers, self.num_layers)]
        found: list[Layers] = []
        at = 0
        for first, end in edges:
            if at < first:
                cuts = [at, *([self._at] if at < self._at < first else []), first]
                found += itertools.pairwise(cuts)
            at = end
        return found

    def _planned(self, hole: Layers) -> list[Segment]:
        here, kept = self._devices.here(), self._kept()
        rooms = []
        for device in here:
            used = sum(s.layers[1] - s.layers[0] for s in kept if s.device is device)
            held = device.hello.memory_bytes // self.layer_bytes
            rooms.append(Room(max(0, held - used), device.layer_ns or USUAL_NS))

        def holder(layer: int) -> int | None:
            found = [s.device for s in kept if s.layers[0] <= layer < s.layers[1]]
            return here.index(found[0]) if found and found[0] in here else None

        if hole == (0, self.num_layers):
            found = spread(self.num_layers, rooms)
        else:
            found = patch(hole, holder(hole[0] - 1), holder(hole[1]), rooms)
        if found is None:
            raise PoolBroken(self._too_small(here, hole[1] - hole[0]))
        return [Segment(here[each], (first, end)) for each, first, end in found]

    def _give(self, segment: Segment) -> bool:
        """Have a device hold layers; False: it is lost, or has no room after all."""
        device, shape = segment.device, self._shape
        try:
            device.hold(
                segment.layers, self._original, self._form.name, self._form.arithmetic.min_rows()
            )
            if shape is not None:
                said = Have(
                    num_slots=shape.num_slots, length=shape.length, rows=0, layers=segment.layers
                )
                device.have(said)
        except (LinkLost, CannotHold) as error:
            logger.warning("%s", error)
            device.close()
        return not device.is_lost

    def _take_back(self, planned: Sequence[Segment]) -> None:
        for segment in planned:
            try:
                segment.device.drop(segment.layers)
            except LinkLost as error:
                logger.warning("%s", error)

    def _rebuild(self, hole: Layers, planned: Sequence[Segment]) -> int:
        """Make the cache of these segments from the journal at the hole's beginning."""
        first, positions = hole[0], 0
        for before, segment in itertools.pairwise(planned):
            if segment.device is not before.device:
                self._journals[segment.layers[0]] = Journal(lambda: self._in_use())
        if first not in self._journals:
            return 0
        for what, rows in self._journals[first].passes():
            x = self._embed(rows) if first == 0 else rows
            positions += len(rows)
            for place, segment in enumerate(planned):
                if place and segment.device is not planned[place - 1].device:
                    self._journal(segment.layers[0]).note(what, x)
                is_end = place + 1 == len(planned)
                x = segment.device.through(what, (segment.layers,), x, 0 if is_end else len(x))
        return positions

    def _too_small(self, here: Sequence[Device], missing: int) -> str:
        gives = ", ".join(f"{each.name} {each.hello.memory_bytes}" for each in here) or "nobody"
        return (
            f"{missing} layers need {missing * self.layer_bytes} bytes with their cache, a layer at a time, which the "
            f"devices of the pool do not give ({gives}); have another device join, or give more or a smaller cache"
        )
