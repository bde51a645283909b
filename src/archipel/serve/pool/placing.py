"""Which device of a pool is to hold which layers, from what each says and what was measured of it.

Parts: `Form` (how a model is computed), `Segment` (layers of one device), `Placing` (by `plan`). Embedding and head lie
at the gateway, so they take nothing of a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.serve.pool import plan as planner
from archipel.serve.pool.devices import Device, Devices
from archipel.serve.pool.plan import GATEWAY, Infeasible, Links, Plan, Shape, plan
from archipel.serve.pool.replan import replan
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

    @property
    def is_exact(self) -> bool:
        """Whether it is an exact contract, in which the head is fed integers."""
        return isinstance(self.arithmetic, ExactArithmetic)


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
        self._plan: Plan | None = None
        """Of the line alone."""

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
        return self._take(plan(self.shape, _measured(here), _links(here)), here)

    def after(self, kept: Sequence[Segment]) -> list[Segment]:
        """All layers, when only `kept` are still held: as many as possible stay where they are.

        Raises:
            PoolBroken: the devices that are here have no room for them.
        """
        before = self._plan
        if before is None or not kept:
            return self.afresh()
        here = self._devices.here()
        lost = {each.device for each in before.pipelines[0]} - {each.name for each in here}
        found = replan(before, lost, self.shape, _measured(here), _links(here))
        return self._take(found if isinstance(found, Infeasible) else found.plan, here)

    def _take(self, found: Plan | Infeasible, here: Sequence[Device]) -> list[Segment]:
        if isinstance(found, Infeasible):
            raise PoolBroken(f"{found.why}; have another device join")
        self._plan = replace(found, pipelines=found.pipelines[:1])
        by_name = {each.name: each for each in here}
        return [
            Segment(by_name[each.device], (each.first, each.last)) for each in found.pipelines[0]
        ]

    def is_better(self, than: Sequence[Segment]) -> bool:
        """Whether laying the line afresh would give a stream its tokens noticeably sooner."""
        here = self._devices.here()
        found = plan(self.shape, _measured(here), _links(here))
        if isinstance(found, Infeasible):
            return False
        return found.seconds_per_token[0] < WORTHWHILE * _token_s(than)


def _token_s(segments: Sequence[Segment]) -> float:
    """From one token of a stream to its next."""
    seconds, last = 0.0, None
    for each in segments:
        seconds += (each.layers[1] - each.layers[0]) * _layer_s(each.device)
        seconds += each.device.round_trip_s * (each.device is not last)
        last = each.device
    return seconds


def _layer_s(device: Device) -> float:
    return USUAL_S if device.layer_ns is None else max(device.layer_ns, 1) / 1e9


def _measured(here: Sequence[Device]) -> list[planner.Device]:
    return [planner.Device(each.name, each.hello.memory_bytes, _layer_s(each)) for each in here]


def _links(here: Sequence[Device]) -> Links:
    """Everything goes by way of the gateway."""
    return Links({(GATEWAY, each.name): each.round_trip_s for each in here})
