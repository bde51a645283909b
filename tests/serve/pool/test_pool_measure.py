"""What is measured of a device grows with the work, is bounded in time and memory, and needs no weights."""

import threading
import time
from collections.abc import Callable

import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.serve.pool import measure
from archipel.serve.pool.links import LinkLost, SocketLink, link_pair
from archipel.serve.pool.measure import CannotMeasure, Task, answer_ping, measure_device, ping


def shape(hidden: int, layers: int = 4) -> DecoderConfig:
    return DecoderConfig(
        family="llama",
        vocab_size=20_000,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=hidden // 32,
        num_kv_heads=hidden // 64,
        head_dim=32,
        intermediate_size=2 * hidden,
        max_position_embeddings=256,
        eos_token_ids=(19_999,),
    )


def own_seconds(call: Callable[[], object]) -> float:
    """Of this thread, whatever else the machine does; a bit, so that a fast clock never stands still."""
    began = time.thread_time()
    call()
    return time.thread_time() - began + 1e-9


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_MOST_LAYERS", 3)
    monkeypatch.setattr(measure, "_seconds", own_seconds)
    torch.set_num_threads(1)


def test_more_work_takes_longer_and_all_of_it_is_told() -> None:
    told: list[tuple[float, str]] = []
    took = [
        measure_device(
            shape(hidden), Task(2, 32, 64), limit_s=0.2, progress=lambda *it: told.append(it)
        )
        for hidden in (64, 512)
    ]
    small, large = took
    assert 0 < small.seconds_per_layer < large.seconds_per_layer
    assert min(small.prompt_seconds_per_layer, large.prompt_seconds_per_layer) > 0
    assert 0 < small.seconds_head < large.seconds_head
    assert [share for share, _ in told] == [0.0, 0.6, 0.9, 1.0] * 2


def test_a_device_without_room_says_so_before_it_allocates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "free_bytes", lambda: 10_000)
    with pytest.raises(CannotMeasure, match="half of what is free here is 5000"):
        measure_device(shape(64))


@pytest.fixture
def far() -> tuple[SocketLink, float]:
    """A link whose other end answers after a while."""
    one, other = link_pair()
    delay_s = 0.02

    def answer() -> None:
        with other:
            try:
                while True:
                    header, _ = other.receive(10)
                    time.sleep(delay_s)
                    if not answer_ping(other, header):
                        other.send({"what": "is that"})
            except LinkLost:
                return

    threading.Thread(target=answer, daemon=True).start()
    return one, delay_s


def test_a_round_trip_is_measured_over_the_link_itself(
    far: tuple[SocketLink, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    link, delay_s = far
    with link:
        assert delay_s <= ping(link, limit_s=5.0)


def test_another_answer_is_no_round_trip() -> None:
    one, other = link_pair()
    with one, other:
        other.send({"pong": 7})
        with pytest.raises(LinkLost, match="expected the answer to ping 0"):
            ping(one, 0.1)
    assert not answer_ping(one, {"ping": "x"})
    assert not answer_ping(one, {"pong": 1})
