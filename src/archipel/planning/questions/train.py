"""`plan train`: parameters and tokens for a budget, or what a given size costs, stage by stage.

What is computed, refused and said stands in `sheets/train.toml` and what it includes; here are the number of
accelerators, the size at whose own speed a budget buys it, what stands beside the plan's own, and the title.
"""

import math
from dataclasses import replace
from functools import cache

import numpy as np

from archipel.planning.mistakes import Impossible
from archipel.planning.plan import Plan, Table
from archipel.planning.quantity import Quantity, pure, scoped
from archipel.planning.questions.bounds import ACCELERATORS
from archipel.planning.questions.otherwise import otherwise_counted
from archipel.planning.questions.sheet import Sheet
from archipel.planning.questions.train_asked import (
    DEFAULT_BUDGET,
    Asked,
    Words,
    centre,
    defaulted,
    read,
    shares,
)
from archipel.planning.questions.train_charts import charts
from archipel.planning.questions.train_memory import held_by, server_of
from archipel.planning.questions.utilisation import Work, chip_of, linked, utilisation
from archipel.planning.questions.ways import ways
from archipel.planning.requests.option import Request, as_dict, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

SOONEST_H = 1.0
"""Nobody chooses a fleet for a run of less than an hour."""
USUAL = 7e9
"""Parameters of which a utilisation is taken until the budget's own size is known."""
MOST_ROUNDS, SETTLED = 12, 1e-8
"""In logarithms of the size: what is left of a round is a tenth, by the secant far less."""
LEAST_GOODPUT = 1e-3
"""A run that keeps less of its time than this is taken to stand still."""
FITS = "Compute-optimal under each published fit, for the same training compute"
"""A table with a column for each fit."""
NEAREST, LEAST_FLOP = 2, 1e-300
"""Documented runs shown; a constant may be put at zero."""
FULL = "(law.flop.full_recomputation / law.flop.training)"
"""Arithmetic over the model's where all activations are computed again."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """One training run."""
    asked = read(request, shelf)
    run = _on_its_fleet(asked)
    held = held_by(run, asked, run.words["kind"], centre(run["train.accelerators"]))
    _hold(run, held, asked)

    @cache
    def otherwise() -> Sheet:
        return otherwise_counted(run, run.words["kind"], shelf)

    return Plan(
        question="train",
        title=run.title(),
        answers=tuple(run.present(run.words["headline"])),
        tables=lambda: [*_tables(run, asked), *otherwise().tables()],
        charts=lambda: charts(run, held, asked),
        remarks=run.remarks,
        verdict=run.verdict,
        request=as_dict(asked.request),
        find=lambda name: _find(name, run, asked) or otherwise().find(name),
    )


def _tables(run: Sheet, asked: Asked) -> list[Table]:
    """Every table, with other kinds and documented runs beside the plan's own."""
    _beside(run, asked)
    run.parts["near"] = _near(run, asked.shelf)
    return [_turned(each) if each.title == FITS else each for each in run.tables()]


def _find(name: str, run: Sheet, asked: Asked) -> Quantity | None:
    """A quantity by its name; those of other kinds are made for it."""
    if any(other in name for other in run.parts["others"]):
        _beside(run, asked)
    return run.find(name)


def _on_its_fleet(asked: Asked) -> Sheet:
    """The run on as many accelerators as were asked for, or as it needs, as fast as they are on its model."""
    kind = asked.words["kind"]
    server = server_of(kind, asked.shelf)
    one = defaulted("train.accelerators", server, "accelerator", "--count", "accelerators")
    count, model = asked.given.get("train.accelerators"), _model(asked.given)
    if count is None and "time" not in asked.flags:
        rough = _bound(asked, one, model)
        model = _model({name: rough[name] for name in _SIZE})
        rough = _bound(asked, one, model)
        least = centre(held_by(rough, asked, kind, server)[f"memory.least.{kind}"])
        count = _chosen_count(centre(rough["train.accelerator_hours"]), least, server, asked.shelf)
    return _settled(asked, count or one, model)


def _settled(asked: Asked, count: Quantity, model: Work) -> Sheet:
    """The run whose speed is that of the model it finds: what a budget buys decides how fast it is bought."""
    run = _bound(asked, count, model)
    size, moved, before = centre(model.params), 0.0, 0.0
    for _ in range(0 if "params" in asked.flags else MOST_ROUNDS):
        off = math.log(centre(run["train.params"]) / size)
        if abs(off) < SETTLED:
            break
        secant = moved * off / (before - off) if before != off else off
        moved = secant if before and abs(secant) < abs(2.0 * off) else off
        size, before = size * math.exp(moved), off
        run = _bound(asked, count, Work(pure(size, "param"), pure(size, "param"), model.sequence))
    return run


_SIZE = ("train.params", "size.active", "train.sequence")


def _model(known: dict[str, Quantity]) -> Work:
    """What a step works on, as plain numbers: of a usual model where none is known yet."""
    held = centre(known["train.params"]) if "train.params" in known else USUAL
    active = known.get("size.active", known.get("train.active_params"))
    used = held if active is None else centre(active)
    return Work(pure(held, "param"), pure(used, "param"), known["train.sequence"])


