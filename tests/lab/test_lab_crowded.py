"""A real lab that may open few files, and connections that say nothing: whoever calls from elsewhere is answered."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from archipel import source_environment

FEW = 64
"""Descriptors of the lab."""
START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 5.0


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port and its log; more connections wait there than it may have descriptors."""
    said, url = tmp_path / "said", tmp_path / "lab" / "url"
    start = [sys.executable, "-m", "archipel.cli.archipel", "lab", "start", "--port", "0"]
    with said.open("wb") as log, ExitStack() as held:
        lab = subprocess.Popen(
            [*start, "--home", str(tmp_path / "lab")],
            stdout=log,
            stderr=log,
            env={"PATH": os.defpath, **source_environment()},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW)),
        )
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not url.is_file() or not _answers(_port(url), "127.0.0.1"):
                assert lab.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.05)
            for _ in range(FEW + 40):
                idle = held.enter_context(socket.socket())
                idle.settimeout(ANSWER_LIMIT_S)
                idle.connect(("127.0.0.1", _port(url)))
            yield _port(url), said
        finally:
            lab.terminate()
            lab.wait(START_LIMIT_S)


def _port(url: Path) -> int:
    return int(url.read_text().rsplit(":", 1)[1])


def _answers(port: int, source: str) -> bool:
    """Whether the lab answers a call from that address of this machine."""
    call = HTTPConnection("127.0.0.1", port, ANSWER_LIMIT_S, (source, 0))
    try:
        call.request("GET", "/healthz")
        return call.getresponse().status == 200
    except OSError:
        return False
    finally:
        call.close()


@pytest.mark.skipif(
    sys.platform != "linux", reason="a machine has the addresses 127.0.0.* on Linux"
)
def test_a_crowd_that_says_nothing_silences_no_other_address_and_fills_no_log(
    crowded: tuple[int, Path],
) -> None:
    port, said = crowded
    assert all(_answers(port, "127.0.0.2") for _ in range(5))
    assert not _answers(port, "127.0.0.1"), "the crowd's own address has had its share"
    assert "Traceback" not in said.read_text()
