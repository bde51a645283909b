"""One pool on this machine: a gateway in this process, each device a process of its own, links with a delay.

Parts: `Site`, `Wait`. Law: devices are paired and encrypted as between machines, and `close` ends every process.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archipel.engine.engine import EngineLimits
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.gateway import PoolEngine
from archipel.serve.pool.hosting import Host, Place
from archipel.serve.pool.links import Link
from archipel.serve.pool.weights import Original

JOIN_S = 180.0
END_S = 10.0
CACHE_BYTES = 200_000_000


class PoolFailed(RuntimeError):
    """A device did not join; the message carries the end of what it said."""


@dataclass
class Delayed:
    """A link over some distance: a message takes so long to come, and so does its answer."""

    link: Link
    wait: "Wait"

    def send(self, header: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
        """See `Link`."""
        time.sleep(self.wait.seconds)
        self.link.send(header, payload)

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """See `Link`."""
        found = self.link.receive(timeout_s)
        time.sleep(self.wait.seconds)
        return found

    def close(self) -> None:
        """See `Link`."""
        self.link.close()


@dataclass
class Wait:
    """How far away everybody is now, in seconds one way."""

    seconds: float = 0.0


@dataclass
class Site:
    """One pool on this machine."""

    folder: Path
    model: Path
    environment: Mapping[str, str]
    wait: Wait = field(default_factory=Wait)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.devices = Devices()
        limits = EngineLimits(max_slots=16, max_cache_bytes=CACHE_BYTES)
        self.engine = PoolEngine(Original(self.model), self.devices, limits=limits)
        place = Place(self.folder / "gateway", ("127.0.0.1", 0), "bench")
        self._host = Host(
            place, self.engine, self.devices, over=lambda link: Delayed(link, self.wait)
        )

    def join(self, layers: int) -> str:
        """A process with room for so many layers.

        Raises:
            PoolFailed: it did not join.
        """
        name = f"d{len(self.processes)}"
        gives = (layers + 0.5) * self.engine.placing.layer_bytes / 1e9
        host, port = self._host.address
        words = [
            "serve", "pool", "join", f"{host}:{port}", self._host.invite(), "--label", name,
            "--model", str(self.model), "--threads", "1", "--give-gb", f"{gives:.9f}",
        ]  # fmt: skip
        said = self.folder / f"{name}.log"
        with said.open("wb") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603  ourselves, no shell
                [sys.executable, "-m", "archipel.cli.archipel", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, "ARCHIPEL_HOME": str(self.folder / name)},
            )
        until = time.monotonic() + JOIN_S
        while name not in {each.name for each in self.devices.here()}:
            if time.monotonic() > until or self.processes[name].poll() is not None:
                raise PoolFailed(f"{name} did not join: {said.read_text()[-500:]}")
            time.sleep(0.05)
        return name

    def kill(self, name: str) -> None:
        """From one moment to the next, as with a lid or a cable."""
        self.processes[name].send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End all of it."""
        self._host.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)
