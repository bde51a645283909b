"""`plan train`: parameters and tokens for a budget, or what a given size costs, stage by stage.

Steps: read (`train_asked`) -> fleet (`train_fleet`) -> stages and size (`train_stages`, `train_size`)
-> number of accelerators (`train_memory`) -> the same again on that number -> tables and charts.
"""

from dataclasses import replace

import numpy as np

from archipel.planning.plan import Bars, Chart, Plan, Table
from archipel.planning.quantity import Quantity
from archipel.planning.questions import (
    train_curves,
    train_fit,
    train_memory,
    train_rl,
    train_stages,
    train_tables,
    train_variants,
)
from archipel.planning.questions.otherwise import NEEDED, otherwise_counted
from archipel.planning.questions.train_asked import Asked, read
from archipel.planning.questions.train_fit import FitQ
from archipel.planning.questions.train_fleet import asked_count, centre, chosen_count, one, sized
from archipel.planning.questions.train_memory import Load
from archipel.planning.questions.train_stages import Run, Setup, run_of
from archipel.planning.questions.train_words import remarks, title, verdict
from archipel.planning.requests.option import as_dict
from archipel.planning.requests.train import TrainRequest
from archipel.planning.tables import Shelf

MOST_ROUNDS, SETTLED = 12, 1e-8
"""A round leaves about a tenth of what a size was off."""
TWINS = ("sardana",)
"""Other roundings of a fit that is shown anyway; shown only when asked for."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: TrainRequest, shelf: Shelf) -> Plan:
    """One training run."""
    request = _folded(request)
    asked = read(request, shelf)
    chosen = train_fit.fit_of(asked.fit, shelf)
    others = [name for name in shelf.members("law.chinchilla") if name not in (asked.fit, *TWINS)]
    fits = [chosen, *(train_fit.fit_of(name, shelf) for name in others)]
    first = train_memory.work_of(asked.params, asked.active, request)
    fleet = one(request.accelerator, first, request, shelf)
    setup = Setup(asked, chosen, fleet, request, shelf)
    run = _on_its_fleet(setup)
    load = train_memory.load_of(run.model, run.fleet.kind, run.fleet.count, request, shelf)
    return Plan(
        question="train",
        title=title(run, asked, request),
        answers=_answers(run, asked),
        tables=_tables(run, load, fits, setup),
        charts=_charts(run, load, fits, shelf),
        remarks=remarks(run, load, setup),
        verdict=verdict(run, load, asked, chosen),
        request=as_dict(request),
    )


def _folded(request: TrainRequest) -> TrainRequest:
    """Words as they are known, whatever case they were written in."""
    words = ("stage", "precision", "recompute")
    folded = {name: getattr(request, name).strip().casefold() for name in words}
    return replace(request, **folded)


def _on_its_fleet(setup: Setup) -> Run:
    """The run on as many accelerators as were asked for, or as it needs."""
    setup = _at_its_size(setup)
    asked, request, shelf = setup.asked, setup.request, setup.shelf
    count = asked_count(request)
    if count is None and asked.budget_kind != "time":
        rough = run_of(setup)
        load = train_memory.load_of(
            rough.model, setup.fleet.kind, setup.fleet.count, request, shelf
        )
        count = chosen_count(setup.fleet, rough.bill.hours, centre(load.least), shelf)
    fleet = setup.fleet if count is None else sized(setup.fleet, count, request, shelf)
    return run_of(_at_its_size(replace(setup, fleet=fleet)))


def _at_its_size(setup: Setup) -> Setup:
    """The fleet as fast as it is on the model that it buys: where none was asked for, it is found by rounds."""
    size = 0.0
    for _ in range(0 if setup.asked.params is not None else MOST_ROUNDS):
        model = run_of(setup).model
        if abs(centre(model.params) - size) <= SETTLED * size:
            break
        size = centre(model.params)
        work = train_memory.work_of(model.params, model.active, setup.request)
        fleet = one(setup.request.accelerator, work, setup.request, setup.shelf)
        count = setup.fleet.count
        setup = replace(setup, fleet=sized(fleet, count, setup.request, setup.shelf))
    return setup


def _answers(run: Run, asked: Asked) -> tuple[Quantity, ...]:
    """The headline: what was not asked for first."""
    bill = run.bill
    if run.size is None:
        rate = (run.learning.rollouts, run.learning.rate) if run.learning else ()
        return (bill.cost, bill.hours, bill.days, run.stages[0].tokens, run.stages[0].flop, *rate)
    size = run.size
    flop = size.counted or size.flop
    bought = (size.params, size.tokens, size.loss, flop)
    paid = (bill.hours, bill.days, bill.cost)
    if asked.from_size or asked.budget is None:
        return (bill.cost, bill.hours, bill.days, size.params, size.tokens, flop, size.loss)
    return (*bought, *paid)


def _tables(run: Run, load: Load, fits: list[FitQ], setup: Setup) -> tuple[Table, ...]:
    asked, request, shelf = setup.asked, setup.request, setup.shelf
    found: list[Table] = []
    if len(run.stages) > 1:
        found.append(train_stages.table(run))
    if run.size is not None:
        found.append(train_tables.under_each_fit(run.size, fits, given=asked.params is not None))
        if asked.served is not None:
            found.append(train_variants.served_table(run.size, fits[0], asked.served))
        if run.size.data is not None:
            found.append(train_variants.repeats_table(run.size, fits, run.size.data))
        if asked.params is None:
            found.append(train_tables.other_sizes(run.size, fits[0]))
        found.append(train_tables.other_rules(run.size, shelf))
        found.append(train_tables.published_runs(run.size, shelf))
    if run.learning is not None:
        found.append(train_rl.table(run.learning, shelf))
        found.append(train_rl.recipes_table(run.learning, shelf))
        found.append(train_rl.published_table(shelf))
    found.append(train_tables.fleet_table(run, request, shelf))
    found.append(train_memory.table(load, run.fleet))
    found.append(train_tables.kinds_table(run, load, request, shelf))
    bill = run.bill
    ours = (bill.hours, run.fleet.count, bill.days, bill.energy, bill.co2)
    known = {f"train.{part}": of for part, of in zip(NEEDED, ours, strict=True)}
    found.append(otherwise_counted(known, run.fleet.kind, shelf))
    return tuple(found)


def _charts(run: Run, load: Load, fits: list[FitQ], shelf: Shelf) -> tuple[Chart, ...]:
    found: list[Chart] = []
    if run.size is not None:
        found.append(train_variants.isoflop_chart(run.size, fits))
        if run.size.data is not None:
            found.append(train_variants.epochs_chart(run.size, fits[0], run.size.data))
    if run.learning is not None:
        found.append(train_rl.chart(run.learning))
    if len(run.stages) > 1:
        stages = [(train_stages.TITLES[each.name], each.bill.cost) for each in run.stages]
        found.append(Bars("Rent by stage", tuple(stages), "USD"))
    found.append(train_curves.days_chart(run.fleet, run.bill.hours, shelf))
    parts = tuple((part.name.removeprefix("memory."), part) for part in load.parts)
    found.append(Bars("Memory of one accelerator", parts, "GB/accelerator"))
    return tuple(found)
