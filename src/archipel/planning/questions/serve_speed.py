"""`plan serve`, one machine: how fast it decodes and reads prompts, with the constants of its group."""

import numpy as np

from archipel.planning.laws.roofline import (
    compute_seconds,
    memory_seconds,
    mixture_share,
    padding_params,
    prompt_seconds_per_token,
    step_seconds,
    touched_share,
)
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.serve_asked import Model, Traffic
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

MEASURED = ("consumer", "apple", "datacentre")
"""Classes whose speeds were measured; the rest are `other`, where `serve.group` names no nearer one."""
SINGLE_BYTE = (0.9, 1.1)
"""Bytes per parameter of weights whose products data-centre engines compute in fp8."""

HALF_FROM = 1.9
"""Bytes per parameter."""


def speeds(
    kind: str, model: Model, traffic: Traffic, machine: tuple[Quantity, ...], shelf: Shelf
) -> dict[str, Quantity]:
    """How fast, by the names of `Machine`, from bandwidth, arithmetic and the gain of prompts."""
    line, peak, gain = machine
    step = _step(kind, model, traffic, (line, peak), shelf)
    all_streams = (traffic.streams * _one("token") / step).named(
        "speed.decode", "answers, all streams", "token/s"
    )
    each = (_one("token") / step).named("speed.stream", "answers, one stream", "token/s")
    prompt = _prompt(kind, model, traffic, (line * gain, peak * gain), shelf)
    first = (traffic.prompt / prompt + step).named("speed.first", "first token after", "s")
    request_time = traffic.prompt / prompt + traffic.answer / all_streams
    throughput = ((traffic.prompt + traffic.answer) / request_time).named(
        "speed.throughput", "prompts and answers, all streams", "token/s"
    )
    return {
        "step": step, "per_stream": each, "decode": all_streams, "prompt": prompt,
        "first": first, "throughput": throughput,
    }  # fmt: skip


def peak_of(kind: str, model: Model, shelf: Shelf) -> Quantity:
    """Arithmetic of one accelerator in the precision of its products: fp8 where engines compute weights of a byte so."""
    least, most = SINGLE_BYTE
    narrow = least <= Draws(count=1).centre(model.bytes_each) <= most
    if narrow and group_of(kind, shelf) == "datacentre" and f"accelerator.{kind}.fp8" in shelf:
        return shelf[f"accelerator.{kind}.fp8"]
    return shelf[f"accelerator.{kind}.bf16"]


def _half(model: Model) -> bool:
    """Whether weights are stored as they are multiplied, two bytes each."""
    return Draws(count=1).centre(model.bytes_each) > HALF_FROM


def _tuned(kind: str, shelf: Shelf) -> bool:
    """Whether a machine is served by engines of data centres; llama.cpp and MLX run on the others."""
    return group_of(kind, shelf) in ("datacentre", "other")


def _prompt(
    kind: str, model: Model, traffic: Traffic, machine: tuple[Quantity, Quantity], shelf: Shelf
) -> Quantity:
    """Prompts read chunk by chunk: arithmetic, attention over the whole prompt, and the weights once a chunk."""
    line, fast = machine
    group = f"serve.prompt.{group_of(kind, shelf, 'prompt')}"
    largest = shelf["serve.prompt.chunk"]
    chunk = derive(
        "speed.chunk", "token", [(traffic.prompt, "token"), (largest, "token")], np.minimum,
        f"min(traffic.prompt, {largest.name})", "tokens of a prompt computed at once",
    )  # fmt: skip
    used, reached = model.used, shelf[f"{group}.mfu"]
    if _half(model) and not _tuned(kind, shelf):
        reached = (reached * shelf["serve.prompt.native"]).named(
            "speed.prompt_share", "share of peak arithmetic in prompts", "1"
        )
    if model.mixed:
        used = used + derive(
            "speed.padding", "param",
            [(model.mixed.experts, "param"), (chunk, "token"), (shelf["serve.prompt.padding"], "token")],
            padding_params, "experts × serve.prompt.padding / speed.chunk",
            "what computing in tiles adds to the parameters used",
        )  # fmt: skip
        share, most = shelf[f"{group}.mixture_mfu"], shelf[f"{group}.mixture_most"]
        alone = peak_of(kind, model, shelf)
        reached = derive(
            "speed.prompt_share", "1",
            [(share, "1"), (alone, "FLOP/(s*accelerator)"), (most, "FLOP/(s*accelerator)")],
            mixture_share, f"1 / (1 / {share.name} + {alone.name} / {most.name})",
            "share of peak arithmetic in prompts",
        )  # fmt: skip
    computing = derive(
        "speed.prompt_arithmetic", "s/token",
        [(used, "param"), (model.attended, "1"), (traffic.prompt, "token"), (fast, "FLOP/s"), (reached, "1")],
        prompt_seconds_per_token,
        f"(2 × parameters used + 2 × layers × width × traffic.prompt) / (speed.peak × {reached.name})",
        "a token of a prompt, by arithmetic",
    )  # fmt: skip
    read = _weights_read(kind, model, chunk / _one("token"), "speed.chunk_touched", shelf)
    reading = (read / (line * shelf[f"{decode_group(kind, shelf)}.share"] * chunk)).named(
        "speed.prompt_reading", "a token of a prompt, by reading weights once a chunk", "s/token"
    )
    time = (computing + reading) * shelf[f"{group}.unexplained"]
    return (_one("1") / time).named("speed.prompt", "reading prompts", "token/s")


