"""What a pool of devices costs beside one process, how it bears distance, and how soon a lost device is made good.

Parts: `Plan`, `measure`; `pool_site` is what is measured.
A pool of 2 or 4 has a line of so many devices, one of 2 x 2 two lines of two, which take turns at requests.
Weights are random: neither speed nor bytes hang on them. Ways are tried in turn, so that all meet the same neighbours;
what is compared is their ratio in one round.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from archipel.bench.adapters import config_of
from archipel.bench.pool_site import CACHE_BYTES, Site, Wait
from archipel.engine.engine import EngineLimits, LocalEngine, Request
from archipel.engine.protocol import OpenEngine
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.network import random_weights

MOST_STEPS = 100_000
ALONE = "alone"
LAYERS = 8
"""Of a model at the least."""

Tell = Callable[[str], None]


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


QUICK = Plan(model="demo", tokens=24, rounds=2, kills=2)


def measure(plan: Plan, environment: Mapping[str, str], tell: Tell, found: dict[str, Any]) -> None:
    """Everything that the plan names, into `found` as it comes.

    Raises:
        PoolFailed: a device did not join.
    """
    found |= {"model": plan.model, "speeds": [], "hops": [], "kills": []}
    folder = Path(tempfile.mkdtemp(prefix="archipel-pool-"))
    sites: dict[str, Site] = {}
    try:
        config = _long_enough(config_of(plan.model))
        found["num_layers"] = config.num_layers
        model = folder / "model"
        write_model(model, random_weights(config, 1), config)
        alone = LocalEngine(config, limits=EngineLimits(max_cache_bytes=CACHE_BYTES))
        state = read_model(model, torch.bfloat16)
        alone.load({name: each.detach() for name, each in state.named_parameters()})
        half = -(-config.num_layers // 2)
        quarter = -(-config.num_layers // 4)
        rooms = {
            "1": [config.num_layers],
            "2": [half] * 3,  # and a spare one
            "4": [quarter] * 4,
            "2 x 2": [half] * 4,
        }
        for name, layers in rooms.items():
            sites[name] = Site(folder / name, model, environment)
            for each in layers:
                tell(f"a pool of {name}: {sites[name].join(each)} joined")
        ways: dict[str, OpenEngine] = {ALONE: alone}
        ways |= {name: site.engine for name, site in sites.items()}
        for number in range(plan.kills):
            found["kills"].append(_kill(plan, sites["2"], half, number, tell))
        found["hops"] = [
            {"way": name, **hop} for name in ("2", "4") for hop in _hops(plan, sites[name])
        ]
        _speeds(plan, ways, [site.wait for site in sites.values()], tell, found)
    finally:
        for site in sites.values():
            site.close()
        shutil.rmtree(folder, ignore_errors=True)


def _long_enough(config: DecoderConfig) -> DecoderConfig:
    """Of a shape with too few layers for a line of four devices: more of them."""
    return config if config.num_layers >= LAYERS else replace(config, num_layers=LAYERS)


def _speeds(
    plan: Plan,
    ways: Mapping[str, OpenEngine],
    waits: Sequence[Wait],
    tell: Tell,
    found: dict[str, Any],
) -> None:
    """Tokens per second of each pool, streams and delay, and of one process alone just before: a pair a round."""
    taken: dict[tuple[str, int, float], list[tuple[float, float]]] = {}
    arms = [
        (way, streams, delay)
        for streams in plan.streams
        for delay in plan.delays_ms
        for way in ways
        if way != ALONE
    ]
    for number in range(plan.rounds + 1):
        random.Random(number).shuffle(arms)  # noqa: S311  no secret
        for way, streams, delay in arms:
            for wait in waits:
                wait.seconds = delay / 1000
            pair = tuple(_tokens_per_s(ways[each], streams, plan.tokens) for each in (ALONE, way))
            if number:  # the first one loads and warms
                taken.setdefault((way, streams, delay), []).append((pair[0], pair[1]))
        tell(f"round {number} of {plan.rounds}")
        found["speeds"] = [
            {"way": way, "streams": streams, "delay_ms": delay, "alone_and_pool": pairs}
            for (way, streams, delay), pairs in sorted(taken.items())
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
    _said(site, 1, plan.tokens, None)  # whoever joined is in its line now
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
                for segment in engine.segments
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
    segments = site.engine.segments
    lost = segments[number % len(segments)].device.name
    disturbed = _said(site, streams, plan.tokens, lost)
    last = site.engine.mended[-1]
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
