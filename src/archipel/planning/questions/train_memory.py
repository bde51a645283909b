"""Memory of one accelerator while training, part by part, and how many of each kind hold the run."""

import math
from dataclasses import dataclass, replace
from typing import Any

from archipel.planning.laws import memory
from archipel.planning.mistakes import Conflict, nearest
from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, derive, given, pure, total
from archipel.planning.questions.bounds import LENGTH, PARTS, STREAMS, Bounds, bounded
from archipel.planning.questions.train_fleet import Fleet, centre, server_size
from archipel.planning.questions.utilisation import Work
from archipel.planning.requests.train import TrainRequest
from archipel.planning.tables import Shelf

RECOMPUTE: tuple[memory.Recompute, ...] = ("selective", "full", "none")
PER = "GB/accelerator"


@dataclass(frozen=True)
class Layout:
    """How a model is spread and what is computed again."""

    tensor: int
    stage: int
    recompute: memory.Recompute
    sequence: Quantity
    micro_batch: Quantity


@dataclass(frozen=True)
class Load:
    """What one accelerator holds."""

    parts: tuple[Quantity, ...]
    whole: Quantity
    capacity: Quantity
    layout: Layout
    least: Quantity
    """The fewest accelerators that hold the run."""


@dataclass(frozen=True)
class Model:
    """What is held: all parameters, and the shape that the active ones give each token."""

    params: Quantity
    active: Quantity


def load_of(model: Model, kind: str, count: Quantity, request: TrainRequest, shelf: Shelf) -> Load:
    """Memory by part on `count` accelerators of a kind."""
    layout = layout_of(model, kind, request, shelf, most=centre(count))
    if centre(count) < layout.tensor:
        raise Conflict(
            f"--tensor-parallel {layout.tensor} and --count {centre(count):g}: a layer cannot be "
            "cut into more parts than there are accelerators; lower one or raise the other"
        )
    capacity = shelf[f"accelerator.{kind}.memory"]
    parts = _parts(model, count, layout, shelf)
    whole = total(parts).named("memory.total", "together", PER)
    return Load(parts, whole, capacity, layout, least_of(model, kind, layout, shelf))


USUAL = 7e9
"""Parameters of which a utilisation is taken until the budget's own size is known."""


def work_of(params: Quantity | None, active: Quantity | None, request: TrainRequest) -> Work:
    """What a step works on, as plain numbers; of a usual model where none is known yet."""
    held = USUAL if params is None else centre(params)
    used = held if active is None else centre(active)
    sequence = _count(request.sequence, LENGTH, "--sequence", "train.sequence")
    return Work(pure(held, "param"), pure(used, "param"), sequence)


def layout_of(
    model: Model, kind: str, request: TrainRequest, shelf: Shelf, *, most: float = math.inf
) -> Layout:
    """The layout asked for; where nothing was asked, the mildest whose activations fit in half.

    Layers are cut into at most `most` parts, and never across servers.
    """
    sequence = _count(request.sequence, LENGTH, "--sequence", "train.sequence")
    batch = _count(request.micro_batch, STREAMS, "--micro-batch", "train.micro_batch")
    stage = _choice(request.zero, ("0", "1", "2", "3"), "--zero")
    asked = request.recompute
    if asked and asked not in RECOMPUTE:
        raise nearest(asked, RECOMPUTE, "recompute")
    server = server_size(kind, shelf)
    tensors = [_tensor(request)] if request.tensor_parallel else _powers(int(min(server, 8, most)))
    modes = [mode for mode in RECOMPUTE if mode == asked] or list(RECOMPUTE[:2])
    room = centre(shelf[f"accelerator.{kind}.memory"].to("byte/accelerator")) / 2.0
    tried = [Layout(t, int(stage), mode, sequence, batch) for mode in modes for t in tensors]
    for layout in tried:
        if centre(_activations(model, layout, shelf).to("byte/accelerator")) < room:
            return layout
    return tried[-1]


def _powers(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length()) if 2**k <= most]


def _choice(text: str, choices: tuple[str, ...], option: str) -> str:
    if text not in choices:
        raise nearest(text, choices, f"{option} value")
    return text


def _tensor(request: TrainRequest) -> int:
    return int(bounded(request.tensor_parallel, PARTS, "--tensor-parallel"))


def _count(text: str, of: Bounds, option: str, name: str) -> Quantity:
    value = bounded(text, of, option)
    return given(name, value, of.unit, option, option.strip("-").replace("-", " "))


def _shape_parents(model: Model, shelf: Shelf) -> list[tuple[Quantity, str]]:
    names = ("width_per_layer", "head_width", "vocabulary")
    return [(model.active, "param"), *((shelf[f"train.shape.{name}"], "1") for name in names)]


def _activations(model: Model, layout: Layout, shelf: Shelf) -> Quantity:
    split = memory.Split(1.0, layout.tensor, layout.stage)

    def law(n: Any, aspect: Any, head: Any, words: Any, s: Any, b: Any) -> Any:
        shape = memory.shape_of(n, aspect, head, words)
        return memory.activations(shape, s, b, split, layout.recompute) / 1e9

    parents = [
        *_shape_parents(model, shelf),
        (layout.sequence, "token"),
        (layout.micro_batch, "1"),
    ]
    about = {"none": "all kept", "selective": "selective recomputation", "full": "recomputed"}
    return derive(
        "memory.activations", PER, parents, law,
        f"Korthikanti et al., recompute {layout.recompute}, tensor parallel {layout.tensor}",
        f"activations, {about[layout.recompute]}",
    )  # fmt: skip


