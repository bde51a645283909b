"""`plan tune`: what tuning a model takes: memory by part, whether it fits and what would make it fit, time, money.

What is computed and said stands in `sheets/tune.toml`; here are which parts a method has, where the model's shape
comes from, and what cannot be asked.
"""

from functools import cache

import numpy as np

from archipel.planning.mistakes import CannotPlan, Conflict, nearest
from archipel.planning.model_config import read_config
from archipel.planning.model_shape import ModelShape, known_shape
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity
from archipel.planning.questions.bounds import PARAMS, bounded
from archipel.planning.questions.known import complete
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.questions.tune_otherwise import otherwise, table, would
from archipel.planning.requests.option import Request, as_dict, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.wording import amount_text

NUMBERS = ("params", "active_params", "layers", "width", "vocabulary")
"""Options that say a model by numbers; a model by name or by its config brings its own."""
METHODS = {
    "full": "all parameters tuned",
    "lora": "LoRA of rank {rank}",
    "qlora": "QLoRA of rank {rank}",
}
CHOICES = {
    "method": tuple(METHODS),
    "weights": ("", "fp32", "bf16", "fp8", "int8", "nf4"),
    "optimiser": ("adamw", "adamw-bf16", "adamw-8bit", "sgd"),
    "targets": ("", "all", "attention"),
    "recompute": ("full", "offloaded", "selective", "none"),
    "scores": ("whole", "chunked"),
    "offload": ("none", "optimiser", "weights", "both"),
    "offload_to": ("memory", "disk"),
}
NEEDED = ("bf16", "memory", "bandwidth", "server_power")
PACKED = ("fp8", "int8", "nf4")
"""Formats that are unpacked to be computed with."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """The run as asked, and otherwise."""
    of = sheet_of(request, shelf)

    @cache
    def others() -> dict[str, Sheet]:
        return {name: sheet_of(each, shelf) for name, each in otherwise(request, of, shelf)}

    def said(draws: Draws | None) -> str:
        of.words["would"] = would(others())
        return of.verdict(draws)

    return Plan(
        question="tune",
        title=of.title(),
        answers=of.answers(),
        tables=lambda: (*of.tables(), table(others())),
        charts=of.bars,
        remarks=of.remarks,
        verdict=said,
        request=as_dict(request),
        find=of.find,
    )


def sheet_of(request: Request, shelf: Shelf) -> Sheet:
    """The run as asked; no other is looked at."""
    _check_choices(request)
    kind = shelf.choose("accelerator", request.accelerator, "accelerator")
    complete("--accelerator", kind, NEEDED, shelf)
    country = shelf.choose("energy.household", request.country, "country")
    shape = _shape(request, shelf)
    own = shape.quantities(
        "--config" if request.config else "--model" if request.model else "--params"
    )
    own |= inputs("tune", request, {}, shelf)
    words = _words(request, shape) | {
        "kind": kind,
        "tables": "1" if request.config and not shape.looked_up else "2",
        "country": country,
        "draw": "tpu" if kind.startswith("tpu") else "gpu",
        "count": f"{_centre(own['tune.count']):,.0f}",
        "queries": "model.heads * model.head_width" if shape.heads else "tune.width",
        "keys": "model.kv_heads * model.head_width" if shape.heads else "tune.width / tune.grouped",
        "rent": "tune.price" if request.price else _known(f"rental.{kind}", shelf),
        "grid": "tune.electricity" if request.electricity else f"energy.household.{country}",
        "carbon": _known(f"energy.carbon.{country}", shelf),
    }
    many = _centre(own["tune.count"]) > 1.0
    if many:
        complete("--accelerator", kind, ("link",), shelf)
    parts, elsewhere = _parts(request, words, many)
    words["there"] = " + ".join(elsewhere)
    words |= _times(request, words, many)
    lists: dict[str, dict[str, dict[str, str]]] = {
        "held": {name: {} for name in parts},
        "parts": {name: {} for name in (*parts, "memory.beyond", "memory.reserve")},
        "elsewhere": {name: {} for name in elsewhere},
        "micro_step": {name: {} for name in _waits(words)},
    }
    return Sheet("tune", shelf, words, own, lists)


def _check_choices(request: Request) -> None:
    if request.own and request.price:
        raise Conflict(
            "--own and --price: your own accelerators are not rented; drop one of the two"
        )
    if request.tokens and request.examples != read_sheet("tune")["options"]["examples"]["default"]:
        raise Conflict(
            "--tokens and --examples: both say how much data there is; drop one of the two"
        )
    for name, known in CHOICES.items():
        word = getattr(request, name)
        if word not in known:
            raise nearest(word, [each for each in known if each], f"--{name.replace('_', '-')}")


def _shape(request: Request, shelf: Shelf) -> ModelShape:
    """The model by name, by its config.json or by numbers."""
    named = [name for name in ("model", "config", *NUMBERS) if getattr(request, name)]
    own = [name for name in named if name in ("model", "config")]
    if own and len(named) > 1:
        beside = " and ".join(f"--{name.replace('_', '-')}" for name in named if name != own[0])
        raise Conflict(f"--{own[0]} brings its own size: drop {beside}, or drop --{own[0]}")
    if request.model:
        return known_shape(shelf.choose("serve.model", request.model, "model"), shelf)
    if request.config:
        return read_config(request.config, "--config")
    params = bounded(request.params or "8B", PARAMS, "--params")
    active = (
        bounded(request.active_params, PARAMS, "--active-params")
        if request.active_params
        else params
    )
    if active > params:
        raise Conflict(
            f"--active-params {request.active_params} is more than --params; raise one or lower the other"
        )
    title = f"A model of {amount_text(params, '').strip()} parameters"
    return ModelShape(title, params, active, *[0.0] * 6)


def _words(request: Request, shape: ModelShape) -> dict[str, str]:
    adapters = request.method != "full"
    if shape.is_mixture and request.targets == "all" and adapters:
        raise CannotPlan(
            "--targets all: adapters on the experts of a mixture are not counted here; expected --targets attention"
        )
    again = request.recompute in ("full", "offloaded")
    targets = request.targets or ("attention" if shape.is_mixture else "all")
    if not adapters and request.weights in PACKED:
        raise Conflict(
            f"--method full and --weights {request.weights}: weights that learn are kept in fp32 or bf16"
        )
    return {
        "name": shape.title,
        "method": METHODS[request.method].format(rank=request.rank),
        "format": request.weights or ("nf4" if request.method == "qlora" else "bf16"),
        "optimiser": request.optimiser,
        "recompute": request.recompute,
        "scores": request.scores,
        "targets": targets,
        "side": "adapters" if adapters else "full",
        "learned": "tune.adapters" if adapters else "model.params",
        "data": "tune.data" if request.tokens else "tune.examples * tune.sequence",
        "again": "step.again" if again else "",
        "done": "tune.flop + tune.again" if again else "tune.flop",
        "passes": "3" if again else "2",
        "paid": "tune.power_bill" if request.own else "tune.rented",
        "paid.words": "electricity, the accelerators being yours" if request.own else "rent",
    }  # fmt: skip


def _parts(request: Request, words: dict[str, str], many: bool) -> tuple[list[str], list[str]]:
    """What lies in an accelerator's memory, and what does not."""
    states = request.offload in ("optimiser", "both")
    weights = request.offload in ("weights", "both")
    parts = {
        "memory.weights": not weights,
        "memory.adapters": request.method != "full",
        "memory.gradients": not states,
        "memory.optimiser": not states,
        "memory.layers": many or weights,
        "memory.unpacked": words["format"] in PACKED,
    }
    always = ("memory.activations", "memory.scores")
    elsewhere = {
        "elsewhere.weights": weights,
        "elsewhere.gradients": states,
        "elsewhere.optimiser": states,
    }
    return [*(name for name, held in parts.items() if held), *always], [
        name for name, held in elsewhere.items() if held
    ]


