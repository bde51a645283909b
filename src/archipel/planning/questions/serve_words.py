"""`plan serve`: tables, caveats, and the sentence that answers."""

import math
from dataclasses import dataclass, replace

import numpy as np

from archipel.planning.laws.cascade import router_cost
from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, derive, scoped
from archipel.planning.questions.bounds import ACCELERATORS
from archipel.planning.questions.deciding import decided, share_of_worlds
from archipel.planning.questions.serve_asked import Model, Traffic, quant_of
from archipel.planning.questions.serve_caveats import caveats, unpriced
from archipel.planning.questions.serve_elsewhere import Elsewhere, elsewhere_table, measured
from archipel.planning.questions.serve_machine import Machine
from archipel.planning.questions.serve_money import (
    PER_MILLION,
    Hosted,
    Own,
    classes,
    of_class,
    vintages,
)
from archipel.planning.questions.serve_together import Cascade, Specialists, specialists_of
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import along, spaced
from archipel.planning.tables import Shelf

MOST_FIELDS, FIELDS_TRIED = 256, 33
COUNTS = (2,)
FITS = ("besiroglu", "hoffmann-tex")
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Served:
    """Everything that one answer shows."""

    model: Model
    traffic: Traffic
    machine: Machine
    own: Own | None
    """None where no table knows what the machine costs."""
    hosted: Hosted
    large: Hosted
    even: Quantity | None
    cascade: Cascade | None
    specialists: Specialists
    elsewhere: tuple[Elsewhere, ...]


def tables(served: Served, request: ServeRequest, shelf: Shelf) -> tuple[Table, ...]:
    """Money first, then the machine, then several models."""
    made = [_prices(served, shelf), _memory(served), _speed(served)]
    made += [elsewhere_table(served.elsewhere)]
    if served.machine.fits and served.cascade:
        made.append(_cascade(served.cascade, served.large, shelf))
    made += [_specialists(served, request, shelf)]
    checks = measured(served.machine.kind, shelf)
    return tuple(made + ([checks] if checks.rows else []))


def _prices(served: Served, shelf: Shelf) -> Table:
    """Here and at every hosted class, for the same prompts and answers."""
    own, traffic = served.own, served.traffic
    today = shelf.as_of or "now"
    rows: list[Row] = []
    if own is None:
        rows.append(("this machine: price unknown, give --price", "", today))
    elif served.machine.fits:
        rows += [
            ("this machine, as busy as asked", own.cost, today),
            ("this machine, busy all day", own.full, today),
            ("this machine, electricity alone", own.marginal, today),
        ]
    if served.hosted.name in classes(shelf):
        dated = vintages(served.hosted.name, traffic, shelf)
        rows += [(served.hosted.title, price, date) for date, price in dated]
    else:
        rows.append((served.hosted.title, served.hosted.cost, today))
    for name in ("open-70b", "closed-small", "closed-flagship"):
        if name != served.hosted.name and name in classes(shelf):
            each = of_class(name, f"hosted.{name}", traffic, shelf)
            rows.append((each.title, each.cost, today))
    return Table(
        "A million tokens, prompts and answers as asked", ("", "cost", "as of"), tuple(rows)
    )


def _memory(served: Served) -> Table:
    machine = served.machine
    rows: tuple[Row, ...] = (
        ("weights", served.model.weights),
        ("keys and values, all streams at full context", machine.kv),
        ("keys and values of one token", served.model.kv),
        ("engine", machine.runtime),
        ("needed", machine.needed),
        ("usable" if machine.fits else "usable: it does not fit", machine.usable),
        ("most streams at full context", machine.streams),
        ("largest model at this quantisation", machine.largest),
    )
    return Table("Memory", ("", ""), rows)


def _speed(served: Served) -> Table:
    machine, own = served.machine, served.own
    rows: tuple[Row, ...] = (
        ("answers, one stream", machine.per_stream),
        ("answers, all streams", machine.decode),
        ("prompts", machine.prompt),
        ("first token after", machine.first),
        ("streams where arithmetic takes over, at peak", machine.ridge),
    )
    if own is not None:
        rows += (
            ("tokens in a mean day, as busy as asked", own.tokens),
            ("most tokens in a day", own.capacity),
            ("loss of value", own.wear),
            ("electricity", own.energy),
        )
    return Table("Speed, and a year of it", ("", ""), rows)


