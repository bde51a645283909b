"""A pool in this process: a small model's directory, devices in threads over socket pairs, deaths on demand."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from archipel.engine.engine import EngineLimits, LocalEngine, Request
from archipel.engine.protocol import Event, OpenEngine
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.records.rollouts import Rollout
from archipel.serve.pool.devices import Device, Devices, Patience
from archipel.serve.pool.gateway import PoolEngine
from archipel.serve.pool.links import LinkLost, SocketLink, link_pair
from archipel.serve.pool.stage import Gift, Stage, arithmetic_named, work
from archipel.serve.pool.weights import Copies, Original
from engine.engine_models import lively_state, small_config

LIMITS = EngineLimits(max_slots=16, max_cache_bytes=2**24)
PATIENCE = Patience(silent_s=10.0)


def directory(path: Path, config: DecoderConfig | None = None) -> Path:
    """A model of six layers."""
    config = config or small_config("llama", num_layers=6, max_position_embeddings=1024)
    if not path.exists():
        write_model(path, lively_state(config), config)
    return path


class World:
    """One pool."""

    def __init__(self, path: Path, numbers: str = "float32", limits: EngineLimits = LIMITS) -> None:
        self.path, self.numbers = path, numbers
        self.original, self.devices = Original(path), Devices()
        self.limits = limits
        self.ends: dict[str, SocketLink] = {}
        self.threads: list[threading.Thread] = []
        self.stages: dict[str, Stage] = {}
        self._engine: PoolEngine | None = None

    @property
    def engine(self) -> PoolEngine:
        if self._engine is None:
            self._engine = PoolEngine(self.original, self.devices, self.numbers, self.limits)
        return self._engine

    def layer_bytes(self) -> int:
        return self.engine.placing.layer_bytes

    def join(self, name: str, layers: int = 100, copies: Copies | None = None) -> Device:
        """A device with room for so many layers."""
        here, there = link_pair()
        stage = Stage(Gift(name, layers * self.layer_bytes()), copies or Copies(self.path, None))

        def run() -> None:
            with contextlib.suppress(LinkLost):
                work(there, stage)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)
        self.ends[name], self.stages[name] = there, stage
        device = Device(here, PATIENCE)
        self.devices.add(device)
        return device

    def kill(self, name: str) -> None:
        """Its end of the link is gone from one moment to the next."""
        self.ends[name].close()

    def close(self) -> None:
        self.devices.close()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()


def alone(path: Path, numbers: str = "float32", limits: EngineLimits = LIMITS) -> LocalEngine:
    """The same model in one engine."""
    original = Original(path)
    config = original.config
    from archipel.model.directory import read_model

    state = dict(read_model(path, torch.bfloat16).named_parameters())
    engine = LocalEngine(config, limits=limits, arithmetic=arithmetic_named(numbers, config, "cpu"))
    engine.load({name: each.detach() for name, each in state.items()})
    return engine


def run(
    engine: OpenEngine,
    arrivals: dict[int, list[Request]],
    at_step: Callable[[int], None] = lambda step: None,
) -> tuple[dict[str, list[Rollout]], dict[str, list[Event]]]:
    """Requests that arrive at these steps, to their end: what came out, by key."""
    names, found, events = {}, {}, {}
    step, last = 0, max(arrivals)
    while step <= last or engine.has_work:
        for request in arrivals.get(step, []):
            names[engine.add(request)] = request.key
        at_step(step)
        for event in engine.step():
            events.setdefault(names[event.ticket], []).append(event[1:4])
            if event.ended is not None:
                found.setdefault(names[event.ticket], []).append((event.rollout, event.ended))
        step += 1
    return {key: sorted(each, key=lambda one: one[0]) for key, each in found.items()}, events


def apart(said: tuple[dict[str, list[Rollout]], dict[str, list[Event]]]) -> object:
    """What `run` found, each rollout's events by themselves: over several lines those of one request keep no common time."""
    found, events = said
    return found, {key: sorted(each, key=lambda one: one[0]) for key, each in events.items()}


def spoiled(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
    """From so many passes on, the devices whose names begin so make what is no number."""
    own, count = Stage._through, [0]

    def through(stage: Stage, said: object, payload: bytes) -> object:
        header, data = own(stage, said, payload)  # type: ignore[arg-type]
        if stage._gift.name.startswith(name) and data:
            count[0] += 1
            if count[0] > after:
                worse = torch.frombuffer(bytearray(data), dtype=torch.int16)
                worse[-1] = 0x7FC0 if header.dtype == "bfloat16" else worse[-1]
                if header.dtype == "float32":
                    worse[-2:] = torch.tensor([0, 0x7FC0], dtype=torch.int16)
                data = worse.numpy().tobytes()
        return header, data

    monkeypatch.setattr(Stage, "_through", through)
