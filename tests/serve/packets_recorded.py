"""Run in a network namespace of its own: two machines joined by a cable, a session between and on them, all packets written down.

Machine A has a gateway, a server with an adapter, and the client; machine B holds a pool's layers. Each one's way to
everywhere else is the cable, so whatever leaves is seen there. Prints what was seen as JSON. Arguments: a folder, a
model, an adapter.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from archipel import source_environment
from serve.private_session import SECRET, hold

A, B = "10.9.9.1", "10.9.9.2"
NOWHERE = "192.0.2.1"
ALL, IPV4, ARP = 0x0003, 0x0800, 0x0806
TCP = 6
LIMIT_S = 120


def call(*words: str) -> None:
    subprocess.run(words, check=True, timeout=LIMIT_S)


def quiet() -> None:
    """The kernel itself says nothing of its own accord: no IPv6 discovery on the cable."""
    for where in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{where}/disable_ipv6").write_text("1")


class Recorder:
    """Packets on every interface."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.payloads: list[bytes] = []
        """On the cable."""
        self._line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        self._line.settimeout(0.2)
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**24)
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._is_done.set()
        self._thread.join(LIMIT_S)

    def _run(self) -> None:
        while True:
            try:
                packet, where = self._line.recvfrom(65_536)
            except TimeoutError:
                if self._is_done.is_set():
                    return
                continue
            name, kind = where[0], where[1]
            self.seen[f"{name} {_words(kind, packet)}"] += 1
            if name != "lo":
                self.payloads.append(packet)


def _words(kind: int, packet: bytes) -> str:
    if kind == ARP:
        return "arp"
    if kind != IPV4:
        return f"kind {kind:04x}"
    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (26, 30))
    header, protocol = (packet[14] & 15) * 4, packet[23]
    ports = struct.unpack("!HH", packet[14 + header : 18 + header])
    between = f"{protocol} {' '.join(sorted((source, target)))}"
    return f"{between} {' '.join(map(str, sorted(ports)))}" if protocol == TCP else between


class Machine:
    """Processes of this namespace, or of another."""

    def __init__(self, folder: Path, *before: str) -> None:
        self._folder, self._before = folder, before
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *words: str) -> Path:
        log = self._folder / f"{name}.log"
        environment = {"PATH": os.defpath, "HOME": str(self._folder / name), **source_environment()}
        with log.open("wb") as out:
            archipel = [sys.executable, "-m", "archipel.cli.archipel", "serve"]
            words = (*self._before, *archipel, *words, "--threads", "1")
            self.running.append(subprocess.Popen(words, stdout=out, stderr=out, env=environment))
        return log

    def end(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGINT)
        for process in self.running:
            process.wait(LIMIT_S)


def wait(log: Path, pattern: str) -> str:
    until = time.monotonic() + LIMIT_S
    while (found := re.search(pattern, log.read_text())) is None:
        if time.monotonic() > until:
            raise SystemExit(f"never said {pattern}: {log.read_text()}")
        time.sleep(0.05)
    return found[1]


def cable() -> tuple[subprocess.Popen[bytes], tuple[str, ...]]:
    """Another machine on the other end: whoever keeps its namespace, and what runs a command there."""
    quiet()
    call("ip", "link", "set", "lo", "up")
    keeper = subprocess.Popen(["unshare", "-n", "sleep", str(LIMIT_S * 5)])
    own = Path("/proc/self/ns/net").readlink()
    until = time.monotonic() + LIMIT_S
    while Path(f"/proc/{keeper.pid}/ns/net").readlink() == own:
        if time.monotonic() > until:
            raise SystemExit("no second namespace")
        time.sleep(0.01)
    there = ("nsenter", "-t", str(keeper.pid), "-n")
    call("ip", "link", "add", "cableA", "type", "veth", "peer", "name", "cableB")
    call("ip", "link", "set", "cableB", "netns", str(keeper.pid))
    both: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
        ((), "cableA", A, B),
        (there, "cableB", B, A),
    )
    for before, name, own_address, other in both:
        call(*before, "ip", "link", "set", "lo", "up")
        call(*before, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        call(*before, "ip", "addr", "add", f"{own_address}/24", "dev", name)
        call(*before, "ip", "link", "set", name, "up")
        call(*before, "ip", "route", "add", "default", "via", other)
    return keeper, there


def main() -> None:
    folder, model, adapter = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    keeper, there = cable()
    recorder = Recorder()
    here, beyond = Machine(folder), Machine(folder, *there)
    try:
        server = here.start("server", model, "--adapter", f"law={adapter}", "--port", "0", "--sign")
        pool = ("pool", model, "--port", "0", "--pool-host", A, "--pool-port", "0")
        gateway = here.start("gateway", *pool, "--give-gb", "0", "--max-cache-gb", "0.02")
        at, code = wait(gateway, r"pool join (\S+) "), wait(gateway, r"pool join \S+ (\S+)")
        beyond.start("device", "pool", "join", at, code, "--model", model, "--give-gb", "0.5")
        count = hold(wait(server, r"at (http://\S+) "), ("tiny", "law"))
        address = wait(gateway, r"at (http://\S+) ")
        _until_it_answers(address)
        count += hold(address, ("tiny",), reads=False)
        time.sleep(1)
        seen = dict(recorder.seen)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.sendto(b"out", (NOWHERE, 9))
        time.sleep(1)
    finally:
        here.end()
        beyond.end()
        recorder.end()
        keeper.terminate()
        keeper.wait(LIMIT_S)
    told = any(SECRET.encode() in each for each in recorder.payloads)
    print(
        json.dumps(
            {"answers": count, "pool": at, "seen": seen, "after": recorder.seen, "told": told}
        )
    )


def _until_it_answers(address: str) -> None:
    import httpx

    until = time.monotonic() + LIMIT_S
    body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
    while httpx.post(f"{address}/v1/completions", json=body, trust_env=False).status_code != 200:
        if time.monotonic() > until:
            raise SystemExit("the pool never answered")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
