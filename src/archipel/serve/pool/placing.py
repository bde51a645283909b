"""Which device of a pool is to hold which layers, from what each says and what was measured of it.

Parts: `Form` (how a model is computed), `Segment` (layers of one device), `Placing` (by `plan`). Embedding and head lie
at the gateway, so they take nothing of a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.engine.arithmetic import Arithmetic
from archipel.serve.pool import plan as planner
from archipel.serve.pool.devices import Device, Devices
from archipel.serve.pool.plan import GATEWAY, Infeasible, Links, Pipeline, Plan, Shape, plan
from archipel.serve.pool.spread import Room, patch
from archipel.serve.pool.weights import Layers, Original, bytes_of_layer

USUAL_S = 0.001
"""Of a layer, where nobody has measured."""


WORTHWHILE = 0.9
"""A line is laid afresh where a token takes at most this share of its time."""


class PoolBroken(RuntimeError):
    """The devices that are here cannot hold the model."""


@dataclass(frozen=True)
class Form:
    """How the model is computed."""

    name: str
    """"float32", "bfloat16" or a variant of the exact contract."""
    arithmetic: Arithmetic
    max_cache_bytes: int
    """Over all layers."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Layers of one device."""

    device: Device
    layers: Layers


class Placing:
    """Of one model over the devices that are here."""

    def __init__(self, original: Original, form: Form, devices: Devices) -> None:
        config, itemsize = original.config, form.arithmetic.dtype.itemsize
        largest = max(bytes_of_layer(config, i, itemsize) for i in range(config.num_layers))
        cache = -(-form.max_cache_bytes // config.num_layers)
        self.shape = Shape(config.num_layers, largest, 0, 0, cache)
        self._devices = devices

    @property
    def layer_bytes(self) -> int:
        """What a device must give for one layer and its cache."""
        return self.shape.bytes_per_layer + self.shape.cache_bytes_per_layer

    def afresh(self) -> list[Segment]:
        """All layers, as it is best for one stream.

        Raises:
            PoolBroken: the devices that are here have no room for them.
        """
        here = self._devices.here()
        found = self.planned(here)
        if isinstance(found, Infeasible):
            raise PoolBroken(f"{found.why}; have another device join")
        return self._segments(found.pipelines[0], here)

    def after(self, kept: Sequence[Segment]) -> list[Segment]:
        """All layers, when only `kept` are still held: as many as possible stay where they are.

        Raises:
            PoolBroken: the devices that are here have no room for them.
        """
        if not kept:
            return self.afresh()
        here = self._devices.here()
        found = list(kept)
        for hole in _holes(kept, self.shape.num_layers):
            found += self._patched(hole, found, here)
        return sorted(found, key=lambda segment: segment.layers)

    def _patched(
        self, hole: Layers, kept: Sequence[Segment], here: Sequence[Device]
    ) -> list[Segment]:
        rooms = []
        for device in here:
            used = sum(s.layers[1] - s.layers[0] for s in kept if s.device is device)
            room = max(0, self.shape.room(device.hello.memory_bytes) - used)
            rooms.append(Room(room, device.layer_ns or round(USUAL_S * 1e9)))

        def holder(layer: int) -> int | None:
            found = [s.device for s in kept if s.layers[0] <= layer < s.layers[1]]
            return here.index(found[0]) if found and found[0] in here else None

        found = patch(hole, holder(hole[0] - 1), holder(hole[1]), rooms)
        if found is None:
            gives = ", ".join(f"{each.name} {each.hello.memory_bytes}" for each in here)
            raise PoolBroken(
                f"{hole[1] - hole[0]} layers need {(hole[1] - hole[0]) * self.layer_bytes} bytes with their cache, which "
                f"the devices of the pool do not have left ({gives}); have another device join"
            )
        return [Segment(here[each], (first, end)) for each, first, end in found]

    def is_better(self, than: Sequence[Segment]) -> bool:
        """Whether laying the line afresh would give a stream its tokens noticeably sooner."""
        try:
            return _token_s(self.afresh()) < WORTHWHILE * _token_s(than)
        except PoolBroken:
            return False

    def planned(self, here: Sequence[Device]) -> Plan | Infeasible:
        """What is best with these."""
        return plan(self.shape, [_measured(each) for each in here], _links(here))

    def _segments(self, pipeline: Pipeline, here: Sequence[Device]) -> list[Segment]:
        by_name = {each.name: each for each in here}
        return [Segment(by_name[each.device], (each.first, each.last)) for each in pipeline]


def _holes(kept: Sequence[Segment], num_layers: int) -> list[Layers]:
    edges = [*sorted(segment.layers for segment in kept), (num_layers, num_layers)]
    found, at = [], 0
    for first, end in edges:
        if at < first:
            found.append((at, first))
        at = end
    return found


def _token_s(segments: Sequence[Segment]) -> float:
    """From one token of a stream to its next."""
    seconds, last = 0.0, None
    for each in segments:
        seconds += (each.layers[1] - each.layers[0]) * _measured(each.device).seconds_per_layer
        seconds += each.device.round_trip_s * (each.device is not last)
        last = each.device
    return seconds


def _measured(device: Device) -> planner.Device:
    ns = device.layer_ns
    return planner.Device(
        device.name, device.hello.memory_bytes, USUAL_S if ns is None else max(ns, 1) / 1e9
    )


def _links(here: Sequence[Device]) -> Links:
    """Everything goes by way of the gateway."""
    return Links({(GATEWAY, each.name): each.round_trip_s for each in here})