def _logits(layout: Layout, shelf: Shelf) -> Quantity:
    split = memory.Split(1.0, layout.tensor, layout.stage)

    def law(words: Any, s: Any, b: Any) -> Any:
        return memory.logits(memory.Shape(0, 0, 0, words), s, b, split) / 1e9

    parents = [
        (shelf["train.shape.vocabulary"], "1"),
        (layout.sequence, "token"),
        (layout.micro_batch, "1"),
    ]
    formula = "4 × sequence × micro-batch × vocabulary / tensor parallel"
    return derive("memory.logits", PER, parents, law, formula, "scores over the vocabulary")


def _gathered(model: Model, count: Quantity, layout: Layout, shelf: Shelf) -> Quantity:
    def law(n: Any, active: Any, *rest: Any) -> Any:
        *shape, size, accelerators = rest
        split = memory.Split(accelerators / layout.tensor, layout.tensor, layout.stage)
        layers = memory.shape_of(active, *shape).layers
        return memory.gathered(n, layers, size, split) / 1e9

    parents = [
        (model.params, "param"),
        *_shape_parents(model, shelf),
        (shelf["train.memory.weights"], "byte/param"),
        (count, "accelerator"),
    ]
    formula = "two layers' weights, gathered to be computed on (stage 3 only)"
    return derive("memory.gathered", PER, parents, law, formula, "layers gathered to compute on")


_STATES = (
    ("weights", memory.weights, "bf16 weights"),
    ("gradients", memory.gradients, "bf16 gradients"),
    ("optimiser", memory.optimiser, "master weights and Adam moments, fp32"),
)


def _parts(model: Model, count: Quantity, layout: Layout, shelf: Shelf) -> tuple[Quantity, ...]:
    states = [_state(index, model.params, count, layout, shelf) for index in range(len(_STATES))]
    reserve = shelf["train.memory.reserve"]
    return (
        *states,
        _gathered(model, count, layout, shelf),
        _activations(model, layout, shelf),
        _logits(layout, shelf),
        reserve.named("memory.reserve", reserve.about),
    )


def _state(index: int, params: Quantity, count: Quantity, layout: Layout, shelf: Shelf) -> Quantity:
    part, held, about = _STATES[index]

    def law(n: Any, size: Any, accelerators: Any) -> Any:
        split = memory.Split(accelerators / layout.tensor, layout.tensor, layout.stage)
        return held(n, size, split) / 1e9

    parents = [
        (params, "param"),
        (shelf[f"train.memory.{part}"], "byte/param"),
        (count, "accelerator"),
    ]
    formula = f"params × train.memory.{part} / shards, ZeRO stage {layout.stage}"
    return derive(f"memory.{part}", PER, parents, law, formula, about)


def least_of(model: Model, kind: str, layout: Layout, shelf: Shelf) -> Quantity:
    """The fewest accelerators over which states can be sharded so that everything fits."""
    one = given("", layout.tensor, "accelerator", "layout")
    two = given("", 2 * layout.tensor, "accelerator", "layout")
    alone = [
        _unnamed(_state(index, model.params, one, layout, shelf)) for index in range(len(_STATES))
    ]
    sharded = [part for index, part in enumerate(alone) if layout.stage >= 3 - index]
    held = [part for index, part in enumerate(alone) if layout.stage < 3 - index]
    fixed = [
        *held,
        _unnamed(_gathered(model, two, layout, shelf)),
        _unnamed(_activations(model, layout, shelf)),
        _unnamed(_logits(layout, shelf)),
        shelf["train.memory.reserve"],
    ]
    states = total(sharded) if sharded else 0.0 * total(held)
    return derive(
        f"memory.least.{kind}",
        "accelerator",
        [(states, PER), (total(fixed), PER), (shelf[f"accelerator.{kind}.memory"], PER)],
        lambda s, f, m: layout.tensor * memory.least_accelerators(s, f, m),
        "smallest number over which the sharded states and the rest fit",
        "fewest accelerators that hold the run",
    )


def _unnamed(part: Quantity) -> Quantity:
    """A step inside a formula: the same part in another layout must not take the plan's name."""
    return replace(part, name="")


def fits(load: Load) -> bool:
    """Whether the central estimate fits."""
    return centre(load.whole) <= centre(load.capacity.to(PER))


def table(load: Load, fleet: Fleet) -> Table:
    """Memory of one accelerator by part."""
    rows: list[tuple[Cell, ...]] = [(part.about, part) for part in load.parts]
    states = total(load.parts[:3]).named("memory.states", "of these, weights to optimiser", PER)
    rows += [("together", load.whole), (states.about, states), (load.least.about, load.least)]
    layout = load.layout
    title = (
        f"Memory of one {fleet.kind} ({centre(load.capacity):g} GB): ZeRO stage {layout.stage}, tensor parallel {layout.tensor}, "
        f"{centre(layout.micro_batch):g} × {centre(layout.sequence):,.0f} tokens"
    )
    return Table(title, ("", ""), tuple(rows))
