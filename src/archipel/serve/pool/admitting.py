"""What a device that joins is worth, measured with the model's own first layer before anything is planned with it.

A round trip is the median of a few small messages; a layer's time that of decode steps through one layer, without the
round trip. Of the steps the quicker ones count: what else a device does meanwhile comes and goes. All of it takes a
fraction of a second, or the device is let go.
"""

import time
from collections.abc import Callable

import torch

from archipel.engine.passing import Next
from archipel.serve.pool.devices import USUAL, CannotHold, Device, Patience, Trip
from archipel.serve.pool.links import Link, LinkLost
from archipel.serve.pool.measure import round_trip_s
from archipel.serve.pool.messages import Have
from archipel.serve.pool.placing import Form
from archipel.serve.pool.weights import Original

PINGS = 7
STEPS = 25
LIMIT_S = 1.0
"""For the steps."""
LENGTH = 128
FIRST = (0, 1)


def admitted(link: Link, original: Original, form: Form, patience: Patience = USUAL) -> Device:
    """A device that has said hello and was measured.

    Raises:
        LinkLost: it did not answer, or has no room for a single layer.
    """
    device = Device(link, patience)
    try:
        device.round_trip_s = round_trip_s(device.ping, PINGS)
        rows = form.arithmetic.min_rows()
        device.hold(FIRST, original, form.name, rows)
        device.have(Have(num_slots=rows, length=LENGTH, rows=0, layers=FIRST))
        x = torch.zeros(rows, original.config.hidden_size, dtype=form.arithmetic.dtype)
        x[:, 0] = 1
        trip = Trip(Next(torch.zeros(rows, dtype=torch.int64), 0), (FIRST,), rows)
        took = _quicker_s(lambda: device.through(trip, x))
        device.layer_ns = max(1, round(1e9 * (took - device.round_trip_s)))
        device.drop(FIRST)
    except CannotHold as error:
        device.close()
        raise LinkLost(f"{error}; have it give more memory") from None
    device.traffic.clear()
    return device


def _quicker_s(do: Callable[[], object]) -> float:
    """Seconds that a quarter of the times stay below."""
    taken: list[float] = []
    until = time.monotonic() + LIMIT_S
    while len(taken) < STEPS and (not taken or time.monotonic() < until):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 4]
