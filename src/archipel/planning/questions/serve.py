"""`plan serve`: a model on one's own hardware against hosted prices, in a cascade, and as specialists.

Steps: model and traffic (`_asked`) -> one machine (`_machine`) -> money (`_money`) -> several models
(`_together`) -> tables and remarks (`_words`), charts (`_charts`).
"""

from archipel.planning.plan import Plan
from archipel.planning.questions.serve_asked import model_of, traffic_of
from archipel.planning.questions.serve_charts import charts
from archipel.planning.questions.serve_elsewhere import elsewhere
from archipel.planning.questions.serve_machine import machine_of
from archipel.planning.questions.serve_money import break_even, hosted_of, large_of, own_of
from archipel.planning.questions.serve_together import cascade_of, specialists_of
from archipel.planning.questions.serve_words import Served, remarks, tables, verdict
from archipel.planning.requests.option import as_dict
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.tables import Shelf


def plan(request: ServeRequest, shelf: Shelf) -> Plan:
    """One machine first; other machines, hosted prices, a cascade and specialists beside it."""
    model, traffic = model_of(request, shelf), traffic_of(request)
    kind = shelf.choose("accelerator", request.hardware, "hardware")
    machine = machine_of(kind, model, traffic, request, shelf)
    own = own_of(machine, traffic, request, shelf)
    hosted = hosted_of(model, traffic, request, shelf)
    large = large_of(traffic, request, shelf)
    even = break_even(own, hosted, machine, traffic)
    served = Served(
        model, traffic, machine, own, hosted, large, even,
        cascade_of(own, large, request, shelf), specialists_of(request, shelf),
        elsewhere(model, traffic, request, shelf),
    )  # fmt: skip
    count = "" if request.accelerators == "1" else f"{request.accelerators} × "
    return Plan(
        question="serve",
        title=f"{model.title} ({request.quant}) on {count}{machine.title}",
        answers=(
            own.cost, hosted.cost, even, machine.per_stream, machine.throughput, machine.needed,
            served.cascade.saved, served.specialists.worth,
        ),
        tables=tables(served, request, shelf),
        charts=charts(served),
        remarks=remarks(served, request, shelf),
        verdict=verdict(served),
        request=as_dict(request),
    )  # fmt: skip