def _cascade(made: Cascade, large: Hosted, shelf: Shelf) -> Table:
    rows: list[Row] = [
        (f"always the large one: {large.title}", large.cost, ""),
        ("requests that need it", made.escalated, ""),
        ("cascade: the small one first", made.cost, made.saved),
        ("router: one of the two", made.routed, made.routed_saved),
        ("gap in quality that routing keeps", "", made.recovered),
        ("escalation that makes a cascade pointless", "", made.largest),
    ]
    rows += _published(shelf)
    return Table("A cascade with a large model", ("", "a million tokens", "saved"), tuple(rows))


def _published(shelf: Shelf) -> list[Row]:
    """RouteLLM's savings from its own calls and prices, and as printed."""
    strong, weak = shelf["serve.routellm.strong_price"], shelf["serve.routellm.weak_price"]
    rows: list[Row] = []
    for name, title in (("mtbench", "MT-Bench"), ("mmlu", "MMLU")):
        calls = shelf[f"serve.routellm.calls_{name}"]
        cost = derive(
            f"routellm.cost_{name}", PER_MILLION,
            [(weak, PER_MILLION), (strong, PER_MILLION), (calls, "1")], router_cost,
            f"(1 − {calls.name}) × {weak.name} + {calls.name} × {strong.name}",
            f"RouteLLM on {title}, a million tokens",
        )  # fmt: skip
        saved = (1 - cost / strong).named(f"routellm.saving_{name}", "saved", "percent")
        share = Draws(count=1).centre(calls)
        printed = Draws(count=1).centre(shelf[f"cascade.routellm.saving_{name}"])
        label = f"RouteLLM, {title}, {share:.0%} of calls (printed: {printed:.0%} saved)"
        rows.append((label, cost, saved))
    return rows


def _specialists(served: Served, request: ServeRequest, shelf: Shelf) -> Table:
    """Both ways for several k; the asked one first."""
    made = served.specialists
    rows: list[Row] = [("one generalist", made.generalist, made.generalist_loss, "", "")]
    asked = int(float(Draws(count=1).centre(made.count)))
    for count in sorted({*COUNTS, asked}):
        if count == asked:
            rows.append(
                (f"{count} specialists, asked", made.size, made.loss, made.gain, made.worth)
            )
            continue
        other = specialists_of(replace(request, specialists=str(count)), shelf)
        cells = scoped([other.size, other.loss, other.gain, other.worth], f"k={count}")
        rows.append((f"{count} specialists", *cells))
    for fit in (name for name in FITS if name != made.fit.name):
        other = specialists_of(replace(request, fit=fit), shelf)
        cells = scoped([other.size, other.loss, other.gain, other.worth], fit)
        rows.append((f"{asked} specialists, by {fit}", *cells))
    rows += [
        ("tokens of the generalist", made.generalist_tokens, "", "", ""),
        ("parameters of base and specialists", made.stored, "", "", ""),
    ]
    heads = ("", "parameters each", "loss", "below generalist", "worth × budget")
    about = f"{made.fit.title}; training compute {request.training_budget}"
    return Table(
        "One training budget: a generalist, or specialists and a router", heads, tuple(rows), about
    )


def remarks(served: Served, request: ServeRequest, shelf: Shelf) -> tuple[str, ...]:
    """What a reader must not miss."""
    centre = Draws(count=1).centre
    machine, said = served.machine, []
    if not machine.fits:
        said.append(_unfit(served, request, shelf))
    elif centre(served.traffic.streams) > centre(machine.streams) * 1.001:
        said.append("Not all streams fit at full context.")
    said += caveats(served.model, machine, request, shelf, known=served.own is not None)
    loss = shelf.entry(f"serving.bytes_per_param.{quant_of(request, shelf)}").figure.note
    if loss:
        said.append(f"What quantisation costs in quality: {loss}; not in the figures here.")
    said += [
        "A hosted model of the same class need not be the same model. Speculative decoding, prefix "
        "caches and reading weights from disk are not modelled. Privacy has no price here.",
        "Specialists: transfer between fields, the worth of specialising and the router are assumed, "
        "with wide intervals; only the loss law is published (A and B move with their exponents). "
        + _where_they_win(served.specialists),
        _better(served.specialists),
    ]
    return tuple(said)


