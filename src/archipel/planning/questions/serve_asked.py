"""`plan serve`, what is asked: the model and its shape, the traffic, and the options read with their units."""

from dataclasses import dataclass

from archipel.planning.laws import memory
from archipel.planning.laws.roofline import kv_bytes_per_token
from archipel.planning.mistakes import Conflict, Impossible, nearest
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import (
    LEAST_SHARE,
    LENGTH,
    PARAMS,
    STREAMS,
    Bounds,
    bounded,
    share_of,
)
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.tables import Shelf
from archipel.planning.units import amount

QUANTS = {
    "bf16": "f16", "fp16": "f16", "f16": "f16", "q8": "q8_0", "q6": "q6_k", "q5": "q5_k_m",
    "q4": "q4_k_m", "mxfp4": "mxfp4", "q2": "iq2_xs", "int8": "q8_0", "int4": "q4_k_m",
}  # fmt: skip
"""What people say, and what the tables call it."""
DEFAULT_PARAMS = "8B"
HALF_BYTES = 2.0


@dataclass(frozen=True)
class Model:
    """A model as it is stored and read."""

    title: str
    params: Quantity
    active: Quantity
    bytes_each: Quantity
    """Per parameter."""
    layers: Quantity
    weights: Quantity
    kv: Quantity
    """Keys and values of one token."""
    attended: Quantity
    """Layers that see the whole prompt x query heads x their width."""
    used: Quantity
    """Parameters that a step computes with: those used per token, less an input embedding known apart."""
    mixed: "Mixed | None" = None
    """Experts of a mixture, and what every token reads."""
    two_formats: bool = False
    """Whether a table knows the file, experts in four bits and the rest wider."""


@dataclass(frozen=True)
class Mixed:
    """Experts and the rest, in parameters."""

    experts: Quantity
    picked: Quantity
    """Of the experts' parameters, those one token uses."""
    kept: Quantity
    """Parameters that every token reads."""


@dataclass(frozen=True)
class Traffic:
    """What is asked of the machine."""

    streams: Quantity
    context: Quantity
    prompt: Quantity
    answer: Quantity
    busy: Quantity
    """Share of all hours."""


def model_of(request: ServeRequest, shelf: Shelf) -> Model:
    """The model by name or by size.

    Raises:
        Conflict: both; UnknownName: a model or quantisation that no table has.
    """
    if request.model and (request.params or request.active_params):
        raise Conflict(
            "--model brings its own size: drop --params and --active-params, or drop --model"
        )
    each = shelf[f"serving.bytes_per_param.{quant_of(request, shelf)}"]
    if request.model:
        return _known(request, shelf, each)
    text = request.params or DEFAULT_PARAMS
    params = positive(text, "model.params", PARAMS, "--params", "parameters")
    active, sparse = params, False
    if request.active_params:
        about = "parameters used per token"
        active = positive(
            request.active_params, "model.active_params", PARAMS, "--active-params", about
        )
        if amount(request.active_params, "param", "") > amount(text, "param", ""):
            raise Impossible(
                f"--active-params: got {request.active_params}, expected at most --params {text}"
            )
        sparse = amount(request.active_params, "param", "") < amount(text, "param", "")
    layers, heads, width = _usual(active, shelf)
    kv = _kv((layers, heads, width), shelf)
    attended = (layers * layers * shelf["train.shape.width_per_layer"]).named(
        "model.attended", "layers × width", "1"
    )
    weights = (params * each).named("memory.weights", "weights", "GB")
    mixed = None
    if sparse:
        kept = (active * shelf["serve.usual.kept"]).named(
            "model.kept", "parameters that every token reads", "param"
        )
        experts = (params - kept).named("model.experts", "parameters of the experts", "param")
        mixed = _mixed(active, experts, kept)
    return Model(
        f"{text} parameters", params, active, each, layers, weights, kv, attended, active, mixed
    )  # fmt: skip


def quant_of(request: ServeRequest, shelf: Shelf) -> str:
    """The table's name of a quantisation."""
    word = request.quant.strip().casefold()
    if word in QUANTS:
        return QUANTS[word]
    known = shelf.members("serving.bytes_per_param")
    if word not in known:
        raise nearest(request.quant, {*QUANTS, *known}, "quantisation")
    return word


