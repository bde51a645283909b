"""A process that went offline dials nobody, is still reached by what it listened on, and cannot go back."""

import json
import os
import subprocess
import sys

import pytest

from archipel import source_environment

SCRIPT = """
import json, os, socket, threading
from archipel.work.sandbox.offline import StillOnline, go_offline
listener = socket.create_server(("127.0.0.1", 0))
found = go_offline()
print(json.dumps([listener.getsockname()[1], found.namespace, found.interfaces, found.refused]), flush=True)
def tried(act):
    try:
        act()
    except OSError as error:
        return str(error.strerror)
    return "done"
port = listener.getsockname()[1]
said = [tried(lambda: socket.create_connection(("127.0.0.1", port), 2))]
back = os.open("/proc/1/ns/net", os.O_RDONLY) if os.access("/proc/1/ns/net", os.R_OK) else os.open("/proc/self/ns/net", os.O_RDONLY)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
said.append(libc.setns(back, 0x40000000))
line, _ = listener.accept()
line.sendall(json.dumps(said).encode())
"""


def test_it_dials_nobody_is_reached_and_cannot_go_back() -> None:
    import socket

    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.defpath, **source_environment()},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.skip("namespaces are not to be had here")
        port, namespace, interfaces, refused = json.loads(line)
        assert namespace != os.readlink("/proc/self/ns/net")  # noqa: PTH115
        assert interfaces == ["lo"]
        assert "unreachable" in refused
        with socket.create_connection(("127.0.0.1", port), 10) as reached:
            dialled, went_back = json.loads(reached.makefile().read())
        assert "unreachable" in dialled, "not even to the address that it listens on"
        assert went_back == -1