def _where_they_win(made: Specialists) -> str:
    """The best number of specialists, and where they stop paying, at central values."""
    places = spaced(1.0, MOST_FIELDS, FIELDS_TRIED)
    gains = np.array(along(made.gain, made.count, places))
    best = places[int(np.argmax(gains))]
    winning = [place for place, gain in zip(places, gains, strict=True) if gain > 0]
    if not winning:
        return "At central values no number of them beats the generalist."
    last = f"up to {MOST_FIELDS}" if gains[-1] > 0 else f"up to about {winning[-1]:.0f}"
    return f"At central values they win {last} fields, most at about {best:.0f}."


def _unfit(served: Served, request: ServeRequest, shelf: Shelf) -> str:
    """What would fit."""
    centre = Draws(count=1).centre
    needed, usable = centre(served.machine.needed), centre(served.machine.usable)
    return (
        f"It does not fit: {needed:,.1f} GB needed, {usable:,.1f} GB usable. Take {_more(served)}, at most "
        f"{centre(served.machine.largest) / 1e9:.3g}B parameters, fewer bits (--quant), or a shorter "
        "--context. Speeds are of a machine that would hold it."
    )


def _more(served: Served) -> str:
    """How many of the machine hold the model."""
    centre, machine = Draws(count=1).centre, served.machine
    fixed = centre(served.model.weights) + centre(machine.kv)
    each = (centre(machine.usable) - centre(machine.runtime)) / max(centre(machine.count), 1.0)
    count = fixed / each if each > 0 else math.inf
    return f"{math.ceil(count):,} of them" if count < ACCELERATORS.most else "a larger machine"


def specialists_asked(request: ServeRequest) -> bool:
    """Whether anything about specialists was asked for."""
    names = ("specialists", "training_budget", "domain_share", "fit")
    return any(getattr(request, name) != getattr(ServeRequest, name) for name in names)


def verdict(served: Served, *, asked: bool) -> str:
    """Does it fit; own or hosted; and specialists, if they were asked for."""
    said = _own_or_hosted(served) if served.machine.fits else _cannot(served)
    return f"{said} {_better(served.specialists)}" if asked else said


def _own_or_hosted(served: Served) -> str:
    centre = Draws(count=1).centre
    if served.own is None or served.even is None:
        return unpriced(served.machine, centre(served.hosted.cost))
    own, hosted = centre(served.own.cost), centre(served.hosted.cost)
    if not (math.isfinite(own) and math.isfinite(hosted)):
        return "No cost comes out under these constants: look at what --set changed."
    share = share_of_worlds(served.own.cost / served.hosted.cost, lambda ratio: ratio < 1.0)
    cheaper = decided(share, "cheaper than", "dearer than", "about as dear as")
    day, most = centre(served.even), centre(served.own.capacity)
    when = (
        "its electricity alone costs more" if day == float("inf")
        else f"owning pays above {day:,.1f} million tokens a day"
        + ("" if day <= most else ", more than it can make")
    )  # fmt: skip
    return f"A million tokens cost ${own:.3g} here, {cheaper} hosted at ${hosted:.3g}; {when}."


def _cannot(served: Served) -> str:
    centre = Draws(count=1).centre
    needed, usable = centre(served.machine.needed), centre(served.machine.usable)
    return (
        f"It does not fit: {needed:,.1f} GB needed, {usable:,.1f} GB usable; take {_more(served)}. "
        f"Hosted, a million tokens cost ${centre(served.hosted.cost):.3g}."
    )


def _better(made: Specialists) -> str:
    """Specialists against a generalist, by the share of worlds."""
    gain = Draws(count=1).centre(made.gain)
    if not math.isfinite(gain):
        return "Specialists and generalist cannot be compared under these constants."
    won = share_of_worlds(made.gain, lambda each: each > 0)
    word = decided(won, "beat", "lose to", "neither beat nor lose to")
    return (
        f"{Draws(count=1).centre(made.count):.0f} specialists {word} one generalist of the same budget: "
        f"{gain:+.3f} nat per token, better in {won:.0%} of sampled worlds."
    )
