"""The tables of `plan train`: under each published fit, other rules, the fleet, kinds of accelerators."""

import math
from dataclasses import replace

from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, derive, scoped
from archipel.planning.questions import train_fit, train_memory
from archipel.planning.questions.train_fit import FitQ, published
from archipel.planning.questions.train_fleet import bill, centre, hours_of, one
from archipel.planning.questions.train_memory import Load
from archipel.planning.questions.train_size import Size
from archipel.planning.questions.train_stages import Run
from archipel.planning.requests.train import TrainRequest
from archipel.planning.tables import Shelf

KINDS = ("rtx4090", "a100-80", "h100", "h200", "mi300x", "b200")
"""Node classes shown side by side; the one asked for comes first."""


def under_each_fit(size: Size, fits: list[FitQ], *, given: bool) -> Table:
    """The same compute under every published fit; of a given size also what it lacks and reveals."""
    words = ["parameters", "tokens", "tokens per parameter", "loss there", "loss of this plan"]
    words += [
        "worse than the optimum by",
        "worth of parameters over tokens",
        "inference revealed (below 0: under-trained)",
    ]
    columns = [_column(size, fit, given=given) for fit in fits]
    count = len(columns[0])
    rows = tuple((words[index], *(column[index] for column in columns)) for index in range(count))
    title = "Compute-optimal under each published fit, for the same training compute"
    about = "; ".join(f"{fit.name}: {fit.title}" for fit in fits)
    return Table(title, ("", *(fit.name for fit in fits)), rows, about)


def _column(size: Size, fit: FitQ, *, given: bool) -> list[Cell]:
    name = f"fit.{fit.name}"
    params = train_fit.best_params(fit, size.flop, f"{name}.params")
    tokens = train_fit.best_tokens(fit, size.flop, f"{name}.tokens")
    ratio = (tokens / params).named(f"{name}.tokens_per_param", "tokens per parameter")
    best = train_fit.best_loss(fit, size.flop, f"{name}.loss")
    here = _plan_loss(size, fit, f"{name}.plan_loss")
    column: list[Cell] = [params, tokens, ratio, best, here]
    if given and not size.mixture:
        column += [
            (here - best).named(f"{name}.penalty", "loss above the optimum"),
            train_fit.balance(fit, size.learner, size.tokens, f"{name}.balance"),
            train_fit.revealed(fit, size.learner, size.tokens, f"{name}.revealed_tokens"),
        ]
    return column


def _plan_loss(size: Size, fit: FitQ, name: str) -> Quantity:
    if size.data is not None:
        return train_fit.repeated_loss(fit, size.learner, size.tokens, size.data, name)
    return train_fit.loss(fit, size.learner, size.tokens, name, "loss of this plan")


def other_rules(size: Size, shelf: Shelf) -> Table:
    """Published allocations that come without a loss surface."""
    flop = size.flop
    rows: list[tuple[Cell, ...]] = []
    for name, title, of in _POWERS:
        constants = [published(shelf[f"law.{name}.{of}_{end}"]) for end in _ENDS]
        unit = f"law.{name}.compute_unit"
        counted_in = centre(shelf[unit]) if unit in shelf else 1.0
        rows.append((title, *_by_power(flop, counted_in, constants, f"{name}.{of}")))
    for name, title, key in _RATIOS:
        tokens = derive(
            f"rule.{name}.tokens",
            "token",
            [(flop, "FLOP"), (shelf[key], "token/param")],
            lambda c, r: (c * r / 6.0) ** 0.5,
            f"√(C × {key} / 6)",
            "tokens by this rule",
        )
        rows.append((title, _partner(flop, tokens, f"rule.{name}.params", "param"), tokens))
    return Table("Other published rules, same compute", ("", "parameters", "tokens"), tuple(rows))


_ENDS = ("coefficient", "exponent")
_POWERS = (
    ("kaplan", "Kaplan 2020 (superseded), N = A·C^a", "params"),
    ("hoffmann-approach1", "Hoffmann, approach 1, N = A·C^a", "params"),
    ("hoffmann-approach2", "Hoffmann, approach 2, N = A·C^a", "params"),
    ("llama3", "Llama 3, D = A·C^a", "tokens"),
    ("deepseek", "DeepSeek LLM, D = A·C^a", "tokens"),
)
_RATIOS = (
    ("twenty", "20 tokens per parameter", "law.tokens_per_param.rule"),
    ("minicpm", "MiniCPM, 192 tokens per parameter", "law.minicpm.tokens_per_param"),
)


def _by_power(
    flop: Quantity, counted_in: float, constants: list[Quantity], rule: str
) -> tuple[Quantity, Quantity]:
    """Parameters and tokens where one of them is a power of compute, counted in so many FLOP."""
    name, of = rule.split(".")
    unit, other = ("param", "tokens") if of == "params" else ("token", "params")
    first = derive(
        f"rule.{rule}",
        unit,
        [(flop, "FLOP"), *((each, "1") for each in constants)],
        lambda c, a, x: a * (c / counted_in) ** x,
        f"{constants[0].name} × C^{constants[1].name}",
        f"{of} by this rule",
    )
    second = _partner(flop, first, f"rule.{name}.{other}", other.removesuffix("s"))
    return (first, second) if of == "params" else (second, first)


def _partner(flop: Quantity, first: Quantity, name: str, unit: str) -> Quantity:
    """The tokens that go with parameters, or the parameters that go with tokens: C = 6ND."""
    parents = [(flop, "FLOP"), (first, str(first.unit))]
    return derive(name, unit, parents, lambda c, x: c / 6.0 / x, f"C / 6 / {first.name}", unit)


