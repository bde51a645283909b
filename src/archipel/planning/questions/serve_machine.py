"""`plan serve`, one machine: does the model fit, how fast does it answer, what does an hour of it cost."""

from dataclasses import dataclass

from archipel.planning.laws.roofline import balanced_streams, largest_params, most_streams
from archipel.planning.quantity import Quantity, derive, total
from archipel.planning.questions.bounds import ACCELERATORS, PRICE
from archipel.planning.questions.known import complete
from archipel.planning.questions.serve_asked import Model, Traffic, positive
from archipel.planning.questions.serve_speed import peak_of, speeds
from archipel.planning.questions.serve_split import prompt_gain, together_of
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

NEEDED = ("bandwidth", "bf16", "memory", "server_power")
"""What serving has to know of a machine, its price aside."""


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
    complete("--hardware", kind, NEEDED, shelf, "" if request.price else "purchase")
    group = f"accelerator.{kind}"
    count = positive(
        request.accelerators,
        "own.accelerators",
        ACCELERATORS,
        "--accelerators",
        "accelerators that share the model",
    )
    memory = _memory(kind, model, traffic, count, shelf)
    together = together_of(kind, count, request, shelf)
    line = (shelf[f"{group}.bandwidth"] * count * together).named(
        "speed.bandwidth", "memory bandwidth at work at once", "TB/s"
    )
    peak = (peak_of(kind, model, shelf) * count * together).named(
        "speed.peak", "arithmetic at work at once", "TFLOP/s"
    )
    gain = prompt_gain(kind, request, shelf)
    fast = speeds(kind, model, traffic, (line, peak, gain), shelf)
    ridge = derive(
        "speed.ridge", "1",
        [(model.bytes_each, "byte/param"), (peak, "FLOP/s"), (line, "byte/s")], balanced_streams,
        "bytes per parameter × speed.peak / (2 × speed.bandwidth)",
        "streams at which arithmetic takes as long as reading weights, at peak",
    )  # fmt: skip
    title = shelf.fact(f"{group}.title", kind)
    return Machine(kind, title, count, **memory, **fast, ridge=ridge)


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


def priced(kind: str, request: ServeRequest, shelf: Shelf) -> bool:
    """Whether anybody says what this machine costs to buy."""
    return bool(request.price) or f"purchase.{kind}" in shelf


def price_of(kind: str, request: ServeRequest, shelf: Shelf) -> Quantity:
    """What one accelerator with its share of the computer costs to buy, if it is `priced`."""
    if request.price:
        about = "price of one accelerator"
        return positive(request.price, "own.price", PRICE, "--price", about)
    bare = shelf.fact(f"accelerator.{kind}.class") == "consumer" and _is_card(kind, shelf)
    host = shelf["serve.host.consumer" if bare else "serve.host.other"]
    return (shelf[f"purchase.{kind}"] + host).named(
        "own.price", "one accelerator with its computer", "USD/accelerator"
    )


def _is_card(kind: str, shelf: Shelf) -> bool:
    """Whether the price is of a bare card, as its table says."""
    return "card" in shelf.entry(f"purchase.{kind}").about
