"""What a device of a pool may do to its gateway: nothing but be lost, whatever it says or does not say."""

import contextlib
import threading
import time
from typing import Any

import pytest
import torch

from archipel.engine.passing import Next
from archipel.serve.pool.devices import CannotHold, Device, Devices, Patience
from archipel.serve.pool.integers import packed_integers, unpacked_integers
from archipel.serve.pool.links import LinkLost, SocketLink, link_pair
from archipel.serve.pool.messages import (
    Fault,
    Hello,
    Message,
    Pong,
    Rows,
    Working,
    header_of,
    packed,
    unpacked,
)
from archipel.serve.pool.trips import Trip

HELLO = Hello(name="box", memory_bytes=1, threads=1, arithmetic="x")
SOON = Patience(silent_s=0.3, answer_s=1.0)
STEP = Next(torch.zeros(2, dtype=torch.int64), 0)
X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


def device(*answers: Message | tuple[Message, bytes] | None) -> tuple[Device, threading.Thread]:
    """One that says this, an answer to each question; None: nothing any more."""
    here, there = link_pair()

    def say(link: SocketLink) -> None:
        try:
            for each in answers:
                link.receive(5)
                if each is None:
                    link.receive(5)
                    return
                message, payload = each if isinstance(each, tuple) else (each, b"")
                link.send(header_of(message), payload)
            link.receive(5)
        except LinkLost:
            return
        finally:
            link.close()

    there.send(header_of(HELLO))
    found = Device(here, SOON)
    thread = threading.Thread(target=say, args=(there,), daemon=True)
    thread.start()
    return found, thread


def through(found: Device, **more: Any) -> torch.Tensor:
    return found.through(Trip(STEP, ((0, 1),), 2, **more), X)


def test_rows_come_back_as_they_were_sent() -> None:
    found, thread = device(packed(X))
    assert torch.equal(through(found), X)
    assert found.traffic.rows == 2
    found.close()
    thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        packed(X[:1]),  # too few
        packed(X[:, :3]),  # too narrow
        (Rows(dtype="float32", shape=(2, 4)), bytes(31)),  # fewer bytes than it says
        (Rows(dtype="float32", shape=(60000, 60000)), b""),  # memory by a number alone
        (Rows(dtype="int64", shape=(2, 4)), bytes(64)),  # numbers that it was not asked for
        Pong(),  # another answer
        None,  # silence
    ],
)
def test_a_device_that_answers_wrongly_or_not_at_all_is_lost_soon(answer: Any) -> None:
    found, thread = device(answer)
    began = time.monotonic()
    with pytest.raises(LinkLost, match="box is lost"):
        through(found)
    assert found.is_lost
    assert time.monotonic() - began < 4
    with pytest.raises(LinkLost, match="box is gone"):
        through(found)
    thread.join(5)
    assert not thread.is_alive()


def test_a_device_that_says_it_works_is_waited_for_but_not_for_ever() -> None:
    here, there = link_pair()
    there.send(header_of(HELLO))
    found = Device(here, SOON)
    ended = threading.Event()

    def work() -> None:
        with contextlib.suppress(LinkLost):
            while not ended.wait(0.1):
                there.send(header_of(Working()))
        there.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    began = time.monotonic()
    with pytest.raises(LinkLost, match="worked for longer than 1 s"):
        through(found)
    assert time.monotonic() - began > SOON.silent_s
    ended.set()
    thread.join(5)


def test_a_fault_is_told_and_the_link_goes_on() -> None:
    found, thread = device(Fault(why="too small"), packed(X))
    with pytest.raises(CannotHold, match="too small"):
        through(found)
    assert torch.equal(through(found), X)
    found.close()
    thread.join(5)


def test_what_is_no_hello_is_no_device() -> None:
    here, there = link_pair()
    there.send(header_of(Pong()))
    with pytest.raises(LinkLost, match="expected hello"):
        Device(here)
    there.close()


def test_only_the_rows_that_mean_something_travel() -> None:
    found, thread = device(packed(X[1:]))
    assert torch.equal(through(found, only=(1,)), X[[1, 1]])
    assert (found.traffic.rows, found.traffic.bytes_out) == (1, 16)
    found.close()
    thread.join(5)


def test_bf16_numbers_travel_as_such_and_integers_beside_their_scale() -> None:
    rows, data = packed(X.bfloat16().float())
    assert (rows.dtype, len(data)) == ("bfloat16", 16)
    assert torch.equal(unpacked(rows, data, 4, torch.float32), X.bfloat16().float())
    q, scale = torch.tensor([[-8001.0, 3, 0, 4096], [1, 2, 3, -4]]), X[:, :1]
    rows, data = packed_integers(q, scale)
    assert len(data) == 2 * (2 * 4 + 4)
    assert torch.equal(unpacked_integers(rows, data, 4), torch.cat((q, scale), dim=1))


def test_two_devices_of_one_name_are_told_apart() -> None:
    devices = Devices()
    made = [device() for _ in range(3)]
    for each, _ in made:
        devices.add(each)
    assert [each.name for each in devices.here()] == ["box", "box-2", "box-3"]
    devices.close()
    for _, thread in made:
        thread.join(6)
