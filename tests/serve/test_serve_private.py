"""What a served model tells the world: nothing. Every socket call of a full session is traced, and goes to this machine."""

import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archipel import source_environment
from serve.private_session import hold
from serve.served_models import tiny_model
from serve.test_serve_adapters import tiny_adapter

pytestmark = pytest.mark.slow
LIMIT_S = 180
AUDITED = """
import os, sys
out = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
WATCHED = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.fork")
def note(event, args):
    if event.startswith(WATCHED):
        os.write(out, (event + " " + repr(args[1:] if event.startswith("socket.") else args) + "\\n").encode(errors="replace"))
sys.addaudithook(note)
from archipel.cli.archipel import run
run()
"""
STRACE = ("strace", "-f", "-qq", "-s", "256", "-e", "trace=%network", "-o")
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
FAMILIES = re.compile(r"sa_family=(\w+)")
HARMLESS = {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_UNSPEC"}
"""Of which the first two have addresses, all of which are looked at."""


class Traced:
    """Processes that are watched; what each did is in its file."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self._way = folder, way
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        trace, log = self.folder / f"{name}.trace", self.folder / f"{name}.log"
        archipel = (
            (*STRACE, str(trace), sys.executable, "-m", "archipel.cli.archipel")
            if self._way == "strace"
            else (sys.executable, "-c", AUDITED, str(trace))
        )
        environment = {"PATH": os.defpath, "HOME": str(self.folder / name), **source_environment()}
        with log.open("wb") as out:
            self.processes[name] = subprocess.Popen(
                [*archipel, "serve", *words, "--threads", "1"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def wait(self, name: str, pattern: str) -> str:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            said = (self.folder / f"{name}.log").read_text()
            if (found := re.search(pattern, said)) is not None:
                return found[1]
            assert self.processes[name].poll() is None, said
            time.sleep(0.05)
        raise AssertionError(f"{name} never said {pattern}")

    def end(self) -> dict[str, str]:
        """What each did."""
        for process in reversed(self.processes.values()):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(LIMIT_S)
        return {each: (self.folder / f"{each}.trace").read_text() for each in self.processes}


def addresses(trace: str) -> set[str]:
    """Every internet address in it: those that were dialled, bound, sent to, and those that called."""
    quoted = re.findall(r"'((?:[0-9]+\.){3}[0-9]+|[0-9a-fA-F]*:[0-9a-fA-F:.%]*)'", trace)
    return {found for pair in ADDRESS.findall(trace) for found in pair if found} | {*quoted}


def check_private(traces: dict[str, str]) -> None:
    for name, trace in traces.items():
        found = addresses(trace)
        assert "127.0.0.1" in found, f"{name}: the trace sees nothing"
        far = [each for each in found if not ipaddress.ip_address(each).is_loopback]
        assert not far, f"{name} has to do with {far}"
        assert set(FAMILIES.findall(trace)) <= HARMLESS, name
        assert "subprocess.Popen" not in trace


@pytest.fixture(params=["strace", "audit"])
def traced(request: pytest.FixtureRequest, tmp_path: Path) -> Traced:
    if request.param == "strace" and not _can_trace(tmp_path):
        pytest.skip("strace is not here, or may not trace")
    return Traced(tmp_path, request.param)


def _can_trace(folder: Path) -> bool:
    if shutil.which("strace") is None:
        return False
    found = subprocess.run([*STRACE, str(folder / "tried"), "true"], check=False, timeout=LIMIT_S)
    return found.returncode == 0


def test_a_session_with_tools_and_adapters_speaks_to_this_machine_alone(
    traced: Traced, tmp_path: Path
) -> None:
    model = tiny_model(tmp_path / "tiny")
    law = tiny_adapter(tmp_path / "law", model, 1)
    traced.start("server", str(model), "--adapter", f"law={law}", "--port", "0", "--sign")
    address = traced.wait("server", r"at (http://\S+) ")
    assert hold(address, ("tiny", "law")) == 24
    check_private(traced.end())


def test_nor_does_any_device_of_a_pool(traced: Traced, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    pool = ("pool", str(model), "--port", "0", "--pool-port", "0", "--give-gb", "0")
    traced.start("gateway", *pool, "--max-cache-gb", "0.02")
    address = traced.wait("gateway", r"at (http://\S+) ")
    where, code = (
        traced.wait("gateway", r"pool join (\S+) "),
        traced.wait("gateway", r"pool join \S+ (\S+)"),
    )
    traced.start("device", "pool", "join", where, code, "--model", str(model), "--give-gb", "0.5")
    until = time.monotonic() + LIMIT_S
    while not _is_ready(address):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert hold(address, ("tiny",), reads=False) == 8
    check_private(traced.end())


def _is_ready(address: str) -> bool:
    import httpx

    body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
    return httpx.post(f"{address}/v1/completions", json=body, trust_env=False).status_code == 200


def test_whoever_dialled_out_would_be_seen(traced: Traced, tmp_path: Path) -> None:
    said = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('192.0.2.1', 9)); s.bind(('127.0.0.1', 0))"
    trace = tmp_path / "far.trace"
    if traced._way == "strace":
        words = [*STRACE, str(trace), sys.executable, "-c", said]
    else:
        words = [sys.executable, "-c", AUDITED.replace("from archipel.cli.archipel import run\nrun()", said), str(trace)]  # fmt: skip
    subprocess.run(words, check=False, timeout=LIMIT_S, capture_output=True)
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        check_private({"far": trace.read_text()})


def test_of_all_packets_of_a_session_none_is_for_anybody_else(tmp_path: Path) -> None:
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))) or not _can_unshare():
        pytest.skip("namespaces are not to be had here")
    model = tiny_model(tmp_path / "tiny")
    law = tiny_adapter(tmp_path / "law", model, 1)
    environment = {
        "PATH": os.defpath + ":/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        **source_environment(),
    }
    tests = str(Path(__file__).parent.parent)
    environment["PYTHONPATH"] = f"{environment.get('PYTHONPATH', '')}:{tests}"
    got = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-m", "serve.packets_recorded", *map(str, (tmp_path, model, law))],
        env=environment, capture_output=True, text=True, timeout=2 * LIMIT_S, check=False, cwd=tests,
    )  # fmt: skip
    assert got.returncode == 0, got.stderr + got.stdout
    found = json.loads(got.stdout)
    assert found["answers"] == 24 + 8
    here, port = "lo 6 127.0.0.1 127.0.0.1", found["pool"].rpartition(":")[2]
    control = {"cableA 17 10.9.9.1 192.0.2.1"}
    assert {*found["seen"]} | control <= {*found["after"]}, "whatever leaves is seen"
    assert any(each.startswith(here) for each in found["seen"])
    others = {each for each in found["after"] if not each.startswith(here)} - control
    on_cable = [each.split() for each in others - {"cableA arp"}]
    assert on_cable, "the pool's"
    for words in on_cable:
        assert words[:4] == ["cableA", "6", "10.9.9.1", "10.9.9.2"], words
        assert port in words[4:], words
    assert not found["told"], "a prompt can be read on the cable"


def _can_unshare() -> bool:
    tried = ["unshare", "-Urn", "ip", "link", "add", "cable", "type", "veth", "peer", "name", "end"]
    return subprocess.run(tried, check=False, capture_output=True).returncode == 0
