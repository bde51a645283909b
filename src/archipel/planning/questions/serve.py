"""`plan serve`: a model on one's own hardware against hosted prices, in a cascade, and as specialists.

What is computed and said stands in `sheets/serve.toml`; here are the choice of model, machine, split and hosted
class, and what stands beside the answer: other machines, other numbers and fits of specialists.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from archipel.planning.mistakes import Conflict, Impossible, nearest
from archipel.planning.model_config import read_config
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, given, scoped
from archipel.planning.questions.bounds import FLOP, MONEY, checked
from archipel.planning.questions.fits import constants_of
from archipel.planning.questions.known import complete
from archipel.planning.questions.serve_charts import charts, where_they_win
from archipel.planning.questions.serve_hosted import hosted_prices, hosted_words
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests.option import Request, as_dict, request_of
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of

QUANTS = {
    "bf16": "f16", "fp16": "f16", "f16": "f16", "q8": "q8_0", "q6": "q6_k", "q5": "q5_k_m",
    "q4": "q4_k_m", "mxfp4": "mxfp4", "q2": "iq2_xs", "int8": "q8_0", "int4": "q4_k_m",
}  # fmt: skip
"""What people say, and what the tables call it."""
NEEDED = ("bandwidth", "bf16", "memory", "server_power")
"""What serving has to know of a machine, its price aside."""
GROUPS = ("consumer", "apple", "datacentre")
"""Classes of machines whose speeds were measured; the rest are `other`, where `serve.group` names no nearer one."""
OTHERS = ("rtx4090", "rtx5090", "m4-max", "m3-ultra", "ryzen-ai-max-395", "dgx-spark", "h100")
"""Machines shown beside the one asked for."""
CLASSES = ("open-70b", "closed-small", "closed-flagship")
"""Hosted classes shown beside the one compared with."""
COUNTS, FITS = ("2",), ("besiroglu", "hoffmann-tex")
"""Numbers of specialists, and fits, shown beside what was asked."""
ON_SPECIALISTS = ("specialists", "training_budget", "domain_share", "fit")
"""Options that ask about specialists: the verdict then answers."""
NUMBERS = ("params", "active_params", "layers", "width", "kv_heads", "vocabulary")
"""Options that say a model by numbers; a model by name or by its config brings its own."""
LISTS = ("dates", "others", "measured", "machines", "ways")
SPLITS = ("layers", "tensor")
Words = dict[str, str]
Given = dict[str, Quantity]
Lists = dict[str, dict[str, Words]]


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """One machine first; other machines, hosted prices, a cascade and specialists beside it."""
    asked = any(getattr(request, name) != getattr(type(request), name) for name in ON_SPECIALISTS)
    bound = whole_sheet(request, shelf)
    words = {**bound.words, "asked_specialists": "yes" if asked else "no"}
    its = {**bound.given}
    of = replace(bound, words=words, given=its)
    shown = of.fill("{shown}")

    @cache
    def beside() -> Sheet:
        words["where_they_win"] = where_they_win(of)
        its.update(_elsewhere(of, words) | _other_ways(of))
        return of

    return Plan(
        question="serve",
        title=of.title(),
        answers=tuple(of.present([*of.entries(shown), *(["specialists.worth"] if asked else [])])),
        tables=lambda: beside().tables(),
        charts=lambda: charts(beside(), shown),
        remarks=lambda: beside().remarks(),
        verdict=of.verdict,
        request=as_dict(request),
        find=of.find,
    )


def whole_sheet(request: Request, shelf: Shelf) -> Sheet:
    """The sheet with hosted prices and a training budget as well, without other machines and ways.

    Raises:
        CannotPlan: what cannot be asked, or what no table knows.
    """
    alone = sheet_of(request, shelf)
    fit = shelf.choose("law.chinchilla", request.fit, "fit")
    words = {**alone.words, "fit_title": f"{{law.chinchilla.{fit}.title}}"}
    words |= {"asked_quant": request.quant, "budget": request.training_budget}
    words |= hosted_words(request, alone, shelf)
    its = {
        **alone.given,
        **hosted_prices(request, words, shelf),
        **_budget(request),
        **_law(fit, shelf),
    }
    return replace(alone, words=words, given=its, parts=_lists(words, its, fit, shelf))


def sheet_of(request: Request, shelf: Shelf) -> Sheet:
    """The sheet of one machine with the model, for whoever asks for its memory and speeds alone.

    Raises:
        CannotPlan: what cannot be asked, or what no table knows.
    """
    its_own = request.model or request.config or request.params
    if not its_own and not (request.layers and request.width):
        request = replace(request, params="8B")
    its = inputs("serve", request, {}, shelf)
    _check(request, its)
    kind = shelf.choose("accelerator", request.hardware, "hardware")
    complete("--hardware", kind, NEEDED, shelf, "" if request.price else "purchase")
    words = _model(request, its, shelf) | {"today": shelf.as_of or "now"}
    words |= _machine(kind, _centre(its["own.accelerators"]), request.split, shelf)
    household = f"energy.household.{request.country.casefold()}"
    words["tariff"] = household
    if household not in shelf and not request.electricity:  # a business's
        country = shelf.choose("energy.price", request.country, "country")
        words["tariff"] = f"energy.price.{country}"
    return Sheet("serve", shelf, words, its, {name: {} for name in LISTS})


def fits(of: Sheet) -> bool:
    """Whether weights, keys and values and the engine fit, at central values."""
    return _centre(of["memory.needed"]) <= _centre(of["memory.usable"])


def _lists(words: Words, its: Given, fit: str, shelf: Shelf) -> Lists:
    """What the sheet's rows are repeated for."""
    sold = [kind for kind in OTHERS if f"purchase.{kind}" in shelf]
    outs = [name.partition("@")[2] for name in its if name.startswith("class.output@")]
    return {
        "dates": {at: {} for at in sorted(outs) if f"class.input@{at}" in its},
        "others": {name: {} for name in CLASSES if name != words["class"]},
        "measured": _measured(words["kind"], shelf),
        "machines": {kind: {} for kind in sold if f"accelerator.{kind}.memory" in shelf},
        "ways": _ways(its, fit),
    }


