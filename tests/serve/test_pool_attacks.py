"""A paired device that means harm, to its gateway, and a gateway that means harm, to its devices: neither gets more than was asked."""

import json
import threading
from pathlib import Path

import pytest

from archipel.blobs.store import BlobStore
from archipel.records.canonical import sha256_digest
from archipel.serve.pool.devices import Device, Patience
from archipel.serve.pool.links import LinkLost, SocketLink, link_pair
from archipel.serve.pool.messages import Fault, Held, Hello, Hold, Weight, header_of, message_of
from archipel.serve.pool.stage import Gift, Stage
from archipel.serve.pool.weights import Copies, Original
from serve.served_models import tiny_model

HELLO = Hello(name="box", memory_bytes=1, threads=1, arithmetic="x")
ROOM = 1 << 30


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tiny_model(tmp_path_factory.mktemp("pool") / "tiny"))


def held(original: Original, weights: dict[str, str], copies: Copies) -> Stage:
    stage = Stage(Gift("box", ROOM), copies)
    asked = Hold(layers=(0, 1), numbers="float32", min_rows=1)
    said = {"config": original.config.to_hf(), "weights": weights}
    stage.answer(asked, json.dumps(said).encode())
    return stage


def hearing(
    answers: list[Held], answer_s: float = 5.0
) -> tuple[Device, threading.Thread, list[int]]:
    """A device that gives these answers to `hold`; how many frames of weights it was sent."""
    here, there = link_pair()
    there.send(header_of(HELLO))
    device, got = Device(here, Patience(silent_s=1.0, answer_s=answer_s)), [0]

    def say(link: SocketLink) -> None:
        try:
            while True:
                header, _ = link.receive(5)
                if header["say"] == "hold":
                    link.send(header_of(answers.pop(0)))
                elif header["say"] == "weight":
                    got[0] += 1
        except LinkLost:
            pass
        finally:
            link.close()

    thread = threading.Thread(target=say, args=(there,), daemon=True)
    thread.start()
    return device, thread, got


def test_a_device_that_misses_a_weight_many_times_is_sent_nothing(original: Original) -> None:
    name = next(iter(original.digests((0, 1))))
    device, thread, got = hearing([Held(missing=(name,) * 1000)])
    with pytest.raises(LinkLost, match="twice"):
        device.hold((0, 1), original, "float32", 1)
    thread.join(5)
    assert got == [0]
    assert device.is_lost


def test_a_device_that_names_what_it_misses_one_at_a_time_is_lost(original: Original) -> None:
    first, second = list(original.digests((0, 1)))[:2]
    device, thread, got = hearing([Held(missing=(first,)), Held(missing=(second,))])
    with pytest.raises(LinkLost, match="more weights than it said"):
        device.hold((0, 1), original, "float32", 1)
    thread.join(5)
    assert got == [1]
    assert device.is_lost


def test_a_device_that_takes_its_weights_too_slowly_is_lost(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(iter(original.digests((0, 1))))
    monkeypatch.setattr("archipel.serve.pool.devices.LEAST_BYTES_PER_S", 1e12)
    device, thread, _ = hearing([Held(missing=(name,)), Held()], answer_s=0.0)
    with pytest.raises(LinkLost, match="too slowly"):
        device.hold((0, 1), original, "float32", 1)
    thread.join(5)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "", "\x9b1m"])
def test_a_name_with_a_terminals_commands_is_no_name(name: str) -> None:
    said = header_of(HELLO) | {"name": name}
    with pytest.raises(LinkLost) as caught:
        message_of(said)
    assert str(caught.value).isprintable()


def test_what_a_device_says_reaches_no_screen_unescaped() -> None:
    with pytest.raises(LinkLost) as caught:
        message_of(header_of(Fault(why="x")) | {"\x1b[2J": 1})
    assert str(caught.value).isprintable()


def test_a_device_takes_no_weight_that_it_does_not_miss(original: Original, tmp_path: Path) -> None:
    copies = Copies(None, BlobStore(tmp_path))
    stage = held(original, dict(original.digests((0, 1))), copies)
    foreign = b"x" * 100
    for size in (100, 1 << 31):
        with pytest.raises(LinkLost, match="not missing"):
            stage.answer(Weight(digest=sha256_digest(foreign), size=size, start=0), foreign)
    name, digest = next(iter(original.digests((0, 1)).items()))
    start, size, part = next(original.parts(name))
    with pytest.raises(LinkLost, match="not missing"):
        stage.answer(Weight(digest=digest, size=size + 2, start=0), b"xx")
    stage.answer(Weight(digest=digest, size=size, start=start), bytes(part))
    assert len(raw_of(original, name)) == size
    with pytest.raises(LinkLost, match="bytes from 7 on"):
        stage.answer(Weight(digest=digest, size=size, start=7), b"x")


def raw_of(original: Original, name: str) -> bytes:
    return b"".join(bytes(part) for _, _, part in original.parts(name))


def test_a_device_is_asked_to_hold_the_weights_of_its_layers_and_no_others(
    original: Original,
) -> None:
    weights = dict(original.digests((0, 1)))
    some = dict(list(weights.items())[1:])
    for wrong in (some, weights | {"lm_head.weight": sha256_digest(b"")}, {}):
        with pytest.raises(LinkLost, match="are not those of layers"):
            held(original, wrong, Copies(original.path, None))
