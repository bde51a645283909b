"""What one device says to another arrives whole, or the link is lost in time."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.serve.pool.links import Bounds, LinkLost, LinkQuiet, SocketLink, link_pair
from archipel.serve.pool.tls import accept, connect, connect_unpaired
from serve.pool.linked import device, port_of

SMALL = Bounds(header_bytes=64, payload_bytes=1000, send_s=0.2)


def echo(link: SocketLink) -> None:
    with link:
        while True:
            link.send(*link.receive(10))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets that know each other."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def pair() -> Iterator[tuple[SocketLink, SocketLink]]:
    one, other = link_pair()
    with one, other:
        yield one, other


Ends = tuple[socket.socket, socket.socket]
Pair = tuple[SocketLink, SocketLink]


def test_frames_arrive_as_they_were_sent(pair: Pair) -> None:
    one, other = pair
    frames = [({"n": 1}, b""), ({"text": "é", "deep": [{"a": None}]}, b"x" * 70_000), ({}, b"\0")]
    for header, payload in frames:
        threading.Thread(target=one.send, args=(header, payload)).start()
        assert other.receive(5) == (header, payload)
    one.close()
    with pytest.raises(LinkLost, match="closed the link"):
        other.receive(5)


def test_a_quiet_link_may_be_waited_on_again_and_half_a_frame_may_not(ends: Ends) -> None:
    ours, theirs = ends
    link = SocketLink(ours)
    with pytest.raises(LinkQuiet):
        link.receive(0.01)
    theirs.sendall(b"\0\0\0\2\0\0\0\0{}")
    assert link.receive(5) == ({}, b"")
    theirs.sendall(b"\0\0\0\2\0\0\0\0{")
    began = time.monotonic()
    with pytest.raises(LinkLost, match="too long over one frame") as lost:
        link.receive(0.05)
    assert not isinstance(lost.value, LinkQuiet)
    assert time.monotonic() - began < 2
    with pytest.raises(LinkLost, match="closed"):
        link.receive(5)


def test_bytes_that_drip_do_not_extend_the_deadline(ends: Ends) -> None:
    ours, theirs = ends
    link = SocketLink(ours)
    stop = threading.Event()

    def drip() -> None:
        for byte in b"\0\0\0\x40\0\0\0\0" + b" " * 64:
            if stop.wait(0.02):
                return
            theirs.send(bytes([byte]))

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(LinkLost, match="too long"):
        link.receive(0.15)
    stop.set()
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\0\0\0\0\0\0\0\0", "header"),
        (b"\0\0\0\x41\0\0\0\0", "header"),
        (b"\0\0\0\2\xff\xff\xff\xff", "payload"),
        (b"\0\0\0\2\0\0\0\0[]", "no object"),
        (b"\0\0\0\3\0\0\0\0{ }", "canonical"),
        (b"\0\0\0\2\0\0\0\0\xff\xff", "none"),
    ],
)
def test_what_is_no_frame_loses_the_link_before_anything_is_read_for_it(
    ends: Ends, sent: bytes, why: str
) -> None:
    ours, theirs = ends
    theirs.sendall(sent)
    link = SocketLink(ours, SMALL)
    with pytest.raises(LinkLost, match=why):
        link.receive(5)
    assert theirs.recv(1) == b""


def test_what_is_beyond_the_bounds_is_not_sent_at_all(ends: Ends) -> None:
    one, other = (SocketLink(each, SMALL) for each in ends)
    with pytest.raises(ValueError, match="at most 1000"):
        one.send({}, b"x" * 1001)
    with pytest.raises(ValueError, match="1 to 64"):
        one.send({"long": "x" * 64})
    one.send({"ok": 1})
    assert other.receive(1) == ({"ok": 1}, b"")


def test_whoever_reads_nothing_holds_a_sender_up_no_longer_than_is_said(ends: Ends) -> None:
    one = SocketLink(ends[0], Bounds(send_s=0.1))
    began = time.monotonic()
    with pytest.raises(LinkLost, match="too long"):
        one.send({}, b"x" * 8_000_000)
    assert time.monotonic() - began < 2


def test_closing_wakes_whoever_waits(pair: Pair) -> None:
    one, _ = pair
    threading.Timer(0.05, one.close).start()
    began = time.monotonic()
    with pytest.raises(LinkLost) as lost:
        one.receive(30)
    assert not isinstance(lost.value, LinkQuiet)
    assert time.monotonic() - began < 5


def test_a_link_carries_both_ways_at_once_encrypted(tmp_path: Path) -> None:
    gateway, stage = device(tmp_path, "gateway"), device(tmp_path, "stage")
    payload = bytes(range(256)) * 4096
    with port_of(lambda it: echo(accept(it, stage, [gateway.der]))) as address:
        link = connect(address, stage.der, gateway)
        assert link.certificate == stage.der

        def send() -> None:
            for n in range(8):
                link.send({"n": n}, payload)

        threading.Thread(target=send).start()
        for n in range(8):
            assert link.receive(20) == ({"n": n}, payload)
        link.close()


def test_the_callers_certificate_is_known(tmp_path: Path) -> None:
    gateway, stage = device(tmp_path, "gateway"), device(tmp_path, "stage")
    met: list[bytes] = []

    def answer(connected: socket.socket) -> None:
        link = accept(connected, stage, [gateway.der])
        with link:
            met.append(link.certificate)
            link.send({"done": True})

    with port_of(answer) as address:
        with connect(address, stage.der, gateway) as link:
            assert link.receive(5) == ({"done": True}, b"")
        with connect_unpaired(address, lambda shown: shown == stage.der) as link:
            assert link.receive(5) == ({"done": True}, b"")
    assert met == [gateway.der, b""]


def test_a_stranger_gets_no_link(tmp_path: Path) -> None:
    gateway, stage, stranger = (device(tmp_path, name) for name in ("gateway", "stage", "stranger"))
    with (
        port_of(lambda it: echo(accept(it, stage, [gateway.der]))) as address,
        pytest.raises(LinkLost, match="does not know this device"),
    ):
        connect(address, stage.der, stranger)


def test_whoever_answers_in_anothers_place_gets_no_link(tmp_path: Path) -> None:
    gateway, stage, liar = (device(tmp_path, name) for name in ("gateway", "stage", "liar"))
    with port_of(lambda it: echo(accept(it, liar, [gateway.der]))) as address:
        with pytest.raises(LinkLost, match="another device answers"):
            connect(address, stage.der, gateway)
        with pytest.raises(LinkLost, match="another device answers"):
            connect_unpaired(address, lambda shown: shown == stage.der)


def test_tls_below_1_3_is_refused(tmp_path: Path) -> None:
    gateway, stage = device(tmp_path, "gateway"), device(tmp_path, "stage")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        port_of(lambda it: echo(accept(it, stage, [gateway.der]))) as address,
        socket.create_connection(address, timeout=5) as connected,
        pytest.raises(ssl.SSLError, match=r"(?i)version"),
    ):
        old.wrap_socket(connected)


def test_a_handshake_that_drips_ends_in_time(ends: Ends, tmp_path: Path) -> None:
    stage = device(tmp_path, "stage")
    ours, theirs = ends
    theirs.sendall(b"\x16\x03\x01")
    began = time.monotonic()
    with pytest.raises(LinkLost, match="handshake in time"):
        accept(ours, stage, [], limit_s=0.1)
    assert time.monotonic() - began < 2
    assert theirs.recv(1) == b""


def test_nobody_there_is_a_sentence(tmp_path: Path) -> None:
    gateway = device(tmp_path, "gateway")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()[:2]
    with pytest.raises(LinkLost, match=f"nobody answers at 127.0.0.1:{address[1]}"):
        connect(address, gateway.der, gateway)