def _check(request: Request, its: Given) -> None:
    """What cannot be asked together."""
    for own in ("model", "config"):
        beside = [name for name in ("model", "config", *NUMBERS) if getattr(request, name)]
        if own in beside and len(beside) > 1:
            others = " and ".join(f"--{n.replace('_', '-')}" for n in beside if n != own)
            raise Conflict(f"--{own} brings its own size: drop {others}, or drop --{own}")
    size, active = its.get("model.params"), its.get("model.active_params")
    if size is not None and active is not None and _centre(active) > _centre(size):
        raise Impossible(
            f"--active-params: got {request.active_params}, expected at most --params {request.params}"
        )
    longest = _centre(its["traffic.prompt"]) + _centre(its["traffic.answer"])
    if longest > _centre(its["traffic.context"]):
        raise Conflict(
            f"--prompt and --answer together are {longest:,.0f} tokens, more than --context "
            f"{request.context}; raise --context or shorten them"
        )


def _model(request: Request, its: Given, shelf: Shelf) -> Words:
    """What the model is called, and the names of its numbers where a table states them."""
    quant = _quant(request, shelf)
    note = shelf.entry(f"serving.bytes_per_param.{quant}").figure.note
    words = {"quant": quant, "quant_loss": note, "name": "none"}
    if request.config:
        shape = read_config(request.config, "--config")
        its |= shape.quantities("--config")
        return words | {"model_title": shape.title}
    if not request.model:
        title = f"{request.layers} layers of width {request.width}"
        return words | {"model_title": f"{request.params} parameters" if request.params else title}
    name = shelf.choose("serve.model", request.model, "model")
    group = f"serve.model.{name}"
    stated_there = {part: f"{group}.{part}" for part in shelf.members(group)}
    words |= {"full_layers": f"{group}.layers", "active": f"{group}.params"} | stated_there
    return words | {"name": name, "model_title": f"{{{group}.title}}"}


def _quant(request: Request, shelf: Shelf) -> str:
    """The table's name of a quantisation."""
    word: str = request.quant.strip().casefold()
    known = shelf.members("serving.bytes_per_param")
    if word not in QUANTS and word not in known:
        raise nearest(request.quant, {*QUANTS, *known}, "quantisation")
    return QUANTS.get(word, word)


