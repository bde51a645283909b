"""`plan serve`, money: a million tokens on one's own machine and hosted, and where the two meet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from archipel.planning.entries import Entry
from archipel.planning.mistakes import nearest
from archipel.planning.quantity import Quantity, derive, given, stated
from archipel.planning.questions.bounds import ELECTRICITY, LIFE, PER_TOKEN, bounded
from archipel.planning.questions.serve_asked import Model, Traffic, positive
from archipel.planning.questions.serve_machine import Machine, price_of
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

PER_MILLION = "USD/Mtoken"


@dataclass(frozen=True)
class Own:
    """The machine's costs."""

    wear: Quantity
    energy: Quantity
    yearly: Quantity
    tokens: Quantity
    """A mean day's, at the busy hours asked for."""
    cost: Quantity
    marginal: Quantity
    """Electricity of one more million tokens."""
    full: Quantity
    """The same machine busy all day."""
    capacity: Quantity


@dataclass(frozen=True)
class Hosted:
    """A hosted price for the same mix of prompt and answer."""

    name: str
    title: str
    cost: Quantity


def own_of(machine: Machine, traffic: Traffic, request: ServeRequest, shelf: Shelf) -> Own:
    """A year of the machine, and what a million tokens take of it."""
    life = positive(request.life, "own.life", LIFE, "--life", "years until it is written off")
    price = price_of(machine.kind, request, shelf)
    wear = (price * machine.count * (1 - shelf["serve.residual"]) / life).named(
        "own.wear", "loss of value in a year", "USD/year"
    )
    top = shelf[f"accelerator.{machine.kind}.server_power"] * machine.count
    drawn = (top * shelf["power.draw_share.gpu"]).named("own.draw", "draw when busy", "W")
    idle = (top * shelf["serve.idle_share"]).named("own.idle", "draw when idle", "W")
    kwh = _electricity(request, shelf)
    average = (idle + (drawn - idle) * traffic.busy).named("own.power", "average draw", "W")
    energy = (average * kwh * shelf["power.pue.home"]).named(
        "own.energy", "electricity in a year", "USD/year"
    )
    yearly = (wear + energy).named("own.yearly", "the machine, a year", "USD/year")
    tokens = (machine.throughput * traffic.busy).named(
        "own.tokens", "tokens in a mean day", "Mtoken/day"
    )
    capacity = machine.throughput.named("own.capacity", "most tokens in a day", "Mtoken/day")
    marginal = ((drawn - idle) * kwh * shelf["power.pue.home"] / machine.throughput).named(
        "own.marginal", "electricity of a million more tokens", PER_MILLION
    )
    fixed = wear + idle * kwh * shelf["power.pue.home"]
    full = (fixed / machine.throughput + marginal).named(
        "own.full", "a million tokens, busy all day", PER_MILLION
    )
    cost = (yearly / tokens).named("own.cost", "a million tokens on this machine", PER_MILLION)
    return Own(wear, energy, yearly, tokens, cost, marginal, full, capacity)


def _electricity(request: ServeRequest, shelf: Shelf) -> Quantity:
    """Given, or a household's, or where none is known a business's in that country."""
    if request.electricity:
        return positive(
            request.electricity, "own.electricity", ELECTRICITY, "--electricity", "electricity"
        )
    if f"energy.household.{request.country.casefold()}" in shelf:
        return shelf[f"energy.household.{request.country.casefold()}"]
    country = shelf.choose("energy.price", request.country, "country")
    return shelf[f"energy.price.{country}"]


def break_even(own: Own, hosted: Hosted, machine: Machine, traffic: Traffic) -> Quantity:
    """Tokens a day above which the machine is cheaper; never where its electricity alone costs more."""
    fixed = (own.yearly - own.marginal * own.tokens).named(
        "own.fixed", "cost of the idle machine, a year", "USD/year"
    )

    def tokens(per_day: object, price: object, more: object) -> object:
        gain = np.asarray(price, dtype=float) - np.asarray(more, dtype=float)
        safe = np.where(gain > 0, gain, 1.0)
        return np.where(gain > 0, np.asarray(per_day, dtype=float) / safe, np.inf)

    made = derive(
        "break_even", "Mtoken/day",
        [(fixed, "USD/day"), (hosted.cost, PER_MILLION), (own.marginal, PER_MILLION)], tokens,
        "own.fixed / (hosted.cost − own.marginal)", "tokens a day above which owning is cheaper",
    )  # fmt: skip
    if np.isfinite(Draws(count=1).centre(made)):
        return made
    return replace(made, about="tokens a day above which owning is cheaper: never")