def _known(request: ServeRequest, shelf: Shelf, each: Quantity) -> Model:
    """A model of the tables."""
    name = shelf.choose("serve.model", request.model, "model")
    group = f"serve.model.{name}"
    params = shelf[f"{group}.params"]
    sparse = f"{group}.active" in shelf
    active = shelf[f"{group}.active"] if sparse else params
    layers, width = shelf[f"{group}.layers"], shelf[f"{group}.head_width"]
    part = "full_layers" if f"{group}.full_layers" in shelf else "layers"
    full = shelf[f"{group}.{part}"]
    if f"{group}.kv_bytes_per_token" in shelf:
        kv = _kv_stated(f"{group}.kv_bytes_per_token", shelf)
    else:
        kv = _kv((full, shelf[f"{group}.kv_heads"], width), shelf)
    attended = (full * shelf[f"{group}.heads"] * width).named(
        "model.attended", "layers × width of all query heads", "1"
    )
    used, mixed = active, None
    if sparse:
        mixed = _mixed(active, shelf[f"{group}.experts"], shelf[f"{group}.kept"])
    elif f"{group}.embedding" in shelf:
        about = "parameters that a step computes with"
        used = (params - shelf[f"{group}.embedding"]).named("model.used", about, "param")
    stated = quant_of(request, shelf) == "mxfp4" and f"{group}.bytes" in shelf
    weights = shelf[f"{group}.bytes"] if stated else params * each
    return Model(
        shelf.fact(f"{group}.title", name), params, active, each, layers,
        weights.named("memory.weights", "weights", "GB"), kv, attended, used, mixed, stated,
    )  # fmt: skip


def _mixed(active: Quantity, experts: Quantity, kept: Quantity) -> Mixed:
    picked = (active - kept).named(
        "model.picked", "parameters of the experts used per token", "param"
    )
    return Mixed(experts, picked, kept)


def _usual(active: Quantity, shelf: Shelf) -> tuple[Quantity, Quantity, Quantity]:
    """The usual shape of this size: layers, key and value heads, their width.

    A mixture has the depth of its active part: experts make its layers wide, not many.
    """
    slim, width = shelf["train.shape.width_per_layer"], shelf["train.shape.head_width"]
    layers = derive(
        "model.layers", "1", [(active, "param"), (slim, "1"), (width, "1")],
        lambda size, aspect, head: memory.shape_of(size, aspect, head, 0.0).layers,
        f"({active.name} / (12 × {slim.name}²))^(1/3)", "layers of the usual shape",
    )  # fmt: skip
    return layers, shelf["serve.usual.kv_heads"], width


def _kv(shape: tuple[Quantity, Quantity, Quantity], shelf: Shelf) -> Quantity:
    """Keys and values of one token, from layers, heads and their width."""
    layers, heads, width = shape
    stored = shelf["serve.kv_bytes"]
    return derive(
        "", "byte/token", [(layers, "1"), (heads, "1"), (width, "1"), (stored, "byte")],
        kv_bytes_per_token,
        f"2 × {layers.name} × {heads.name} × {width.name} × {stored.name}",
    ).named("memory.kv_per_token", "keys and values of one token", "kB/token")  # fmt: skip


def _kv_stated(name: str, shelf: Shelf) -> Quantity:
    """Keys and values of one token as published in half precision, at the bytes stored here."""
    half = given("", HALF_BYTES, "byte", "half precision", "bytes of one value")
    return (shelf[name] * shelf["serve.kv_bytes"] / half).named(
        "memory.kv_per_token", "keys and values of one token", "kB/token"
    )


def traffic_of(request: ServeRequest) -> Traffic:
    """Streams, lengths and busy hours."""
    busy = amount(request.utilisation, "1", "--utilisation")
    if not LEAST_SHARE <= busy <= 1:
        raise Impossible(
            f"--utilisation: got {request.utilisation}, expected at least {LEAST_SHARE:g} and at "
            "most 24 h/day; write it as 8 h/day or 30 percent"
        )
    made = Traffic(
        positive(request.batch, "traffic.streams", STREAMS, "--batch", "streams served at once"),
        positive(request.context, "traffic.context", LENGTH, "--context", "tokens held"),
        positive(request.prompt, "traffic.prompt", LENGTH, "--prompt", "tokens read per request"),
        positive(
            request.answer, "traffic.answer", LENGTH, "--answer", "tokens written per request"
        ),
        given("traffic.busy", busy, "1", "--utilisation", "share of all hours in use"),
    )
    longest = amount(request.prompt, "token", "") + amount(request.answer, "token", "")
    if longest > amount(request.context, "token", ""):
        raise Conflict(
            f"--prompt and --answer together are {longest:,.0f} tokens, more than --context "
            f"{request.context}; raise --context or shorten them"
        )
    return made


def positive(text: str, name: str, of: Bounds, option: str, about: str) -> Quantity:
    """An option's amount, inside its bounds."""
    return given(name, bounded(text, of, option), of.unit, option, about)


def share(text: str, name: str, option: str, about: str) -> Quantity:
    """An option's share, 0 to 1."""
    return given(name, share_of(text, option), "1", option, about)