def _times(request: Request, words: dict[str, str], many: bool) -> dict[str, str]:
    """What a micro-step waits for, and a step of an optimiser that lies elsewhere."""
    states = request.offload in ("optimiser", "both")
    weights = request.offload in ("weights", "both")
    slowest = "max(tune.compute, tune.launches)"
    bringing = "tune.streaming" if weights else "tune.gathering" if many else ""
    unpacking = words["format"] in PACKED
    disk = request.offload_to == "disk"
    away = request.offload != "none"
    return {
        "slowest": f"max({slowest}, {bringing})" if bringing else slowest,
        "more": " + tune.unpacking" if unpacking else " + 0 [s/step]",
        "stepping": " + tune.steps * tune.step" if states else " + 0 [h]",
        "far": "" if not away else "tune.disk" if disk else "tune.pcie",
        "far.words": "" if not away else "on disk" if disk else "in main memory",
        "far.from": "" if not weights else "from disk" if disk else "from main memory",
        "far.states": "" if not states else "tune.disk" if disk else "tune.host",
        "sharded": _SHARDED if many else "",
    }


def _waits(words: dict[str, str]) -> list[str]:
    """The rows of a micro-step's table: what its formulas name."""
    named = " ".join(words[each] for each in ("slowest", "more", "stepping"))
    times = ("tune.compute", "tune.launches", "tune.gathering", "tune.streaming", "tune.unpacking")
    found = [name for name in times if name in named]
    away = ["tune.step"] if "tune.step" in words["stepping"].split() else []
    return [*found, "tune.micro_step", "tune.micro_steps", *away, "tune.steps"]


_SHARDED = (
    "Weights, gradients and optimiser are spread over all accelerators (ZeRO stage 3, FSDP), which read each other's "
    "weights in every pass."
)


def _known(name: str, shelf: Shelf) -> str:
    return name if name in shelf else ""


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)
