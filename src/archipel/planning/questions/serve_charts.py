"""`plan serve`, charts: cost against busy hours, speed against streams, cascades, specialists."""

import numpy as np

from archipel.planning.plan import Bars, Chart, Lines, Series
from archipel.planning.quantity import Quantity
from archipel.planning.questions.sheet import Sheet
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import along, curve, spaced

HOURS = 24.0
MOST_STREAMS = 256
MOST_FIELDS, FIELDS_TRIED = 256, 33


def charts(of: Sheet, shown: str) -> tuple[Chart, ...]:
    """Four curves, and one stream on every machine; no cost of a machine without price or room for the model."""
    made = {
        "unfit": (_elsewhere, _fields),
        "unpriced": (_streams, _elsewhere, _fields),
        "priced": (_use, _streams, _elsewhere, _escalation, _fields),
    }
    return tuple(each(of) for each in made[shown])


def _elsewhere(of: Sheet) -> Bars:
    """One stream on each other machine that holds the model."""
    parts = [
        (of.fill("{accelerator.{part}.title}", {"part": kind}).partition(",")[0], stream)
        for kind in of.entries("machines")
        if (stream := of.given.get(f"speed.stream@{kind}"))
    ]
    return Bars("Answers of one stream, by machine", tuple(parts), "token/s")


def where_they_win(of: Sheet) -> str:
    """The best number of specialists, and where they stop paying, at central values."""
    places = spaced(1.0, MOST_FIELDS, FIELDS_TRIED)
    gains = np.array(along(of["specialists.gain"], of["specialists.count"], places))
    best = places[int(np.argmax(gains))]
    winning = [place for place, gain in zip(places, gains, strict=True) if gain > 0]
    if not winning:
        return "At central values no number of them beats the generalist."
    last = f"up to {MOST_FIELDS}" if gains[-1] > 0 else f"up to about {winning[-1]:.0f}"
    return f"At central values they win {last} fields, most at about {best:.0f}."


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)


def _flat(label: str, first: float, last: float, height: float) -> Series:
    return Series(label, [first, last], [height] * 2, style="dashed")


def _use(of: Sheet) -> Lines:
    hours, busy = spaced(0.25, HOURS), of["traffic.busy"]
    own = curve("this machine", of["own.cost"], busy, [hour / HOURS for hour in hours])
    hosted = f"hosted: {of.words['hosted_name']}"
    series = (
        Series(own.label, hours, own.y, own.low, own.high),
        _flat(hosted, hours[0], hours[-1], _centre(of["hosted.cost"])),
    )
    title, asked = "Cost of a million tokens, by busy hours", ((HOURS * _centre(busy), "asked"),)
    return Lines(title, "hours a day", "USD per million tokens", series, True, True, asked)


def _streams(of: Sheet) -> Lines:
    moved = of["traffic.streams"]
    places = spaced(1.0, float(np.clip(_centre(of["memory.streams"]), 2.0, MOST_STREAMS)))
    series = (
        curve("all streams", of["speed.decode"], moved, places),
        curve("one stream", of["speed.stream"], moved, places),
    )
    title, asked = "Answers, by streams served at once", ((_centre(moved), "asked"),)
    return Lines(title, "streams", "tokens per second", series, True, True, asked)


def _escalation(of: Sheet) -> Lines:
    moved = of[of.fill("{escalated}")]
    places = [float(place) for place in np.linspace(0.0, 1.0, 30)]
    percent = [100.0 * place for place in places]
    series = (
        Series("cascade: small first", percent, along(of["cascade.cost"], moved, places)),
        Series("router: one of the two", percent, along(of["router.cost"], moved, places)),
        _flat("always the large one", 0.0, 100.0, _centre(of["cascade.large"])),
    )
    title, used = (
        "Cost of a million tokens, by share escalated",
        ((100.0 * _centre(moved), "used"),),
    )
    along_, up = "requests that need it (%)", "USD per million tokens"
    return Lines(title, along_, up, series, mark_x=used)


def _fields(of: Sheet) -> Lines:
    places, moved = spaced(1.0, MOST_FIELDS, 25), of["specialists.count"]
    series = (
        curve("specialists and a router", of["specialists.gain"], moved, places),
        _flat("one generalist", places[0], places[-1], 0.0),
    )
    title = "One training budget: specialists over a generalist"
    up, asked = "loss below the generalist (nat per token)", ((_centre(moved), "asked"),)
    return Lines(title, "specialists", up, series, log_x=True, mark_x=asked)
