"""`plan serve`, what is asked: the model and its shape, the traffic, and the options read with their units."""

from dataclasses import dataclass

from archipel.planning.laws import memory
from archipel.planning.laws.roofline import kv_bytes_per_token
from archipel.planning.mistakes import Conflict, Impossible, nearest
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.tables import Shelf
from archipel.planning.units import amount

QUANTS = {
    "bf16": "f16", "fp16": "f16", "f16": "f16", "q8": "q8_0", "q6": "q6_k", "q5": "q5_k_m",
    "q4": "q4_k_m", "mxfp4": "mxfp4", "q2": "iq2_xs", "int8": "q8_0", "int4": "q4_k_m",
}  # fmt: skip
"""What people say, and what the tables call it."""
DEFAULT_PARAMS = "8B"


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
    params = positive(text, "model.params", "param", "--params", "parameters")
    active = params
    if request.active_params:
        about = "parameters used per token"
        active = positive(
            request.active_params, "model.active_params", "param", "--active-params", about
        )
        if amount(request.active_params, "param", "") > amount(text, "param", ""):
            raise Impossible(
                f"--active-params: got {request.active_params}, expected at most --params {text}"
            )
    shape = _usual(params, shelf)
    return _made(f"{text} parameters", (params, active), each, shape, shelf)


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
    shape = tuple(shelf[f"{group}.{part}"] for part in ("layers", "kv_heads", "head_width"))
    return _made(shelf.fact(f"{group}.title", name), (params, active), each, shape, shelf)


def _usual(params: Quantity, shelf: Shelf) -> tuple[Quantity, Quantity, Quantity]:
    """The usual shape of this size: layers, key and value heads, their width."""
    slim, width = shelf["train.shape.width_per_layer"], shelf["train.shape.head_width"]
    layers = derive(
        "model.layers", "1", [(params, "param"), (slim, "1"), (width, "1")],
        lambda size, aspect, head: memory.shape_of(size, aspect, head, 0.0).layers,
        f"(model.params / (12 × {slim.name}²))^(1/3)", "layers of the usual shape",
    )  # fmt: skip
    return layers, shelf["serve.usual.kv_heads"], width


def _made(
    title: str,
    sizes: tuple[Quantity, Quantity],
    each: Quantity,
    shape: tuple[Quantity, ...],
    shelf: Shelf,
) -> Model:
    """Weights, and keys and values, from sizes and shape."""
    params, active = sizes
    layers, heads, width = shape
    stored = shelf["serve.kv_bytes"]
    kv = derive(
        "", "byte/token", [(layers, "1"), (heads, "1"), (width, "1"), (stored, "byte")],
        kv_bytes_per_token,
        f"2 × {layers.name} × {heads.name} × {width.name} × {stored.name}",
    ).named("memory.kv_per_token", "keys and values of one token", "kB/token")  # fmt: skip
    weights = (params * each).named("memory.weights", "weights", "GB")
    return Model(title, params, active, each, layers, weights, kv)


def traffic_of(request: ServeRequest) -> Traffic:
    """Streams, lengths and busy hours."""
    busy = amount(request.utilisation, "1", "--utilisation")
    if not 0 < busy <= 1:
        raise Impossible(
            f"--utilisation: got {request.utilisation}, expected more than nothing and at most "
            "24 h/day; write it as 8 h/day or 30 percent"
        )
    made = Traffic(
        positive(request.batch, "traffic.streams", "1", "--batch", "streams served at once"),
        positive(request.context, "traffic.context", "token", "--context", "tokens held"),
        positive(request.prompt, "traffic.prompt", "token", "--prompt", "tokens read per request"),
        positive(
            request.answer, "traffic.answer", "token", "--answer", "tokens written per request"
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


def positive(text: str, name: str, unit: str, option: str, about: str) -> Quantity:
    """An option's amount, above zero."""
    value = amount(text, unit, option)
    if value <= 0:
        raise Impossible(f"{option}: got {value:g}, expected more than zero")
    return given(name, value, unit, option, about)


def share(text: str, name: str, option: str, about: str) -> Quantity:
    """An option's share, 0 to 1."""
    value = amount(text, "1", option)
    if not 0 <= value <= 1:
        raise Impossible(f"{option}: got {value:g}, expected a share from 0 to 1")
    return given(name, value, "1", option, about)
