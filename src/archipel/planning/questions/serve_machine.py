"""`plan serve`, one machine: does the model fit, how fast does it answer, what does an hour of it cost."""

from dataclasses import dataclass

from archipel.planning.laws.roofline import (
    balanced_streams,
    compute_seconds,
    largest_params,
    memory_seconds,
    most_streams,
    step_seconds,
    touched_share,
)
from archipel.planning.mistakes import CannotPlan
from archipel.planning.quantity import Quantity, derive, given, total
from archipel.planning.questions.serve_asked import Model, Traffic, positive
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import amount

DECODE = ("consumer", "apple", "datacentre")
"""Classes whose decoding was measured; the rest are `other`."""


@dataclass(frozen=True)
class Machine:
    """One machine with the model on it."""

    kind: str
    title: str
    count: Quantity
    usable: Quantity
    needed: Quantity
    kv: Quantity
    runtime: Quantity
    streams: Quantity
    """Most that memory holds."""
    largest: Quantity
    step: Quantity
    per_stream: Quantity
    decode: Quantity
    """All streams, token/s."""
    prompt: Quantity
    first: Quantity
    throughput: Quantity
    """Prompts and answers, token/s."""
    ridge: Quantity

    @property
    def fits(self) -> bool:
        """Whether weights, keys and values and the engine fit, at central values."""
        centre = Draws(count=1).centre
        return centre(self.needed) <= centre(self.usable)


def machine_of(
    kind: str, model: Model, traffic: Traffic, request: ServeRequest, shelf: Shelf
) -> Machine:
    """The model on `accelerators` of a kind; names carry no kind, `scoped` adds one where several stand."""
    group = f"accelerator.{kind}"
    count = positive(
        request.accelerators,
        "own.accelerators",
        "accelerator",
        "--accelerators",
        "accelerators that share the model",
    )
    memory = _memory(kind, model, traffic, count, shelf)
    together = _together(request, shelf)
    line = (shelf[f"{group}.bandwidth"] * count * together).named(
        "speed.bandwidth", "memory bandwidth of all", "TB/s"
    )
    peak = (shelf[f"{group}.bf16"] * count * together).named(
        "speed.peak", "arithmetic of all", "TFLOP/s"
    )
    speeds = _speeds(kind, model, traffic, (line, peak), shelf)
    ridge = derive(
        "speed.ridge", "1",
        [(model.bytes_each, "byte/param"), (peak, "FLOP/s"), (line, "byte/s")], balanced_streams,
        "bytes per parameter × speed.peak / (2 × speed.bandwidth)",
        "streams at which arithmetic takes as long as reading weights, at peak",
    )  # fmt: skip
    title = shelf.fact(f"{group}.title", kind)
    return Machine(kind, title, count, **memory, **speeds, ridge=ridge)


def _together(request: ServeRequest, shelf: Shelf) -> Quantity:
    if amount(request.accelerators, "accelerator", "--accelerators") > 1:
        return shelf["serve.parallel_share"]
    return given("own.alone", 1, "1", "one accelerator", "nothing is lost to working together")


def _memory(
    kind: str, model: Model, traffic: Traffic, count: Quantity, shelf: Shelf
) -> dict[str, Quantity]:
    """What memory holds, by the names of `Machine`."""
    apple = shelf.fact(f"accelerator.{kind}.class") == "apple"
    part = shelf["serve.usable.apple" if apple else "serve.usable.other"]
    usable = (shelf[f"accelerator.{kind}.memory"] * count * part).named(
        "memory.usable", "memory that a model may take", "GB"
    )
    kv = (model.kv * traffic.context * traffic.streams).named(
        "memory.kv", "keys and values of all streams", "GB"
    )
    runtime = (shelf["serve.runtime"] * count).named("memory.engine", "the engine", "GB")
    needed = total([model.weights, kv, runtime]).named("memory.needed", "memory needed", "GB")
    free = (usable - model.weights - runtime).named("memory.free", "left for keys and values", "GB")
    streams = derive(
        "memory.streams", "1",
        [(free, "byte"), (model.kv, "byte/token"), (traffic.context, "token")], most_streams,
        "memory.free / (memory.kv_per_token × traffic.context)", "most streams that memory holds",
    )  # fmt: skip
    left = (usable - kv - runtime).named("memory.for_weights", "left for weights", "GB")
    largest = derive(
        "memory.largest", "param", [(left, "byte"), (model.bytes_each, "byte/param")],
        largest_params, "memory.for_weights / bytes per parameter", "largest model that fits",
    )  # fmt: skip
    return {
        "usable": usable, "needed": needed, "kv": kv, "runtime": runtime, "streams": streams,
        "largest": largest,
    }  # fmt: skip


