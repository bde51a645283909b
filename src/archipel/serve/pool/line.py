"""The devices that hold one model between them, one after the other, and what happens when one is lost.

Parts: `Line`. A pass goes from device to device by way of the gateway, which so keeps what went into each (`journal`).
A device that is lost leaves a hole in the layers; others take it over, and what their part of the cache must hold is
made from the journal, cut as it was the first time. All other caches stay. Laws: a pass that was under way goes on
where it stood; what comes out of the line has the bits that it would have had.
"""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from archipel.engine.cache import CacheShape
from archipel.engine.passing import Next, Pass
from archipel.engine.protocol import NonFiniteLogits
from archipel.serve.pool.devices import CannotHold, Device
from archipel.serve.pool.journal import Journal, Running
from archipel.serve.pool.links import LinkLost
from archipel.serve.pool.messages import Have, Move
from archipel.serve.pool.pieces import cut, holes
from archipel.serve.pool.placing import Form, Placing, Segment
from archipel.serve.pool.trips import Trip
from archipel.serve.pool.weights import Layers, Original

logger = logging.getLogger("archipel.serve")

Embed = Callable[[Tensor], Tensor]
Hop = tuple[Device, tuple[Layers, ...]]
"""A device, and the ranges that rows go through there at once."""


@dataclass(frozen=True)
class Mended:
    """One loss that was made good."""

    lost: str
    seconds: float
    positions: int
    """That were computed again, over all ranges."""


class Line:
    """Where each layer is."""

    def __init__(self, original: Original, form: Form, placing: Placing, embed: Embed) -> None:
        """embed: tokens (N,) -> rows (N, d)."""
        self._original, self._form, self._placing, self._embed = original, form, placing, embed
        self._running = Running()
        self._segments: list[Segment] = []
        self._journals: dict[int, Journal] = {}
        self._shape: CacheShape | None = None
        self._at = 0
        """The first layer that the pass under way has not been through."""
        self.mended: list[Mended] = []

    def watch(self, running: Running) -> None:
        """Be told who says which slots have a sequence that runs."""
        self._running = running

    @property
    def segments(self) -> tuple[Segment, ...]:
        """In the order of their layers."""
        return tuple(self._segments)

    def hops(self) -> list[Hop]:
        """The devices in their order, each with all ranges that rows go through there.

        Raises:
            LinkLost: not every layer is held now.
        """
        found = self._hops(0)
        if not self._is_whole:
            raise LinkLost("a line is being laid")
        return [hop for _, hop in found]

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
        self._placing.afresh(self)
        self._fill()

    def begin(self) -> None:
        """Give every layer to a device that is here. Raises PoolBroken: they have no room for it."""
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
            NonFiniteLogits: of finite rows two devices made what is no number, so it is the weights.
        """
        starts = {at for at, _ in self._hops(0)}
        self._journals = {at: each for at, each in self._journals.items() if at in starts}
        try:
            return self._go(what, tokens_N, num_wanted)
        finally:
            self._at = 0

    def _go(self, what: Pass, tokens_N: Tensor, num_wanted: int) -> Tensor:
        x = self._embed(tokens_N)
        if not x.isfinite().all():
            raise NonFiniteLogits(
                "the model's own embedding of a token is not finite: check its weights"
            )
        only, blamed = None, dict[int, Device]()
        if isinstance(what, Next):
            only = tuple(sorted(each for each in self._running.live() if each < len(x))) or None
        while self._at < self.num_layers:
            hop = dict(self._hops(self._at)).get(self._at)
            if hop is None:
                self._fill()
                continue
            device, ranges = hop
            end = ranges[-1][1]
            is_end = end == self.num_layers
            trip = Trip(
                what, ranges, num_wanted if is_end else len(x), only, is_end and self._form.is_exact
            )
            try:
                found = device.through(trip, x)
            except (LinkLost, CannotHold) as error:
                if device.is_blamed:
                    first = blamed.setdefault(self._at, device)
                    if why := self._weights_at_fault(ranges, first, device):
                        first.is_blamed = device.is_blamed = False
                        raise NonFiniteLogits(why) from None
                self._mend(device, str(error))
                continue
            self._journal(self._at).note(what, tokens_N if self._at == 0 else x)
            self._at, x = end, found
        return x

    def _weights_at_fault(
        self, ranges: Sequence[Layers], first: Device, device: Device
    ) -> str | None:
        """Why rows that are no numbers are the model's own and no device's; None: they are the device's."""
        for layers in ranges:
            if name := self._original.not_finite(layers):
                return (
                    f"the model's weight {name} has what is no finite number: no device is to blame"
                )
        if first is not device:
            return f"{first.name} and {device.name} both made what is no number of the same rows: check the model's weights"
        return None

    def _hops(self, start: int) -> list[tuple[int, Hop]]:
        """From layer `start` on: where each device begins, and the ranges that it goes through at once."""
        found: list[tuple[int, Hop]] = []
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
        return self._journals.setdefault(at, Journal(self._running))

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
        """Have every layer held by somebody; how many positions were computed again for it."""
        positions = 0
        while True:
            self._segments = self._kept()
            if self._is_whole:
                return positions
            target = self._placing.after(self, self._segments)
            try:
                positions += self._become(target)
            except (LinkLost, CannotHold) as error:
                logger.warning("%s", error)

    @property
    def _is_whole(self) -> bool:
        return (
            sum(end - first for first, end in (s.layers for s in self._segments)) == self.num_layers
        )

    def _kept(self) -> list[Segment]:
        return [segment for segment in self._segments if not segment.device.is_lost]

    def _become(self, target: Sequence[Segment]) -> int:
        """Be the line that `target` says, keeping what is as it was; positions that were computed again."""
        known = {self._at, *self._journals} if self._journals else None
        wanted = cut(target, self._segments, self._at, known)
        for old in self._segments:
            if old not in wanted and not old.device.is_lost:
                old.device.drop(old.layers)
        self._segments = [segment for segment in self._segments if segment in wanted]
        positions = 0
        for hole in holes(wanted, self._segments, self._at):
            for segment in hole:
                self._give(segment)
            positions += self._rebuild(hole)
            self._segments = sorted([*self._segments, *hole], key=lambda each: each.layers)
        return positions

    def _give(self, segment: Segment) -> None:
        """Have a device hold layers; one that cannot is let go.

        Raises:
            LinkLost, CannotHold: it is lost, or has no room after all.
        """
        device, shape = segment.device, self._shape
        numbers = self._form.arithmetic
        try:
            device.hold(segment.layers, self._original, self._form.name, numbers.min_rows())
            if shape is not None:
                said = Have(
                    num_slots=shape.num_slots, length=shape.length, rows=0, layers=segment.layers
                )
                device.have(said)
        except CannotHold:
            device.close()
            raise

    def _rebuild(self, hole: Sequence[Segment]) -> int:
        """Make the cache of these segments from the journal at their beginning."""
        first, positions = hole[0].layers[0], 0
        for before, segment in itertools.pairwise(hole):
            if segment.device is not before.device:
                self._journals[segment.layers[0]] = Journal(self._running)
        if first not in self._journals:
            return 0
        for what, rows in self._journals[first].passes():
            x = self._embed(rows) if first == 0 else rows
            positions += len(rows)
            for place, segment in enumerate(hole):
                if place and segment.device is not hole[place - 1].device:
                    self._journal(segment.layers[0]).note(what, x)
                is_end = place + 1 == len(hole)
                trip = Trip(what, (segment.layers,), 0 if is_end else len(x))
                x = segment.device.through(trip, x)
        return positions