def _bound(asked: Asked, count: Quantity, model: Work) -> Sheet:
    """The sheet on a number of accelerators that train a model, looked through for what no run can meet."""
    kind, mixture = asked.words["kind"], centre(model.params / model.active) > 1.0
    words = asked.words | ways("train", asked.flags)
    words |= {
        "count": f"{centre(count):,.0f}",
        "chip": chip_of(kind),
        "links": linked(kind, mixture),
    }
    words |= {"group": "train", "least": f"{LEAST_GOODPUT:g}"}
    given = asked.given | {"train.accelerators": count}
    given |= {"job.params": model.params, "job.active": model.active}
    run = Sheet("train", asked.shelf, words, given, dict(asked.parts))
    if why := run.told("impossible"):
        raise Impossible(why)
    return run


def _chosen_count(hours: float, least: float, server: int, shelf: Shelf) -> Quantity:
    """Whole servers, a power of two of them, that end in about a month and hold the model."""
    patience = max(centre(shelf["train.patience"].to("h")), SOONEST_H)
    wanted = max(hours / patience, least if math.isfinite(least) else 1.0, 1.0)
    wanted = max(1.0, min(wanted, centre(shelf["train.most_accelerators"]), ACCELERATORS.most))
    number = server * 2 ** max(0, math.ceil(math.log2(wanted / server) - 1e-9))
    about = "accelerators: whole servers for about a month that hold the model"
    return defaulted("train.accelerators", number, "accelerator", "--count", about)


def _hold(run: Sheet, held: Sheet, asked: Asked) -> None:
    """Put memory, and the words that depend on what came out, into the sheet."""
    shown = [
        *held.entries("parts"),
        "memory.total",
        "memory.states",
        held.fill("memory.least.{kind}"),
    ]
    run.given |= {name: held[name] for name in shown}
    run.parts["memory"] = {name: {} for name in shown}
    spread = Draws().estimate(asked.shelf["utilisation.spread"])
    run.words |= {
        "what": _title(asked),
        "shares": _shares(asked.request.shares),
        "spread": "" if asked.flags & {"mfu", "hfu"} else f"{spread.high:.1f}",
        "tensor": held.words["tensor"],
        "again": FULL if held.words["recompute"] == "full" else "1",
        "capacity": f"{centre(held['kind.memory']):g}",
        "batch": f"{centre(run['train.micro_batch']):g}",
        "length": f"{centre(run['train.sequence']):,.0f}",
    }


def _beside(run: Sheet, asked: Asked) -> None:
    """Put other kinds' utilisation, and the fewest of them that hold the run, into the sheet."""
    work = _model({name: run[name] for name in _SIZE})
    for other in run.entries("others"):
        name = f"memory.least.{other}"
        if name not in run.given:
            run.given[name] = held_by(run, asked, other)[name]
            there = utilisation(other, work, asked.shelf)
            counted = there["train.counted" if "attention" in asked.flags else "train.mfu"]
            (run.given[f"reached.{other}"],) = scoped([counted], other)


def _near(run: Sheet, shelf: Shelf) -> dict[str, Words]:
    """The documented runs nearest in compute, to hold the plan against."""

    def far(name: str) -> float:
        active = f"run.{name}.active_params"
        size = shelf[active if active in shelf else f"run.{name}.params"]
        its = centre(shelf["law.flop.training"] * size * shelf[f"run.{name}.tokens"])
        return abs(math.log(max(its, LEAST_FLOP) / max(flop, LEAST_FLOP)))

    flop = centre(run["size.flop"]) if run.get("size.flop") else 0.0
    shown = ("params", "tokens", "accelerator_hours")
    known = [n for n in shelf.members("run") if all(f"run.{n}.{part}" in shelf for part in shown)]
    return {name: {} for name in sorted(sorted(known), key=far)[:NEAREST]} if flop else {}


def _turned(table: Table) -> Table:
    """A table of fits with a column for each, without rows of which nothing exists."""
    (_, *heads), *rows = zip(table.columns, *table.rows, strict=True)
    kept = tuple(row for row in rows if any(row[1:]))
    return replace(table, columns=("", *map(str, heads)), rows=kept)


def _title(asked: Asked) -> str:
    """What is planned, with the numbers that were asked for."""
    request, options = asked.request, read_sheet("train")["options"].items()
    goals = [f"for {request.budget or DEFAULT_BUDGET}" if "budgeted" in asked.flags else ""]
    given = [(row["said"], name) for name, row in options if "said" in row and name in asked.flags]
    goals += [said.format(getattr(request, name)) for said, name in given]
    what = "Training" if request.stage == "all" else asked.words["Stage"]
    if "later" in asked.flags:
        what, goals = f"{what} of", [*goals[1:], goals[0]]
    return f"{what} {', '.join(filter(None, goals))}".replace(", for ", " for ")


def _shares(text: str) -> str:
    """What the weights of stages add up to, if they are no shares."""
    whole = sum(map(centre, shares(text).values())) if text else 1.0
    return "" if whole in (1.0, 100.0) else f"{whole:g}"
