"""The gateway's side of a pool: a port where devices come in, a code for new ones, an eye on those that are quiet.

Parts: `Host`. Law: only devices that were paired with this one get a link; a code is good once and for ten minutes.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.serve.pool.admitting import admitted
from archipel.serve.pool.credentials import own_credentials
from archipel.serve.pool.devices import Device, Devices, Patience
from archipel.serve.pool.gateway import PoolEngine
from archipel.serve.pool.links import Link, LinkLost, SocketLink, link_pair
from archipel.serve.pool.listening import Listener
from archipel.serve.pool.paired import PAIRED, PairedDevices
from archipel.serve.pool.pairing import Invitation, Inviter, NotPaired
from archipel.serve.pool.stage import Gift, Stage, work
from archipel.serve.pool.weights import Copies

logger = logging.getLogger("archipel.serve")

LOOK_S = 1.0
"""How often quiet devices are asked for a sign of life."""


@dataclass(frozen=True)
class Place:
    """Where a gateway is."""

    folder: Path
    """Its key and its list of paired devices."""
    address: tuple[str, int]
    label: str
    shows_codes: bool = True
    """Whether what is said is shown to a person alone; what goes into a file has no codes."""


class Host:
    """Takes in devices until it is closed."""

    def __init__(
        self,
        place: Place,
        engine: PoolEngine,
        devices: Devices,
        say: Callable[[str], None] = lambda text: None,
        over: Callable[[Link], Link] = lambda link: link,
    ) -> None:
        """say: is told who comes, who goes, and each new code. over: what links to devices are led through.

        Raises:
            OSError: the port is taken. archipel.identity.BadKeyFile: of its key.
        """
        self._place, self._engine, self._say = place, engine, say
        self.devices, self._patience, self._over = devices, Patience(), over
        self._own = own_credentials(place.folder)
        self._paired = PairedDevices(place.folder / PAIRED)
        self._invitation: Invitation | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._blamed = set[bytes]()
        """Certificates of devices whose numbers were none."""
        known = self._paired.certificates
        self._listener = Listener(place.address, self._own, known, self._meet, self._pair)

    @property
    def address(self) -> tuple[str, int]:
        """Where devices come in."""
        return self._listener.address

    def invite(self) -> str:
        """A code for one device more, instead of any other that is open."""
        self._invitation = Invitation(self._own, time.monotonic())
        return str(self._invitation.code)

    def hold_here(self, name: str, memory_bytes: int) -> None:
        """Give layers on this machine too.

        Raises:
            LinkLost: it has no room for a single one.
        """
        here, there = link_pair()
        stage = Stage(Gift(name, memory_bytes), Copies(self._engine.original.path, None))
        threading.Thread(target=_work, args=(there, stage), daemon=True).start()
        self._admit(here)

    def close(self) -> None:
        """Let go of everybody."""
        self._ended.set()
        self._listener.close()
        self.devices.close()

    def _admit(self, link: Link) -> Device:
        device = admitted(
            self._over(link), self._engine.original, self._engine.form, self._patience
        )
        self.devices.add(device)
        self._say(f"{device.name} joined: {described(device)}")
        return device

    def _meet(self, link: SocketLink) -> None:
        """One device, until it is gone."""
        if link.certificate in self._blamed:
            link.close()  # it was said when it was blamed, and it comes again and again
            return
        try:
            device = self._admit(link)
        except LinkLost as error:
            self._say(f"a device that came is not taken: {error}")
            raise
        try:
            while not self._ended.wait(LOOK_S) and not device.is_lost:
                device.ping()
        finally:
            device.close()
            self._say(f"{device.name} is gone{self._blame(device, link.certificate)}")

    def _blame(self, device: Device, certificate: bytes) -> str:
        """A device whose numbers were none gets no more links from this gateway; what to say of that."""
        if not device.is_blamed:
            return ""
        with self._lock:
            self._blamed.add(certificate)
        return (
            ": its numbers were none, so it is not taken again until this gateway is started anew"
        )

    def _pair(self, link: SocketLink) -> None:
        inviter = Inviter(self._own, self._paired, self._place.label)
        try:
            found = inviter.meet(link, self._invitation, time.monotonic(), int(time.time()))
        except NotPaired as error:
            self._say(f"a device without a pairing at {link.host} was sent away: {error}")
            return
        self._say(f"{found.label} is paired; {self._for_the_next()}")

    def _for_the_next(self) -> str:
        if not self._place.shows_codes:
            return "a code for the next device: archipel serve pool code"
        return f"a code for the next device: {self.invite()}"


def described(device: Device) -> str:
    """What a device gives, in words."""
    memory = device.hello.memory_bytes / 1e9
    layer = "?" if device.layer_ns is None else f"{device.layer_ns / 1e6:.2f}"
    return f"{memory:.2f} GB, {layer} ms a layer, round trip {1e3 * device.round_trip_s:.2f} ms"


def status_of(engine: PoolEngine, devices: Devices) -> dict[str, Any]:
    """Who is here and holds what, for people and programs."""
    held: dict[str, list[list[int]]] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(engine.lines, 1):
        for segment in line.segments:
            held.setdefault(segment.device.name, []).append(list(segment.layers))
            line_of[segment.device.name] = number
    return {
        "num_layers": engine.config.num_layers,
        "num_lines": len(set(line_of.values())),
        "moved": engine.counts["sequences_moved"],
        "devices": [
            {
                "name": each.name,
                "memory_bytes": each.hello.memory_bytes,
                "arithmetic": each.hello.arithmetic,
                "layer_ns": each.layer_ns,
                "round_trip_ns": round(1e9 * each.round_trip_s),
                "line": line_of.get(each.name),
                "layers": held.get(each.name, []),
                "bytes_out": each.traffic.bytes_out,
                "bytes_in": each.traffic.bytes_in,
            }
            for each in devices.here()
        ],
        "mended": [
            {"lost": each.lost, "ms": round(1e3 * each.seconds), "positions": each.positions}
            for each in engine.mended[-20:]
        ],
    }


def _work(link: Link, stage: Stage) -> None:
    try:
        work(link, stage)
    except LinkLost as error:
        logger.info("%s", error)
