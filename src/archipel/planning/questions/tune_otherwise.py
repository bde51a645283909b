"""`plan tune`, otherwise: the same run with something changed for memory's sake, or on other accelerators."""

from collections.abc import Iterator
from dataclasses import replace

from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Derived, Quantity, ancestry
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests.option import Request
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

SAVING: dict[str, dict[str, str]] = {
    "scores in chunks": {"scores": "chunked"},
    "all activations computed again": {"recompute": "full"},
    "one example at a time": {"micro_batch": "1"},
    "QLoRA": {"method": "qlora", "weights": ""},
    "QLoRA and the first three": {
        "method": "qlora", "weights": "", "scores": "chunked", "recompute": "full", "micro_batch": "1"
    },
    "weights in main memory": {"offload": "weights", "offload_to": "memory"},
    "weights on disk": {"offload": "weights", "offload_to": "disk"},
}  # fmt: skip
"""What may be changed for memory's sake."""
SAVING_STATES: dict[str, dict[str, str]] = {
    "LoRA": {"method": "lora"},
    "moments in a byte each": {"optimiser": "adamw-8bit"},
    "optimiser in main memory": {"offload": "optimiser", "offload_to": "memory"},
    "both in main memory": {"offload": "both", "offload_to": "memory"},
    "both on disk": {"offload": "both", "offload_to": "disk"},
}
"""And where all weights learn, whose optimiser is six times as large as they are."""
LARGER = ("rtx5090", "h100", "b200")
"""Accelerators to compare with, by their memory."""
COMPARED = ("memory.total", "tune.hours", "tune.cost")


def otherwise(request: Request, of: Sheet, shelf: Shelf) -> Iterator[tuple[str, Request]]:
    """The same run with something changed: how it is done, how many accelerators, which."""
    for name, changed in ((SAVING_STATES if request.method == "full" else {}) | SAVING).items():
        asked = replace(request, **changed)
        if asked != request:
            yield name, asked
    count, kind = round(2 * _centre(of["tune.count"])), of.words["kind"]
    if f"accelerator.{kind}.link" in shelf:
        yield f"{count} x {kind}", replace(request, count=str(count))
    for larger in LARGER:
        memory = _centre(shelf[f"accelerator.{larger}.memory"])
        if memory > _centre(of["kind.memory"]) and not request.price:
            yield larger, replace(request, accelerator=larger)


def table(others: dict[str, Sheet]) -> Table:
    """What each change comes to."""
    rows: list[tuple[Cell, ...]] = []
    for name, each in others.items():
        memory, *rest = _apart(each.present(COMPARED), name)
        cells: list[Cell] = [*rest, *["no price known"] * (len(COMPARED) - 1 - len(rest))]
        rows.append((name, memory, "fits" if _fits(each) else "no", *cells))
    return Table("The same otherwise", ("", "memory", "fits", "time", "cost"), tuple(rows))


def _apart(of: list[Quantity], change: str) -> list[Quantity]:
    """Quantities of another run: their steps have no names, since this plan's have them."""
    made: dict[int, Quantity] = {}
    for each in ancestry(of):
        origin, name = each.origin, each.name
        if isinstance(origin, Derived):
            parents = tuple(made[id(parent)] for parent in origin.parents)
            shown = any(each is root for root in of)
            words = f"{name}, but {change}" if shown else origin.formula
            name = f"{name}@{change}" if shown else ""
            origin = Derived(words, parents, origin.compute)
        same = origin is each.origin
        made[id(each)] = each if same else Quantity(name, each.unit, origin, each.about)
    return [made[id(root)] for root in of]


def would(others: dict[str, Sheet]) -> str:
    """The first changes with which it fits."""
    found = [
        (name, each["memory.total"].to("GB/accelerator"))
        for name, each in others.items()
        if _fits(each)
    ]
    return ", ".join(f"{name} ({_centre(needs):.2g} GB)" for name, needs in found[:3])


def _fits(of: Sheet) -> bool:
    return _centre(of["step.filled"]) <= 1.0


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)
