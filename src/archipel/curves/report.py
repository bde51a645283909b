"""One run as one HTML page: no script, nothing fetched, pictures inside, every figure with the entry that proves it.

Law: a pure function of `Told`; every text is escaped by the template, and the only markup that enters as such are
lines drawn here from numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from archipel.curves.concerns import concerns
from archipel.curves.history import History, in_order
from archipel.curves.lines import line_chart

FIRST_SHOWN = ("reward", "loss", "eval_greedy", "eval_loss", "entropy", "mismatch_kl")
MAX_CHARTS = 48
MAX_ROWS = 2000
"""Of a table: the newest so many."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a report tells beside the measurements."""

    history: History
    facts: Sequence[tuple[str, str]]
    """(what, in words): recipe, programme, what was opened, costs, ledger head."""
    workers: Sequence[tuple[str, str, int]]
    """(key, kind of work, answers), the most first."""
    audits: Sequence[tuple[int, str, str, str]]
    """(entry of the answer, work, outcome, reason)."""
    published: Mapping[int, int]
    """Version -> the entry that published it."""
    rated: Mapping[int, int]
    """Version -> the entry of its evaluation."""
    check: str
    """The command by which anybody makes the same page from the ledger."""


def report(told: Told) -> str:
    """One self-contained page; the same ledger gives the same bytes."""
    import jinja2
    from markupsafe import Markup

    text = resources.files("archipel.curves").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    charts = [_chart(told.history, name) for name in _charted(told.history)]
    for chart in charts:
        chart["svg"] = Markup(chart["svg"])  # noqa: S704  # drawn from numbers, by `line_chart`
    return environment.from_string(text).render(
        told=told,
        history=told.history,
        concerns=concerns(told.history),
        first=charts[:4],
        rest=charts[4:],
        columns=in_order({name for point in told.history.points for name in point.values})[:8],
        rows=_rows(told),
        most=MAX_ROWS,
    )


def _charted(history: History) -> list[str]:
    """The most looked at first; bounds of an interval stand in its score's chart."""
    names = [name for name in history.names() if not name.endswith(("_low", "_high"))]
    first = [name for name in FIRST_SHOWN if name in names]
    return [*first, *(name for name in names if name not in first)][:MAX_CHARTS]


def _chart(history: History, name: str) -> dict[str, Any]:
    series = history.series(name)
    low, high = dict(history.series(f"{name}_low")), dict(history.series(f"{name}_high"))
    band = [(x, low[x], high[x]) for x, _ in series if x in low and x in high]
    rows = [(x, f"{y:.6g}") for x, y in series[-MAX_ROWS:]]
    title = name.replace("_", " ")
    return {"title": title, "svg": line_chart(series, band), "rows": rows}


def _rows(told: Told) -> list[dict[str, Any]]:
    return [
        {
            "version": point.version,
            "entry": told.published.get(point.version),
            "values": point.values,
        }
        for point in told.history.points[-MAX_ROWS:]
    ]
