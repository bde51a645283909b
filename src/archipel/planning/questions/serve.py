"""`plan serve`: a model on one's own hardware against hosted prices, in a cascade, and as specialists.

Steps: model and traffic (`_asked`) -> one machine (`_machine`) -> money (`_money`) -> several models
(`_together`) -> tables and remarks (`_words`), charts (`_charts`).
"""

import numpy as np

from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity
from archipel.planning.questions.serve_asked import model_of, traffic_of
from archipel.planning.questions.serve_charts import charts
from archipel.planning.questions.serve_elsewhere import elsewhere
from archipel.planning.questions.serve_machine import machine_of, priced
from archipel.planning.questions.serve_money import break_even, hosted_of, large_of, own_of
from archipel.planning.questions.serve_together import cascade_of, specialists_of
from archipel.planning.questions.serve_words import (
    Served,
    remarks,
    specialists_asked,
    tables,
    verdict,
)
from archipel.planning.requests.option import as_dict
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.tables import Shelf


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: ServeRequest, shelf: Shelf) -> Plan:
    """One machine first; other machines, hosted prices, a cascade and specialists beside it."""
    model, traffic = model_of(request, shelf), traffic_of(request)
    kind = shelf.choose("accelerator", request.hardware, "hardware")
    machine = machine_of(kind, model, traffic, request, shelf)
    own = own_of(machine, traffic, request, shelf) if priced(kind, request, shelf) else None
    hosted = hosted_of(model, traffic, request, shelf)
    large = large_of(traffic, request, shelf)
    even = break_even(own, hosted, machine, traffic) if own else None
    served = Served(
        model, traffic, machine, own, hosted, large, even,
        cascade_of(own, large, request, shelf) if own else None, specialists_of(request, shelf),
        elsewhere(model, traffic, request, shelf),
    )  # fmt: skip
    asked = specialists_asked(request)
    count = "" if request.accelerators == "1" else f"{request.accelerators} × "
    return Plan(
        question="serve",
        title=f"{model.title} ({request.quant}) on {count}{machine.title}",
        answers=_answers(served, asked=asked),
        tables=tables(served, request, shelf),
        charts=charts(served),
        remarks=remarks(served, request, shelf),
        verdict=verdict(served, asked=asked),
        request=as_dict(request),
    )  # fmt: skip


def _answers(served: Served, *, asked: bool) -> tuple[Quantity, ...]:
    """Money and speed; of a model that does not fit, what it needs instead."""
    machine, beside = served.machine, (served.specialists.worth,) if asked else ()
    if not machine.fits:
        return (machine.needed, machine.usable, machine.largest, served.hosted.cost, *beside)
    own, even, cascade = served.own, served.even, served.cascade
    if own is None or even is None or cascade is None:
        return (
            machine.per_stream, machine.throughput, machine.needed, served.hosted.cost, *beside
        )  # fmt: skip
    return (
        own.cost, served.hosted.cost, even, machine.per_stream, machine.throughput, machine.needed,
        cascade.saved, *beside,
    )  # fmt: skip
