"""Who of a pool holds which layers: from what was measured to pipelines of layer ranges.

Objective, aim "one": the least time per token of one stream on the first pipeline; then, over the devices left, the
most tokens per second of one stream in each further one, as far as it is no more than MAX_TIMES_SLOWER slower.
Aim "many": the most tokens per second when many streams keep every stage at work.
A device that would only slow a stream is left out. Pure: the same measurements give the same plan.
Law: if any contiguous ranges of one layer or more fit, there is a plan (`fitting.most_layers` says so exactly).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from archipel.plurals import counted
from archipel.serve.pool.fitting import MAX_EFFORT, Effort, most_layers
from archipel.serve.pool.laying import Aim, Laid, Measures
from archipel.serve.pool.search import pipelines

GATEWAY = ""
"""The gateway's name in `Links`; a device on its machine has a round trip of 0 to it."""


@dataclass(frozen=True)
class Device:
    """What was measured of one device with this model's shapes."""

    name: str
    memory_bytes: int
    """For weights and caches."""
    seconds_per_layer: float
    """For one token through one layer; more than 0."""
    seconds_head: float = 0.0
    seconds_embed: float = 0.0


@dataclass(frozen=True)
class Links:
    """Round trips in seconds, by two names in either order; devices without one of their own talk through the gateway."""

    round_trips: Mapping[tuple[str, str], float] = field(default_factory=dict)
    unknown_s: float = 0.0
    """Round trip to the gateway of a device that none is known of."""

    def one_way_s(self, one: str, other: str) -> float:
        """Half of the round trip."""
        if one == other:
            return 0.0
        known = self.round_trips.get((one, other), self.round_trips.get((other, one)))
        if known is not None:
            return known / 2
        if GATEWAY in (one, other):
            return self.unknown_s / 2
        return self.one_way_s(one, GATEWAY) + self.one_way_s(GATEWAY, other)


NO_LINKS = Links()
"""Everything on one machine."""


@dataclass(frozen=True)
class Shape:
    """What has to be held."""

    num_layers: int
    bytes_per_layer: int
    """Weights."""
    embed_bytes: int
    """On the first device of a pipeline; 0: the gateway holds it."""
    head_bytes: int
    """On the last one, final norm included; 0: the gateway holds it."""
    cache_bytes_per_layer: int
    """For the slots and the context that are wanted."""
    tied: bool = False
    """Embedding and head are one matrix, held once by a device that has both."""

    def room(self, memory_bytes: int, *, embed: bool = False, head: bool = False) -> int:
        """How many layers fit beside these ends."""
        ends = self.embed_bytes * embed + self.head_bytes * head
        if embed and head and self.tied:
            ends -= min(self.embed_bytes, self.head_bytes)
        each = self.bytes_per_layer + self.cache_bytes_per_layer
        return max(memory_bytes - ends, 0) // each


@dataclass(frozen=True)
class Range:
    """Layers first .. last - 1 on a device."""

    device: str
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


Pipeline = tuple[Range, ...]


@dataclass(frozen=True)
class Plan:
    """Pipelines of disjoint devices, best first; each covers all layers, in order."""

    pipelines: tuple[Pipeline, ...]
    seconds_per_token: tuple[float, ...]
    """Of one stream through each pipeline, wires included."""
    pace_s: tuple[float, ...]
    """Of each pipeline's slowest stage: its streams together get a token in this time."""
    spare: tuple[str, ...]
    """Devices that no pipeline is better for."""
    effort: int = 0
    """Places of pipelines that the search looked at."""


@dataclass(frozen=True)
class Infeasible:
    """No ranges fit; why, and what would."""

    why: str
    missing_bytes: int
    """How much more memory one of the devices would need at the least, for a plan to be."""
    fits_cache_bytes_per_layer: int | None
    """The most cache per layer with which it would fit; None: not even without any."""


def plan(
    shape: Shape,
    devices: Sequence[Device],
    links: Links = NO_LINKS,
    aim: Aim = "one",
    max_effort: int = MAX_EFFORT,
) -> Plan | Infeasible:
    """Which pipelines of which layer ranges.

    Raises:
        ValueError: two devices of one name, or figures that nothing could have measured.
    """
    _check(shape, devices)
    measures = measures_of(shape, devices, links)
    effort = Effort(max_effort)
    found = pipelines(measures, aim, effort)
    if not found:
        return _infeasible(shape, devices)
    return planned(found, devices, effort.spent)


def planned(found: Sequence[Laid], devices: Sequence[Device], effort: int = 0) -> Plan:
    """Numbers of devices as names, counts of layers as ranges."""
    used = {each for laid in found for each in laid.order}
    return Plan(
        tuple(ranges_of(laid, devices) for laid in found),
        tuple(laid.token_s for laid in found),
        tuple(laid.pace_s for laid in found),
        tuple(each.name for at, each in enumerate(devices) if at not in used),
        effort,
    )


