"""Which device of a pool is to hold which layers, from what each says and what was measured of it.

Parts: `Form` (how a model is computed), `Segment` (layers of one device), `Placing` (by `plan`). Embedding and head lie
at the gateway, so they take nothing of a device.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.serve.pool import plan as planner
from archipel.serve.pool.devices import Device, Devices
from archipel.serve.pool.fitting import MAX_TIMES_SLOWER
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
    """Of one model over the devices that are here: lines of disjoint devices. Any thread may ask."""

    def __init__(self, original: Original, form: Form, devices: Devices) -> None:
        config, itemsize = original.config, form.arithmetic.dtype.itemsize
        largest = max(bytes_of_layer(config, i, itemsize) for i in range(config.num_layers))
        cache = -(-form.max_cache_bytes // config.num_layers)
        self.shape = Shape(config.num_layers, largest, 0, 0, cache)
        self._devices = devices
        self._lock = threading.Lock()
        self._plans: dict[object, Plan] = {}
        """Of each line, its own pipeline."""

    @property
    def layer_bytes(self) -> int:
        """What a device must give for one layer and its cache."""
        return self.shape.bytes_per_layer + self.shape.cache_bytes_per_layer

    def lines(self) -> list[Plan]:
        """A plan for each line that the devices of no line could be, best first; none that is much slower than others."""
        with self._lock:
            free = self._free(None)
            found = plan(self.shape, _measured(free), _links(free))
            if isinstance(found, Infeasible):
                return []
            known = [each.seconds_per_token[0] for each in self._plans.values()]
            most_s = MAX_TIMES_SLOWER * min(known, default=math.inf)
            return [each for each in _apart(found) if each.seconds_per_token[0] <= most_s]

    def could_be(self) -> int:
        """How many lines there would be if all devices were laid anew."""
        here = self._devices.here()
        found = plan(self.shape, _measured(here), _links(here))
        return 0 if isinstance(found, Infeasible) else len(found.pipelines)

    def why_not(self) -> str:
        """What is missing for a line on the devices of none."""
        free = self._free(None)
        found = plan(self.shape, _measured(free), _links(free))
        return _words(found) if isinstance(found, Infeasible) else "nothing is missing"

    def token_s(self, line: object) -> float:
        """From one token of a stream to its next, as this line is planned."""
        planned = self._plans.get(line)
        return math.inf if planned is None else planned.seconds_per_token[0]

    def take(self, line: object, planned: Plan) -> None:
        """The devices of this plan are this line's from now on."""
        with self._lock:
            self._plans[line] = planned

    def leave(self, line: object) -> None:
        """A line is no more: its devices are free."""
        with self._lock:
            self._plans.pop(line, None)

    def afresh(self, line: object) -> list[Segment]:
        """All layers, as it is best for one stream, on the line's own devices and those of no line.

        Raises:
            PoolBroken: these have no room for them.
        """
        with self._lock:
            here = self._free(line)
            return self._take(line, plan(self.shape, _measured(here), _links(here)), here)

    def after(self, line: object, kept: Sequence[Segment]) -> list[Segment]:
        """All layers, when only `kept` are still held: as many as possible stay where they are.

        Raises:
            PoolBroken: the line's devices and those of no line have no room for them.
        """
        with self._lock:
            here, before = self._free(line), self._plans.get(line)
            by_name = {each.name: each for each in here}
            if before is not None:
                lost = {each.device for each in before.pipelines[0]} - by_name.keys()
                if not lost:
                    return _segments(before, by_name)  # as it was planned
                if kept:
                    found = replan(before, lost, self.shape, _measured(here), _links(here))
                    whole = found if isinstance(found, Infeasible) else found.plan
                    return self._take(line, whole, here)
            return self._take(line, plan(self.shape, _measured(here), _links(here)), here)

    def is_better(self, line: object, than: Sequence[Segment]) -> bool:
        """Whether laying this line afresh would give a stream its tokens noticeably sooner."""
        with self._lock:
            here = self._free(line)
        found = plan(self.shape, _measured(here), _links(here))
        if isinstance(found, Infeasible):
            return False
        return found.seconds_per_token[0] < WORTHWHILE * token_s(than)

    def _free(self, line: object) -> list[Device]:
        """Devices of this line and of none."""
        taken = {
            each.device
            for other, planned in self._plans.items()
            if other is not line
            for each in planned.pipelines[0]
        }
        return [each for each in self._devices.here() if each.name not in taken]

    def _take(
        self, line: object, found: Plan | Infeasible, here: Sequence[Device]
    ) -> list[Segment]:
        if isinstance(found, Infeasible):
            raise PoolBroken(_words(found))
        self._plans[line] = own = _apart(found)[0]
        return _segments(own, {each.name: each for each in here})


def _apart(found: Plan) -> list[Plan]:
    """A plan for each pipeline of one."""
    parts = zip(found.pipelines, found.seconds_per_token, found.pace_s, strict=True)
    return [
        replace(found, pipelines=(p,), seconds_per_token=(s,), pace_s=(t,)) for p, s, t in parts
    ]


def _words(found: Infeasible) -> str:
    return f"{found.why}; have another device join"


def _segments(planned: Plan, by_name: Mapping[str, Device]) -> list[Segment]:
    return [Segment(by_name[each.device], (each.first, each.last)) for each in planned.pipelines[0]]


def token_s(segments: Sequence[Segment]) -> float:
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
