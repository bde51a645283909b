"""What a device that joins is worth, measured with the model's own first layer before anything is planned with it.

A round trip is the median of a few small messages; a layer's time that of decode steps through one layer, without the
round trip. Of the steps the quicker ones count: what else a device does meanwhile comes and goes. Once the layer is
there, measuring takes two seconds at most.
"""

import time
from collections.abc import Callable
from statistics import median

import torch

from archipel.engine.passing import Next
from archipel.serve.pool.devices import USUAL, CannotHold, Device, Patience
from archipel.serve.pool.links import Link, LinkLost
from archipel.serve.pool.messages import Have
from archipel.serve.pool.placing import Form
from archipel.serve.pool.trips import Trip
from archipel.serve.pool.weights import Original

PINGS = 7
STEPS = 25
LIMIT_S = 1.0
"""For the messages, and for the steps."""
LENGTH = 128
FIRST = (0, 1)


def admitted(link: Link, original: Original, form: Form, patience: Patience = USUAL) -> Device:
    """A device that has said hello and was measured.

    Raises:
        LinkLost: it did not answer in time, or has no room for a single layer.
    """
    device = Device(link, patience)
    try:
        device.round_trip_s = median(taken_s(device.ping, PINGS))
        rows = form.arithmetic.min_rows()
        device.hold(FIRST, original, form.name, rows)
        device.have(Have(num_slots=rows, length=LENGTH, rows=0, layers=FIRST))
        x = torch.zeros(rows, original.config.hidden_size, dtype=form.arithmetic.dtype)
        x[:, 0] = 1
        trip = Trip(Next(torch.zeros(rows, dtype=torch.int64), 0), (FIRST,), rows)
        steps_s = sorted(taken_s(lambda: device.through(trip, x), STEPS))
        took = steps_s[len(steps_s) // 4]
        device.layer_ns = max(1, round(1e9 * (took - device.round_trip_s)))
        device.drop(FIRST)
    except CannotHold as error:
        device.close()
        raise LinkLost(f"{error}; have it give more memory") from None
    device.traffic.clear()
    return device


def taken_s(do: Callable[[], object], times: int, limit_s: float = LIMIT_S) -> list[float]:
    """Seconds that each of so many times took: once at least, and as often as `limit_s` allows."""
    taken: list[float] = []
    until = time.monotonic() + limit_s
    while len(taken) < times and (not taken or time.monotonic() < until):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return taken