def _machine(kind: str, count: float, split: str, shelf: Shelf) -> Words:
    """The machine, whose constants its speeds take, and how several of it share the model: as asked, or by their link.

    Raises:
        Conflict: a split of one accelerator; UnknownName: neither of the two ways.
    """
    sort, sold = shelf.fact(f"accelerator.{kind}.class"), f"purchase.{kind}" in shelf
    bare = sold and sort == "consumer" and "card" in shelf.entry(f"purchase.{kind}").about
    like, way = sort if sort in GROUPS else "other", split.strip().casefold()
    link = f"accelerator.{kind}.link"
    fast = link in shelf and _centre(shelf[link]) >= _centre(shelf["serve.split.fast_link"])
    if way not in ("", *SPLITS):
        raise nearest(split, SPLITS, "split (--split)")
    if way and count == 1:
        raise Conflict("--split needs several --accelerators; drop it, or ask for 2 or more")
    return {
        "kind": kind,
        "class_of": sort,
        "group": shelf.fact(f"serve.group.decode.{kind}", like),
        "prompt_group": shelf.fact(f"serve.group.prompt.{kind}", like),
        "fp8": "fp8" if f"accelerator.{kind}.fp8" in shelf else "",
        "host": "consumer" if bare else "other",
        "purchased": f"purchase.{kind}" if sold else "",
        "count": f"{count:.0f}",
        "split": "" if count == 1 else way or ("tensor" if fast else "layers"),
        "fast": "yes" if fast else "no",
    }


def _budget(request: Request) -> Given:
    """The training budget as compute, or as money that buys it."""
    option, text = "--training-budget", request.training_budget
    which, value = kind_of(text, {"compute": "FLOP", "money": "USD"}, option)
    checked(value, FLOP if which == "compute" else MONEY, text, option)
    if which == "compute":
        about = "training compute of all together"
        return {"specialists.flop": given("specialists.flop", value, "FLOP", option, about)}
    money = given("specialists.budget", value, "USD", option, "training budget")
    return {"specialists.budget": money}


def _law(fit: str, shelf: Shelf) -> Given:
    """The constants of a published fit."""
    return {f"fit.{letter}": each for letter, each in constants_of(fit, shelf).items()}


def _ways(its: Given, fit: str) -> dict[str, Words]:
    """Specialists as asked, in another number, and by another fit; with the ends of their quantities' names."""
    asked = f"{_centre(its['specialists.count']):.0f}"
    counts = {n: {"label": f"{n} specialists", "count": n, "at": f"@k={n}"} for n in COUNTS}
    counts[asked] = {"label": f"{asked} specialists, asked", "at": "|"}
    ways = {f"k={n}": counts[n] for n in sorted(counts, key=int)}
    by = [(n, f"{asked} specialists, by {n}") for n in FITS if n != fit]
    return ways | {name: {"label": label, "at": f"@{name}", "fit": name} for name, label in by}


def _measured(kind: str, shelf: Shelf) -> dict[str, Words]:
    """Published speeds of one stream on this machine, by their names."""
    found = {}
    for name in shelf.members(f"serving.speed.{kind}"):
        way, size, quant = ([*name.split("-"), "", ""])[:3]
        read = f"serving.bytes.llama2-{size}-{quant}"
        if way == "decode" and read in shelf:
            label = f"Llama 2 {size.upper()} {quant}, one stream"
            deep, speed = f"serve.model.llama-2-{size}.layers", f"serving.speed.{kind}.{name}"
            found[name] = {"label": label, "read": read, "deep": deep, "speed": speed}
    return found


def _elsewhere(of: Sheet, words: Words) -> Given:
    """The model on one of each other machine at the market's price, by name; cells of the table in `words`."""
    its = {name: each for name, each in of.given.items() if name != "own.price"}
    one = inputs("serve", request_of("serve")(), {}, of.shelf)["own.accelerators"]
    found: Given = {}
    for kind in of.entries("machines"):
        its_words = {**of.words, **_machine(kind, 1, "", of.shelf)}
        there = replace(of, words=its_words, given={**its, "own.accelerators": one})
        shown = scoped(there.present("elsewhere"), kind) if fits(there) else []
        found |= {quantity.name: quantity for quantity in shown}
        cells = [f"={quantity.name}" for quantity in shown] or ["does not fit", "|", "|"]
        for column, cell in zip(("stream", "all", "cost"), cells, strict=True):
            words[f"{column}_{kind}"] = cell
    return found


def _other_ways(of: Sheet) -> Given:
    """What specialists come to in each way but the one asked for, by name."""
    found: Given = {}
    about = of["specialists.count"].about
    for way, said in of.parts["ways"].items():
        if "count" in said:
            name = f"specialists.count@{way}"
            count = given(name, float(said["count"]), "1", "a row of the table", about)
            its = {"specialists.count": count}
        else:
            its = _law(said["fit"], of.shelf) if "fit" in said else {}
        if its:
            one = replace(of, given={**of.given, **its})
            found |= {each.name: each for each in scoped(one.present("together"), way)}
    return found


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)