def ranges_of(laid: Laid, devices: Sequence[Device]) -> Pipeline:
    """The ranges of one pipeline."""
    ranges, first = [], 0
    for number, count in zip(laid.order, laid.counts, strict=True):
        ranges.append(Range(devices[number].name, first, first + count))
        first += count
    return tuple(ranges)


def measures_of(shape: Shape, devices: Sequence[Device], links: Links | None) -> Measures:
    """What the search works on; without links it tells rooms alone."""
    names = [*(each.name for each in devices), GATEWAY] if links else []
    memory = [each.memory_bytes for each in devices]
    return Measures(
        num_layers=shape.num_layers,
        layer_s=tuple(each.seconds_per_layer for each in devices),
        embed_s=tuple(each.seconds_embed for each in devices),
        head_s=tuple(each.seconds_head for each in devices),
        first=tuple(shape.room(each, embed=True) for each in memory),
        middle=tuple(shape.room(each) for each in memory),
        last=tuple(shape.room(each, head=True) for each in memory),
        only=tuple(shape.room(each, embed=True, head=True) for each in memory),
        hop_s=tuple(
            tuple(links.one_way_s(one, other) for other in names) for one in names if links
        ),
    )


def _holds(shape: Shape, memory: Sequence[int]) -> int:
    """How many layers one pipeline of this shape could have on devices of so many bytes."""
    devices = [Device(str(at), each, 1.0) for at, each in enumerate(memory)]
    return most_layers(measures_of(shape, devices, None), range(len(devices)))


def _infeasible(shape: Shape, devices: Sequence[Device]) -> Infeasible:
    memory, each = (
        [d.memory_bytes for d in devices],
        shape.bytes_per_layer + shape.cache_bytes_per_layer,
    )
    held, missing = _holds(shape, memory), _missing(shape, memory)
    fits = _largest(
        shape.cache_bytes_per_layer - 1,
        lambda cache: (
            _holds(replace(shape, cache_bytes_per_layer=cache), memory) >= shape.num_layers
        ),
    )
    why = (
        f"the pool's {counted(len(devices), 'device')} hold {held} of {shape.num_layers} layers of "
        f"{each} bytes (weights {shape.bytes_per_layer}, cache {shape.cache_bytes_per_layer}) beside "
        f"embedding and head of {shape.embed_bytes} and {shape.head_bytes}: {missing} bytes are missing"
    )
    return Infeasible(f"{why}; {_remedy(shape, memory, fits)}", missing, fits)


def _missing(shape: Shape, memory: Sequence[int]) -> int:
    """The least that makes it fit, added to one device."""
    each = shape.bytes_per_layer + shape.cache_bytes_per_layer
    most = (
        shape.num_layers * each + shape.embed_bytes + shape.head_bytes
    )  # the whole model on one device

    def fits_at(place: int, short: int) -> bool:
        more = [bytes_ + (most - short) * (at == place) for at, bytes_ in enumerate(memory)]
        return _holds(shape, more) >= shape.num_layers

    shorts = [_largest(most, partial(fits_at, place)) or 0 for place in range(len(memory))]
    return most - max(shorts, default=0)


def _remedy(shape: Shape, memory: Sequence[int], fits: int | None) -> str:
    if fits is not None:
        share = 100 * fits / max(shape.cache_bytes_per_layer, 1)
        return (
            f"{share:.0f}% of the cache would fit ({fits} bytes per layer): "
            "take fewer slots or a shorter context, or add a device"
        )

    def fits_by(thousandths: int) -> bool:
        sizes = {
            name: getattr(shape, name) * thousandths // 1000
            for name in ("bytes_per_layer", "embed_bytes", "head_bytes")
        }
        smaller = replace(shape, **sizes | {"bytes_per_layer": max(sizes["bytes_per_layer"], 1)})
        return _holds(smaller, memory) >= shape.num_layers

    thousandths = _largest(999, fits_by)
    if thousandths is None:
        return "no smaller weights would fit beside such caches: add a device"
    return (
        f"weights of {thousandths / 10:.0f}% of this size would fit (int8 or int4), or add a device"
    )


def _largest(most: int, fits: Callable[[int], bool]) -> int | None:
    """The largest of 0 .. most that fits, if what is less than one that fits does so too."""
    if most < 0 or not fits(0):
        return None
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _check(shape: Shape, devices: Sequence[Device]) -> None:
    sizes = (shape.embed_bytes, shape.head_bytes, shape.cache_bytes_per_layer)
    if shape.num_layers < 1 or shape.bytes_per_layer < 1 or min(sizes) < 0:
        raise ValueError(f"a model has layers of some bytes; got {shape}")
    names = [each.name for each in devices]
    if GATEWAY in names or len(set(names)) < len(names):
        raise ValueError(f"every device needs a name of its own; got {names}")
    for each in devices:
        took = (each.seconds_per_layer, each.seconds_head, each.seconds_embed)
        if not all(math.isfinite(s) and s >= 0 for s in took) or each.seconds_per_layer <= 0:
            raise ValueError(f"a layer takes more than 0 seconds, and an end not less; got {each}")