def _speeds(
    kind: str, model: Model, traffic: Traffic, machine: tuple[Quantity, Quantity], shelf: Shelf
) -> dict[str, Quantity]:
    """How fast, by the names of `Machine`."""
    _, peak = machine
    step = _step(kind, model, traffic, machine, shelf)
    all_streams = (traffic.streams * _one("token") / step).named(
        "speed.decode", "answers, all streams", "token/s"
    )
    each = (_one("token") / step).named("speed.stream", "answers, one stream", "token/s")
    prompt = derive(
        "speed.prompt", "token/s",
        [(model.active, "param"), (peak, "FLOP/s"), (shelf["serving.prompt.mfu"], "1")],
        lambda size, fast, used: 1.0 / compute_seconds(size, 1.0, fast, used),
        "speed.peak × serving.prompt.mfu / (2 × parameters used)", "reading prompts",
    )  # fmt: skip
    first = (traffic.prompt / prompt + step).named("speed.first", "first token after", "s")
    request_time = traffic.prompt / prompt + traffic.answer / all_streams
    throughput = ((traffic.prompt + traffic.answer) / request_time).named(
        "speed.throughput", "prompts and answers, all streams", "token/s"
    )
    return {
        "step": step, "per_stream": each, "decode": all_streams, "prompt": prompt,
        "first": first, "throughput": throughput,
    }  # fmt: skip


def _step(
    kind: str, model: Model, traffic: Traffic, machine: tuple[Quantity, Quantity], shelf: Shelf
) -> Quantity:
    """One decoding step of all streams, by memory and by arithmetic."""
    line, peak = machine
    touched = derive(
        "speed.touched", "1",
        [(model.active, "param"), (model.params, "param"), (traffic.streams, "1")],
        touched_share, "1 − (1 − active/all)^streams", "share of the weights a step reads",
    )  # fmt: skip
    held = traffic.prompt + 0.5 * traffic.answer
    read = (model.weights * touched + model.kv * held * traffic.streams).named(
        "speed.read", "read in one step", "GB"
    )
    group = decode_group(kind, shelf)
    share, started = shelf[f"{group}.share"], shelf[f"{group}.layer_time"]
    by_memory = derive(
        "speed.step_memory", "s", [(read, "byte"), (line, "byte/s"), (share, "1")],
        memory_seconds, f"speed.read / (speed.bandwidth × {share.name})", "one step, by memory",
    )  # fmt: skip
    used = shelf["serve.decode.arithmetic_share"]
    by_arithmetic = derive(
        "speed.step_arithmetic", "s",
        [(model.active, "param"), (traffic.streams, "1"), (peak, "FLOP/s"), (used, "1")],
        compute_seconds, f"2 × parameters used × streams / (speed.peak × {used.name})",
        "one step, by arithmetic",
    )  # fmt: skip
    return derive(
        "speed.step", "s",
        [(by_memory, "s"), (by_arithmetic, "s"), (model.layers, "1"), (started, "s")],
        step_seconds,
        f"max(speed.step_memory, speed.step_arithmetic) + {model.layers.name} × {started.name}",
        "one decoding step",
    )  # fmt: skip


def decode_group(kind: str, shelf: Shelf) -> str:
    """The constants of this machine's class."""
    made = shelf.fact(f"accelerator.{kind}.class")
    return f"serve.decode.{made if made in DECODE else 'other'}"


def _one(unit: str) -> Quantity:
    return given("", 1, unit, "a unit")


def price_of(kind: str, request: ServeRequest, shelf: Shelf) -> Quantity:
    """What one accelerator with its share of the computer costs to buy.

    Raises:
        CannotPlan: no table knows, and no --price is given.
    """
    if request.price:
        about = "price of one accelerator"
        return positive(request.price, "own.price", "USD/accelerator", "--price", about)
    if f"purchase.{kind}" not in shelf:
        priced = [each for each in shelf.members("purchase") if f"purchase.{each}" in shelf]
        raise CannotPlan(
            f"no purchase price of {kind} is known; give --price, or choose one of "
            f"{', '.join(priced)}"
        )
    bare = shelf.fact(f"accelerator.{kind}.class") == "consumer" and _is_card(kind, shelf)
    host = shelf["serve.host.consumer" if bare else "serve.host.other"]
    return (shelf[f"purchase.{kind}"] + host).named(
        "own.price", "one accelerator with its computer", "USD/accelerator"
    )


def _is_card(kind: str, shelf: Shelf) -> bool:
    """Whether the price is of a bare card, as its table says."""
    return "card" in shelf.entry(f"purchase.{kind}").about
