"""`plan serve`, charts: cost against busy hours, speed against streams, cascades, specialists."""

from collections.abc import Sequence

import numpy as np

from archipel.planning.plan import Chart, Lines, Series
from archipel.planning.questions.serve_elsewhere import elsewhere_bars
from archipel.planning.questions.serve_money import Own
from archipel.planning.questions.serve_together import Cascade
from archipel.planning.questions.serve_words import MOST_FIELDS, Served
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import along, curve, spaced

HOURS = 24.0
MOST_STREAMS = 256


def charts(served: Served) -> tuple[Chart, ...]:
    """Four curves, and one stream on every machine; no cost of a machine that cannot hold the model."""
    if not served.machine.fits:
        return (elsewhere_bars(served.elsewhere), _fields(served))
    if served.own is None or served.cascade is None:
        return (_streams(served), elsewhere_bars(served.elsewhere), _fields(served))
    return (
        _use(served, served.own), _streams(served), elsewhere_bars(served.elsewhere),
        _escalation(served, served.cascade), _fields(served),
    )  # fmt: skip


def _use(served: Served, here: Own) -> Lines:
    hours = spaced(0.25, HOURS)
    shares = [hour / HOURS for hour in hours]
    own = curve("this machine", here.cost, served.traffic.busy, shares)
    centre = Draws(count=1).centre
    ends = [hours[0], hours[-1]]
    return Lines(
        "Cost of a million tokens, by busy hours",
        "hours a day", "USD per million tokens",
        (
            Series(own.label, hours, own.y, own.low, own.high),
            Series(f"hosted: {served.hosted.name}", ends, [centre(served.hosted.cost)] * 2, style="dashed"),
        ),
        log_x=True, log_y=True,
        mark_x=((HOURS * centre(served.traffic.busy), "asked"),),
    )  # fmt: skip


def _streams(served: Served) -> Lines:
    centre = Draws(count=1).centre
    machine, moved = served.machine, served.traffic.streams
    most = float(np.clip(centre(machine.streams), 2.0, MOST_STREAMS))
    places = spaced(1.0, most)
    return Lines(
        "Answers, by streams served at once",
        "streams", "tokens per second",
        (
            curve("all streams", machine.decode, moved, places),
            curve("one stream", machine.per_stream, moved, places),
        ),
        log_x=True, log_y=True, mark_x=((centre(moved), "asked"),),
    )  # fmt: skip


def _escalation(served: Served, made: Cascade) -> Lines:
    centre = Draws(count=1).centre
    places = [float(place) for place in np.linspace(0.0, 1.0, 30)]
    percent = [100.0 * place for place in places]

    def moved(label: str, ys: Sequence[float]) -> Series:
        return Series(label, percent, list(ys))

    return Lines(
        "Cost of a million tokens, by share escalated",
        "requests that need it (%)", "USD per million tokens",
        (
            moved("cascade: small first", along(made.cost, made.escalated, places)),
            moved("router: one of the two", along(made.routed, made.escalated, places)),
            Series("always the large one", [0.0, 100.0], [centre(served.large.cost)] * 2, style="dashed"),
        ),
        mark_x=((100.0 * centre(made.escalated), "used"),),
    )  # fmt: skip


def _fields(served: Served) -> Lines:
    centre = Draws(count=1).centre
    made = served.specialists
    places = spaced(1.0, MOST_FIELDS, 25)
    return Lines(
        "One training budget: specialists over a generalist",
        "specialists", "loss below the generalist (nat per token)",
        (
            curve("specialists and a router", made.gain, made.count, places),
            Series("one generalist", [places[0], places[-1]], [0.0, 0.0], style="dashed"),
        ),
        log_x=True, mark_x=((centre(made.count), "asked"),),
    )  # fmt: skip