def hosted_of(model: Model, traffic: Traffic, request: ServeRequest, shelf: Shelf) -> Hosted:
    """The hosted price asked for, or that of the class nearest in size."""
    text = request.hosted.strip()
    if text[:1].isdigit() or text[:1] in (".", "$"):
        value = bounded(text, PER_TOKEN, "--hosted")
        cost = given("hosted.cost", value, PER_MILLION, "--hosted", "a million tokens, hosted")
        return Hosted("given", "the price given", cost)
    name = _class(text, "--hosted", shelf) if text else _nearest_class(model, shelf)
    return of_class(name, "hosted.cost", traffic, shelf)


def of_class(name: str, called: str, traffic: Traffic, shelf: Shelf) -> Hosted:
    """The newest prices of a class, mixed as the traffic is."""
    group = f"serving.price.{name}"
    mixed = _mixed(shelf[f"{group}.input"], shelf[f"{group}.output"], traffic)
    title = shelf.fact(f"{group}.title", name)
    return Hosted(name, title, mixed.named(called, "a million tokens, hosted", PER_MILLION))


def classes(shelf: Shelf) -> list[str]:
    """Every hosted class with prices for both directions."""
    known = shelf.members("serving.price")
    return [name for name in known if f"serving.price.{name}.output" in shelf]


def vintages(name: str, traffic: Traffic, shelf: Shelf) -> Sequence[tuple[str, Quantity]]:
    """The class's price at each date not later than asked for, for the same mix."""
    ins, outs = (
        {entry.figure.vintage: entry for entry in shelf.vintages(f"serving.price.{name}.{way}")}
        for way in ("input", "output")
    )
    dates = sorted(set(ins) & set(outs))
    known = [date for date in dates if not shelf.as_of or date <= shelf.as_of] or dates[:1]
    found = []
    for date in known:
        pair = [_dated(each[date]) for each in (ins, outs)]
        mixed = _mixed(pair[0], pair[1], traffic)
        about = f"a million tokens, {name}, {date}"
        found.append((date, mixed.named(f"hosted.{name}@{date}", about, PER_MILLION)))
    return found


def _dated(entry: Entry) -> Quantity:
    return stated(f"{entry.name}@{entry.figure.vintage}", entry.unit, entry.figure, entry.about)


def _mixed(price_in: Quantity, price_out: Quantity, traffic: Traffic) -> Quantity:
    asked = price_in * traffic.prompt + price_out * traffic.answer
    return asked / (traffic.prompt + traffic.answer)


def _class(word: str, option: str, shelf: Shelf) -> str:
    known = {name.casefold(): name for name in classes(shelf)}
    if word.casefold() not in known:
        raise nearest(word, known.values(), f"hosted class ({option})")
    return known[word.casefold()]


def large_of(traffic: Traffic, request: ServeRequest, shelf: Shelf) -> Hosted:
    """The large model of a cascade."""
    name = _class(request.large.strip(), "--large", shelf)
    return of_class(name, "cascade.large", traffic, shelf)


def _nearest_class(model: Model, shelf: Shelf) -> str:
    """The class whose size is nearest in ratio."""
    size = Draws(count=1).centre(model.params)
    sizes = {
        name: shelf.entry(f"serve.class.{name}").figure.value
        for name in shelf.members("serve.class")
        if f"serving.price.{name}.output" in shelf
    }
    sparse = model.active is not model.params
    alike = {n: s for n, s in sizes.items() if n.endswith("-moe") == sparse} or sizes
    return min(alike, key=lambda name: abs(np.log(alike[name] / size)))
