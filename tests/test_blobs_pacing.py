"""A limit on what is sent holds over all that send, and what a line gives is seen in times of sending."""

import pytest

from archipel.blobs.pacing import BURST_S, LEAST_SPELL_S, Meter, Pacer


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_whoever_sends_waits_for_all_that_were_there_before() -> None:
    clock = Clock()
    pacer = Pacer(1000, clock)
    waits = [pacer.due_s(500) for _ in range(4)]
    assert waits == pytest.approx([0.5 - BURST_S + 0.5 * each for each in range(4)])
    clock.now_s += 2.0
    assert pacer.due_s(1000) <= 1.0
    clock.now_s += 3600.0
    assert pacer.due_s(1000) == pytest.approx(1.0 - BURST_S), "an hour's silence is no hour's burst"
    assert Pacer(None, clock).due_s(10**12) == 0.0


def test_a_line_is_measured_while_something_is_always_on_its_way() -> None:
    clock = Clock()
    meter = Meter(clock)
    with meter.sending():
        meter.count(10**6)
        clock.now_s += LEAST_SPELL_S / 2
    assert meter.best is None, "half a second says more about buffers"
    with meter.sending():
        clock.now_s += 1.0
        with meter.sending():
            meter.count(3 * 10**6)
            clock.now_s += 1.0
        meter.count(10**6)
    clock.now_s += 3600.0
    assert meter.best == 2 * 10**6
    with meter.sending():
        meter.count(10**6)
        clock.now_s += 10.0
    assert meter.best == 2 * 10**6, "somebody with a slow line says nothing of ours"
    assert meter.sent == 6 * 10**6
