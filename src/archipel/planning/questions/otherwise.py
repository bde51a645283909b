"""A training run as others count it: electricity as model cards report it, cost after Epoch.

What is computed stands in `sheets/otherwise.toml`. Training starts on the date of `--as-of`; without it, with the
newest table.
"""

from collections.abc import Mapping
from datetime import date, timedelta

from archipel.planning.quantity import Quantity, Source, Stated, stated
from archipel.planning.questions.computers import inside_server
from archipel.planning.questions.sheet import Sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

NEEDED = ("accelerator_hours", "accelerators", "days", "energy", "co2")
"""Of a run, below `train.`."""
MADE_PUBLIC = timedelta(days=60)
"""From the end of training until a model is published, as Epoch assumes."""
YEAR_DAYS = 365.25
LONGEST_DAYS = 100 * YEAR_DAYS
"""A run of a century ends in the last year of the tables like one of a thousand."""
LAST_YEAR = 9000
"""Calendars end in 9999."""


def otherwise_counted(run: Mapping[str, Quantity] | Sheet, kind: str, shelf: Shelf) -> Sheet:
    """Electricity, CO2 and cost of a run on one kind of accelerator by published ways of counting."""
    had = {f"run.{part}": run[f"train.{part}"] for part in NEEDED}
    started = _started(shelf)
    days = Draws(count=1).centre(had["run.days"].to("day"))
    taken = timedelta(days=days if days < LONGEST_DAYS else LONGEST_DAYS)
    years = sorted(int(year) for year in shelf.members("epoch.electricity"))
    first, bought = f"epoch.sold.{kind}", f"purchase.{kind}" in shelf
    words = {
        "kind": kind,
        "year": str(max(years[0], min((started + taken + MADE_PUBLIC).year, years[-1]))),
        "rent": f"reserved.{kind}" if f"reserved.{kind}" in shelf else "",
        "sold": first if first in shelf else "run.bought" if bought else "",
    }
    had["run.age"] = _age(kind, started, shelf)
    if words["sold"] == "run.bought":
        had["run.bought"] = inside_server(kind, shelf)
    return Sheet("otherwise", shelf, words, had)


def _started(shelf: Shelf) -> date:
    """The start of training."""
    year, month, day = f"{shelf.as_of or shelf.entries.newest()}-01-01"[:10].split("-")
    first = date(max(1, min(int(year), LAST_YEAR)), int(month), 1)
    return first + timedelta(days=int(day) - 1)  # a month may be shorter than its date


def _age(kind: str, started: date, shelf: Shelf) -> Quantity:
    """How long a kind could be used before; nothing if it is bought new, less than that for a maker's own."""
    about = "from the first use of this kind to the start of training"
    sold_on = shelf.fact(f"epoch.sold_on.{kind}", str(started))
    years = (started - date.fromisoformat(sold_on)).days / YEAR_DAYS
    when = Source("dates", f"from {sold_on} to {started}: --as-of, or else the newest table")
    age = years if kind.startswith("tpu") else max(0.0, years)
    return stated("run.age", "year", Stated(round(age, 4), "derived", when), about)