def _step(
    kind: str, model: Model, traffic: Traffic, machine: tuple[Quantity, Quantity], shelf: Shelf
) -> Quantity:
    """One decoding step of all streams: memory, arithmetic and starting layers, one after the other."""
    line, peak = machine
    held = traffic.prompt + 0.5 * traffic.answer
    weights = _weights_read(kind, model, traffic.streams, "speed.touched", shelf)
    read = (weights + model.kv * held * traffic.streams).named(
        "speed.read", "read in one step", "GB"
    )
    group = decode_group(kind, shelf)
    share, used = shelf[f"{group}.share"], shelf[f"{group}.arithmetic_share"]
    by_memory = derive(
        "speed.step_memory", "s", [(read, "byte"), (line, "byte/s"), (share, "1")],
        memory_seconds, f"speed.read / (speed.bandwidth × {share.name})", "one step, by memory",
    )  # fmt: skip
    by_arithmetic = derive(
        "speed.step_arithmetic", "s",
        [(model.used, "param"), (traffic.streams, "1"), (peak, "FLOP/s"), (used, "1")],
        compute_seconds, f"2 × parameters used × streams / (speed.peak × {used.name})",
        "one step, by arithmetic",
    )  # fmt: skip
    started = shelf[f"{group}.{'mixture_' if model.mixed else ''}layer_time"]
    plain = derive(
        "speed.step_plain", "s",
        [(by_memory, "s"), (by_arithmetic, "s"), (model.layers, "1"), (started, "s")],
        step_seconds,
        f"speed.step_memory + speed.step_arithmetic + {model.layers.name} × {started.name}",
        "one decoding step, of a machine and model as its class",
    )  # fmt: skip
    return (plain * shelf[f"{group}.unexplained"]).named("speed.step", "one decoding step", "s")


def _weights_read(kind: str, model: Model, streams: Quantity, name: str, shelf: Shelf) -> Quantity:
    """Weights read at once for `streams`: the experts that some of them need, and what every token reads."""
    mixed = model.mixed
    if mixed is None:
        return model.used * model.bytes_each
    evenness = shelf["serve.decode.evenness"]
    touched = derive(
        name, "1",
        [(mixed.picked, "param"), (mixed.experts, "param"), (streams, "1"), (evenness, "1")],
        touched_share,
        f"1 − (r / (r + streams × (1 − r)))^{evenness.name}, "
        f"r = (1 − {mixed.picked.name} / {mixed.experts.name})^(1 / {evenness.name})",
        "share of the experts read",
    )  # fmt: skip
    each = model.bytes_each
    if model.two_formats:
        each = shelf[f"serve.kept.{'half' if _tuned(kind, shelf) else 'file'}"]
    return mixed.experts * model.bytes_each * touched + mixed.kept * each


def group_of(kind: str, shelf: Shelf, phase: str = "decode") -> str:
    """The group whose constants this machine shares: as `serve.group` says, its class, or `other`."""
    made = shelf.fact(f"accelerator.{kind}.class")
    return shelf.fact(f"serve.group.{phase}.{kind}", made if made in MEASURED else "other")


def decode_group(kind: str, shelf: Shelf) -> str:
    """The constants of this machine's group."""
    return f"serve.decode.{group_of(kind, shelf)}"


def _one(unit: str) -> Quantity:
    return given("", 1, unit, "a unit")
