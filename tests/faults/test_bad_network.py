"""The relay of `make faults` spoils what passes it, and then has enough."""

import socket
import threading
from contextlib import suppress

import pytest

from faults.proxy import BadNetwork

KEPT_SMALL = 400


@pytest.mark.parametrize("kind", ["cut", "garble", "repeat", "drip"])
def test_a_bad_network_spoils_and_then_has_enough(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.proxy.SPOILT_SHARE", 1.0)
    monkeypatch.setattr("faults.proxy.FARTHEST_BYTE", KEPT_SMALL)
    with socket.create_server(("127.0.0.1", 0)) as echo:
        threading.Thread(target=_echo, args=(echo, 3), daemon=True).start()
        network = BadNetwork(echo.getsockname()[1], "seed", 1, {kind: 1})
        network.open()
        sent = bytes(range(250)) * 4
        got = [_told(network.port, sent) for _ in range(3)]
        network.close()
    assert network.faults.total() == 1
    assert (got[0] != sent) == (kind != "drip")
    assert got[1:] == [sent, sent]


def _echo(server: socket.socket, times: int) -> None:
    for _ in range(times):
        connection, _ = server.accept()
        with connection, suppress(ConnectionError):  # a cut may reach this end as a reset
            connection.settimeout(10.0)
            while data := connection.recv(65536):
                connection.sendall(data)


def _told(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as connection:
        connection.sendall(data)
        connection.settimeout(1.0)
        got = b""
        try:
            while len(got) < len(data) and (more := connection.recv(65536)):
                got += more
        except (TimeoutError, ConnectionError):
            pass
        return got
