"""`plan serve`, the same model on other machines, and the law against measured speeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from archipel.planning.laws.roofline import memory_seconds, step_seconds
from archipel.planning.plan import Bars, Cell, Table
from archipel.planning.quantity import Quantity, derive, scoped
from archipel.planning.questions.serve_asked import Model, Traffic
from archipel.planning.questions.serve_machine import machine_of
from archipel.planning.questions.serve_money import own_of
from archipel.planning.questions.serve_speed import decode_group
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.tables import Shelf

OTHERS = (
    "rtx4090",
    "rtx5090",
    "m4-max",
    "m3-ultra",
    "ryzen-ai-max-395",
    "dgx-spark",
    "h100",
)
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Elsewhere:
    """One of another machine; no numbers where the model does not fit."""

    title: str
    numbers: tuple[Quantity, ...]
    """One stream, everything together, a million tokens."""


def elsewhere(
    model: Model, traffic: Traffic, request: ServeRequest, shelf: Shelf
) -> tuple[Elsewhere, ...]:
    """The model on one of each of the usual machines, bought at the market's price."""
    alone = replace(request, accelerators="1", split="", price="")
    made = []
    for kind in OTHERS:
        if f"accelerator.{kind}.memory" not in shelf or f"purchase.{kind}" not in shelf:
            continue
        one = machine_of(kind, model, traffic, alone, shelf)
        numbers: tuple[Quantity, ...] = ()
        if one.fits:
            own = own_of(one, traffic, alone, shelf)
            numbers = tuple(scoped([one.per_stream, one.throughput, own.cost], kind))
        made.append(Elsewhere(one.title, numbers))
    return tuple(made)


def elsewhere_table(others: Sequence[Elsewhere]) -> Table:
    """Speed and cost on each."""
    rows: list[Row] = [(each.title, *(each.numbers or ("does not fit", "", ""))) for each in others]
    heads = ("machine", "one stream", "everything", "a million tokens")
    return Table("The same model elsewhere", heads, tuple(rows))


def elsewhere_bars(others: Sequence[Elsewhere]) -> Bars:
    """One stream on each."""
    parts = [(each.title.partition(",")[0], each.numbers[0]) for each in others if each.numbers]
    return Bars("Answers of one stream, by machine", tuple(parts), "token/s")


def measured(kind: str, shelf: Shelf) -> Table:
    """Published single-stream speeds of this machine, and what the law makes of them."""
    rows: list[Row] = []
    group = decode_group(kind, shelf)
    share, started = shelf[f"{group}.share"], shelf[f"{group}.layer_time"]
    beyond = shelf[f"{group}.unexplained"]
    line = shelf[f"accelerator.{kind}.bandwidth"]
    for name in shelf.members(f"serving.speed.{kind}"):
        way, size, quant = ([*name.split("-"), "", ""])[:3]
        bytes_name = f"serving.bytes.llama2-{size}-{quant}"
        if way != "decode" or bytes_name not in shelf:
            continue
        layers = shelf[f"serve.model.llama-2-{size}.layers"]
        made = derive(
            f"check.{kind}.{name}", "token/s",
            [(shelf[bytes_name], "byte"), (line, "byte/(s*accelerator)"), (share, "1"),
             (layers, "1"), (started, "s"), (beyond, "1")],
            _decode_speed,
            f"1 / (({bytes_name} / ({line.name} × {share.name}) + {layers.name} × {started.name}) × {beyond.name})",
            "decode, computed",
        )  # fmt: skip
        known = shelf[f"serving.speed.{kind}.{name}"]
        rows.append((f"Llama 2 {size.upper()} {quant}, one stream", made, known))
    return Table("Against measurements", ("", "computed", "measured"), tuple(rows))


def _decode_speed(read: Any, line: Any, part: Any, layers: Any, started: Any, beyond: Any) -> Any:
    return 1.0 / beyond / step_seconds(memory_seconds(read, line, part), 0.0, layers, started)
