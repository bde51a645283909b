"""`plan meek`: will the frontier's advantage last, on which measure, and when does scale stop paying?

What is computed and said stands in `sheets/meek.toml`; here are the laws, the years and the races that its rows
are repeated for, and what cannot be asked.
"""

import numpy as np

from archipel.planning.laws import race
from archipel.planning.mistakes import Conflict, Impossible
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, Source, Stated, stated
from archipel.planning.questions.bounds import AHEAD, bounded
from archipel.planning.questions.meek_charts import charts
from archipel.planning.questions.meek_law import BENCHMARK_LAW, COMPARED, PUBLISHED, Law, laws
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests.option import Request, as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.wording import amount_text

SHARES = (0.0, 1 / 5, 1 / 3, 2 / 3, 1.0)
"""Of the years ahead: the rows of the table; 0, 3, 5, 10, 15 by default."""
READINGS = ("1e17", "1e20")
"""What the paper's summaries print for 1,000 USD, read as compute and as compute per dollar."""
BY_POINTS = "last_doubling_by_points(meek.price, {worth}, {curve})"
BY_LOSS = "last_doubling_worth_it({worth} / 0.01, meek.price, under.coefficient, under.exponent)"
"""A worth is that of 0.01 nat."""
Words = dict[str, str]


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """The frontier against a fixed budget."""
    if request.value and request.nat_value:
        raise Conflict(
            "--value and --nat-value both say what an improvement is worth; drop --nat-value to go by "
            "benchmark points, or --value to go by loss"
        )
    years = bounded(request.years, AHEAD, "--years")
    by_points = not request.nat_value
    of = _sheet(request, shelf, years, by_points)
    _check_stop(of, by_points)
    law = of.words["law"]
    return Plan(
        question="meek",
        title=of.title(),
        answers=of.answers(),
        tables=of.tables,
        charts=lambda: charts(of, law, years, by_points),
        remarks=of.remarks,
        verdict=of.verdict,
        request=as_dict(request),
        find=of.find,
    )


def _sheet(request: Request, shelf: Shelf, years: float, by_points: bool) -> Sheet:
    """The sheet with its laws, rows and the person's own figures."""
    given = inputs("meek", request, {}, shelf)
    known = laws(request.law, shelf)
    law = next(iter(known.values()))
    given |= _constants("under", law) | _constants("scores", known[BENCHMARK_LAW])
    given["step.budget"] = shelf["frontier.meek.budget"]
    ahead = _ahead(years)
    tags = list(ahead)
    words = {
        "law": law.name,
        "worth": "meek.worth" if request.value or request.nat_value else "meek.point_worth",
        "improvement": "benchmark point" if by_points else "hundredth of a nat",
        "stop": BY_POINTS if by_points else BY_LOSS,
        "middle": tags[2],
        "last": tags[4],
        "middle_years": ahead[tags[2]]["years"],
        "last_years": f"{years:g}",
    }
    of = Sheet("meek", shelf, words, given, {"ahead": ahead, "races": _races(known, law)})
    words["budget"], words["spend"] = _sides(of)
    for decade in of.entries("decades"):
        figure = Stated(float(decade), "derived", Source("row", "a row of the table"))
        name = f"meek.doubling.{decade}.flop"
        given[name] = stated(name, "FLOP", figure, "compute to double")
    for tag, under in _laws_of(known, law).items():
        measured = tag == "measured"
        start = f"meek.reading.{tag.partition('.')[2]}" if "." in tag else "meek.c0"
        given |= _constants(f"race.{tag}", under)
        given[f"race.{tag}.start"] = of[start]
        given[f"race.{tag}.shared"] = of["meek.shared.measured" if measured else "meek.shared"]
        given[f"race.{tag}.own"] = of["frontier.growth.cost" if measured else "frontier.meek.g_i"]
    return of


def _constants(group: str, law: Law) -> dict[str, Quantity]:
    """A law's constants under names that formulas use."""
    own = {"floor": law.floor, "coefficient": law.coefficient, "exponent": law.exponent}
    return {f"{group}.{part}": each for part, each in (own | law.fit).items()}


def _ahead(years: float) -> dict[str, Words]:
    """The years of the table, by the ends of their quantities' names."""
    found = {}
    for each in (round(years * share, 2) for share in SHARES):
        when = f"in {each:g} years" if each else "today"
        on = "in 1 year" if each == 1 else when
        found[f"{each:g}y".replace(".", "_")] = {"years": f"{each:g}", "when": when, "on": on}
    return found


def _laws_of(known: dict[str, Law], law: Law) -> dict[str, Law]:
    """The law of each race from equal budgets, by the end of its quantities' names."""
    names = dict.fromkeys([*COMPARED, law.name])
    published = {f"{PUBLISHED}.{label}": known[PUBLISHED] for label in READINGS}
    return {name: known[name] for name in names} | published | {"measured": law}


def _races(known: dict[str, Law], law: Law) -> dict[str, Words]:
    """What each race is called."""
    labels = {f"{PUBLISHED}.{label}": f"{PUBLISHED}, C0 = {label}" for label in READINGS}
    labels["measured"] = f"{law.name}, rates by Ho and Epoch"
    raced = _laws_of(known, law).items()
    return {tag: {"label": labels.get(tag, tag), "under": each.name} for tag, each in raced}


def _sides(of: Sheet) -> tuple[str, str]:
    """What both spend, in words; the frontier must lead."""
    budget, spend = (_centre(of[name]) for name in ("frontier.meek.budget", "meek.frontier_spend"))
    if spend <= budget:
        raise Impossible(
            f"--frontier: got {spend:,.0f} USD, expected more than the fixed budget of {budget:,.0f} USD; "
            "otherwise there is no advantage to lose"
        )
    return amount_text(budget, "USD"), amount_text(spend, "USD")


def _check_stop(of: Sheet, by_points: bool) -> None:
    """Somewhere between the first doubling and the last one imaginable it must stop paying."""
    at = _centre(of["meek.stop.flop"])
    if at <= 0:
        law = [_centre(of[name]) for name in of.arguments("curve")]
        points = race.points_of_doubling(race.SEARCH, *law)
        cheapest = float(np.min(_centre(of["meek.price"]) * race.SEARCH / points))
        raise Impossible(
            f"--value: no doubling of compute pays at this worth; the cheapest point costs {cheapest:,.0f} "
            "USD, so give at least that"
        )
    if by_points and at >= race.SEARCH[-1]:
        raise Impossible(
            f"--value: at this worth every doubling up to {amount_text(race.SEARCH[-1], 'FLOP')} pays; give "
            "less, e.g. 10M USD a point"
        )


def _centre(of: Quantity) -> float:
    return Draws(0, 1).centre(of)
