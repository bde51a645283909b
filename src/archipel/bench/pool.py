"""What a pool of devices costs beside one process, how it bears distance, and how soon a lost device is made good.

Parts: `Plan`, `Site` (a gateway here, devices as processes of their own on 127.0.0.1, links with a delay), `measure`.
Weights are random: neither speed nor bytes hang on them. Ways are tried in turn, so that all meet the same neighbours;
what is compared is their ratio in one round.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from archipel.bench.adapters import config_of
from archipel.engine.engine import EngineLimits, LocalEngine, Request
from archipel.engine.protocol import OpenEngine
from archipel.model.directory import read_model, write_model
from archipel.model.network import random_weights
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.gateway import PoolEngine
from archipel.serve.pool.hosting import Host, Place
from archipel.serve.pool.links import Link
from archipel.serve.pool.weights import Original

JOIN_S = 180.0
END_S = 10.0
CACHE_BYTES = 200_000_000
MOST_STEPS = 100_000

Tell = Callable[[str], None]


class PoolFailed(RuntimeError):
    """A device did not join; the message carries the end of what it said."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    model: str = "135m"
    tokens: int = 48
    """Of each stream, after a prompt of as many."""
    streams: tuple[int, ...] = (1, 4)
    delays_ms: tuple[float, ...] = (0, 1, 5, 20)
    """One way, of every link."""
    rounds: int = 5
    kills: int = 4


QUICK = Plan(model="demo", tokens=24, streams=(1, 4), delays_ms=(0, 5), rounds=2, kills=2)


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


def measure(plan: Plan, environment: Mapping[str, str], tell: Tell, found: dict[str, Any]) -> None:
    """Everything that the plan names, into `found` as it comes.

    Raises:
        PoolFailed: a device did not join.
    """
    found |= {"model": plan.model, "speeds": [], "hops": [], "kills": []}
    folder = Path(tempfile.mkdtemp(prefix="archipel-pool-"))
    sites: dict[str, Site] = {}
    try:
        config = config_of(plan.model)
        model = folder / "model"
        write_model(model, random_weights(config, 1), config)
        alone = LocalEngine(config, limits=EngineLimits(max_cache_bytes=CACHE_BYTES))
        state = read_model(model, torch.bfloat16)
        alone.load({name: each.detach() for name, each in state.named_parameters()})
        half = -(-config.num_layers // 2)
        for name, layers in {"1": [config.num_layers], "2": [half, half, half]}.items():
            sites[name] = Site(folder / name, model, environment)
            for each in layers:
                tell(f"a pool of {name}: {sites[name].join(each)} joined")
        ways: dict[str, OpenEngine] = {"alone": alone}
        ways |= {name: site.engine for name, site in sites.items()}
        for number in range(plan.kills):
            found["kills"].append(_kill(plan, sites["2"], half, number, tell))
        found["hops"] = _hops(plan, sites["2"])
        _speeds(plan, ways, [site.wait for site in sites.values()], tell, found)
    finally:
        for site in sites.values():
            site.close()
        shutil.rmtree(folder, ignore_errors=True)


def _speeds(
    plan: Plan,
    ways: Mapping[str, OpenEngine],
    waits: Sequence[Wait],
    tell: Tell,
    found: dict[str, Any],
) -> None:
    """Tokens per second of each way, streams and delay, a number for each round."""
    taken: dict[tuple[str, int, float], list[float]] = {}
    arms = [
        (way, streams, delay)
        for streams in plan.streams
        for delay in plan.delays_ms
        for way in ways
        if way != "alone" or delay == plan.delays_ms[0]
    ]
    for number in range(plan.rounds + 1):
        random.Random(number).shuffle(arms)  # noqa: S311  no secret
        for way, streams, delay in arms:
            for wait in waits:
                wait.seconds = delay / 1000
            speed = _tokens_per_s(ways[way], streams, plan.tokens)
            if number:  # the first one loads and warms
                taken.setdefault((way, streams, delay), []).append(speed)
        tell(f"round {number} of {plan.rounds}")
        found["speeds"] = [
            {"way": way, "streams": streams, "delay_ms": delay, "tokens_per_s": speeds}
            for (way, streams, delay), speeds in sorted(taken.items())
        ]
    for wait in waits:
        wait.seconds = 0.0


def _requests(streams: int, tokens: int) -> list[Request]:
    return [
        Request(str(at), tuple(range(3, 3 + tokens)), at, 1, tokens, 1.0) for at in range(streams)
    ]


def _tokens_per_s(engine: OpenEngine, streams: int, tokens: int) -> float:
    """From the first token of all streams to the last."""
    for request in _requests(streams, tokens):
        engine.add(request)
    num = 0
    while num < streams:  # everybody's prompt is read
        num += len(engine.step())
    began, before = time.perf_counter(), num
    while engine.has_work:
        num += len(engine.step())
    return (num - before) / (time.perf_counter() - began)


def _hops(plan: Plan, site: Site) -> list[dict[str, Any]]:
    """Bytes of rows over each link for one token of one stream."""
    for device in site.devices.here():
        device.traffic.clear()
    engine = site.engine
    engine.add(_requests(1, plan.tokens)[0])
    engine.step()
    for device in site.devices.here():
        device.traffic.clear()
    while engine.has_work:
        engine.step()
    return [
        {
            "device": each.name,
            "layers": [
                list(segment.layers)
                for segment in engine.line.segments
                if segment.device.name == each.name
            ],
            "out": each.traffic.bytes_out / each.traffic.rows,
            "in": each.traffic.bytes_in / each.traffic.rows,
        }
        for each in site.devices.here()
        if each.traffic.rows
    ]


def _kill(plan: Plan, site: Site, half: int, number: int, tell: Tell) -> dict[str, Any]:
    """Kill a device in the middle of some streams, which must say what they would have said."""
    streams = max(plan.streams)
    undisturbed = _said(site, streams, plan.tokens, None)
    segments = site.engine.line.segments
    lost = segments[number % len(segments)].device.name
    disturbed = _said(site, streams, plan.tokens, lost)
    last = site.engine.line.mended[-1]
    found = {
        "lost": lost,
        "seconds": disturbed[1],
        "mending_seconds": last.seconds,
        "positions": last.positions,
        "same": disturbed[0] == undisturbed[0],
    }
    tell(f"{lost} was killed: the next token came after {disturbed[1]:.2f} s")
    site.join(half)
    return found


def _said(site: Site, streams: int, tokens: int, lost: str | None) -> tuple[list[Any], float]:
    """What every stream says, and seconds from a device's death to the next token."""
    engine = site.engine
    for request in _requests(streams, tokens):
        engine.add(request)
    said, seconds, killed = [], 0.0, None
    for step in range(MOST_STEPS):
        if not engine.has_work:
            break
        if step == tokens // 2 and lost is not None:
            site.kill(lost)
            killed = time.perf_counter()
        events = engine.step()
        if killed is not None and len(events):
            seconds, killed = time.perf_counter() - killed, None
        said += sorted(events.ended.items())
    return [(rollout.tokens, rollout.logprobs) for _, rollout in said], seconds