def other_sizes(size: Size, fit: FitQ) -> Table:
    """What a smaller or larger model would give for the same compute."""
    rows: list[tuple[Cell, ...]] = []
    for factor, word in ((0.5, "half"), (2.0, "double")):
        params = (size.params * factor).named(f"size.{word}.params", f"{word} the parameters")
        tokens = (size.tokens / factor).named(f"size.{word}.tokens", "tokens for the same compute")
        name = f"size.{word}.loss"
        if size.data is None:
            loss = train_fit.loss(fit, params, tokens, name, "expected loss")
        else:
            loss = train_fit.repeated_loss(fit, params, tokens, size.data, name)
        more = (loss - size.loss).named(f"size.{word}.penalty", "loss above this plan's")
        rows.append((word, params, tokens, more))
    return Table(
        f"Smaller or larger for the same compute ({fit.name})",
        ("", "parameters", "tokens", "loss above this plan's"),
        tuple(rows),
    )


def published_runs(size: Size, shelf: Shelf) -> Table:
    """The documented runs nearest in compute, to hold the plan against."""
    goal = _order(centre(size.flop))
    found: list[tuple[float, str]] = []
    for name in shelf.members("run"):
        key = f"run.{name}"
        active = f"{key}.active_params" if f"{key}.active_params" in shelf else f"{key}.params"
        if active in shelf and f"{key}.tokens" in shelf and f"{key}.accelerator_hours" in shelf:
            flop = 6.0 * centre(shelf[active]) * centre(shelf[f"{key}.tokens"])
            found.append((abs(_order(flop) - goal), key))
    rows: list[tuple[Cell, ...]] = []
    for _, key in sorted(found)[:_NEAREST]:
        figures = (shelf[f"{key}.{part}"] for part in ("params", "tokens", "accelerator_hours"))
        rows.append((shelf.fact(f"{key}.title"), *figures, shelf.fact(f"{key}.accelerator")))
    columns = ("", "parameters", "tokens", "accelerator-hours", "kind")
    return Table("Documented runs of similar compute", columns, tuple(rows))


_NEAREST = 2


def _order(flop: float) -> float:
    """The logarithm, of nothing too: a constant may be put at zero."""
    return math.log(max(flop, 1e-300))


def fleet_table(run: Run, request: TrainRequest, shelf: Shelf) -> Table:
    """Time, failures, money and electricity."""
    fleet, whole = run.fleet, run.bill
    shown = [*_ratio_of(run, shelf), fleet.speed, fleet.goodput]
    if fleet.mtbf is not None and fleet.interval is not None:
        failures = (whole.days / fleet.mtbf).named("train.failures", "failures to expect", "1")
        shown += [fleet.mtbf, failures, fleet.interval]
    project = (whole.cost * shelf["overhead.failed_runs"]).named(
        "train.project_cost", "rent with failed runs and experiments", "USD"
    )
    shown += [fleet.price, project, whole.energy]
    shown += [*_electricity(run, request, shelf), whole.co2]
    rows: tuple[tuple[Cell, ...], ...] = tuple((each.about or each.name, each) for each in shown)
    title = f"On {centre(fleet.count):,.0f} × {fleet.title}, {request.precision}"
    return Table(title, ("", ""), rows)


def _ratio_of(run: Run, shelf: Shelf) -> list[Quantity]:
    """Tokens per parameter, and how many one accelerator trains on in a second."""
    pace = run.fleet.rate / (shelf["law.flop.training"] * run.model.active)
    pace = pace.named("train.pace", "training tokens a second", "token/(s*accelerator)")
    if run.size is None:
        return [pace]
    ratio = run.size.tokens / run.size.active
    return [ratio.named("train.tokens_per_param", "tokens per active parameter"), pace]


def _electricity(run: Run, request: TrainRequest, shelf: Shelf) -> list[Quantity]:
    country = shelf.choose("energy.carbon", request.country, "country")
    if f"energy.price.{country}" not in shelf:
        return []
    cost = run.bill.energy * shelf[f"energy.price.{country}"]
    return [cost.named("train.energy_cost", "electricity, if you paid it (part of rent)", "USD")]


def kinds_table(run: Run, load: Load, request: TrainRequest, shelf: Shelf) -> Table:
    """The same run on other kinds of accelerators: what holds it, how long, how dear."""
    rows: list[tuple[Cell, ...]] = [(run.fleet.kind, load.least, run.bill.days, run.bill.cost)]
    for kind in KINDS:
        if kind != run.fleet.kind and f"rental.{kind}" in shelf:
            rows.append(_kind_row(kind, run, request, shelf))
    columns = ("kind", "held by at least", "days on as many", "rent")
    return Table("The same run on other accelerators", columns, tuple(rows))


def _kind_row(kind: str, run: Run, request: TrainRequest, shelf: Shelf) -> tuple[Cell, ...]:
    plain = replace(request, price="", precision="bf16")
    work = train_memory.work_of(run.model.params, run.model.active, request)
    (speed,) = scoped([one(kind, work, plain, shelf).speed], kind)
    fleet = replace(
        run.fleet, kind=kind, speed=speed, price=shelf[f"rental.{kind}"], scope=f"@{kind}"
    )
    flop = (run.bill.hours * run.fleet.rate).to("FLOP")
    whole = bill(hours_of(flop, fleet), fleet, request, shelf, f"kind.{kind}")
    layout = train_memory.layout_of(run.model, kind, request, shelf)
    least = train_memory.least_of(run.model, kind, layout, shelf)
    return (kind, least, whole.days, whole.cost)
