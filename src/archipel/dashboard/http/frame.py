"""Pages as HTML and as JSON.

Law: the template escapes every text, and its only scripts are data: JSON in which nothing can end its element.
"""

import dataclasses
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from archipel.dashboard.http.files import address
from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.value import Chart, Page

if TYPE_CHECKING:
    import jinja2

ROOMS = (
    ("overview", "Overview", paths.ROOT),
    ("runs", "Runs", paths.path("runs")),
    ("nodes", "Nodes", paths.path("nodes")),
    ("operators", "Operators", paths.path("operators")),
    ("audits", "Audits", paths.path("audits")),
    ("pledges", "Pledges", paths.path("pledges")),
    ("models", "Models", paths.path("models")),
    ("labs", "Labs", paths.path("labs")),
    ("mirrors", "Mirrors", paths.path("mirrors")),
    ("ledger", "Ledger", paths.path("ledger")),
)
MOST_ROWS = 24
"""Of the table below a chart: evenly chosen, the newest among them; its JSON has them all."""
_ESCAPED = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


@cache
def environment() -> "jinja2.Environment":
    """Made once: every template of this package, escaping everything."""
    import jinja2

    folder = resources.files("archipel.dashboard") / "templates"
    made = jinja2.Environment(
        loader=jinja2.DictLoader({each.name: each.read_text("utf-8") for each in folder.iterdir() if each.name.endswith(".j2")}),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_seen,
    )  # fmt: skip
    made.globals |= {
        "rooms": ROOMS,
        "address": address,
        "entry_path": paths.entry,
        "asked": paths.asked,
    }
    made.filters |= {"chart_json": chart_json, "chart_rows": chart_rows, "count": wording.count}
    return made


def _seen(value: Any) -> Any:
    """Whatever a template prints, wherever it came from; markup is the template's own, or escaped already."""
    return wording.visible(value) if type(value) is str else value


def html(page: Page, lab: str, now_ms: int, part: bool = False, **more: Any) -> bytes:
    """The whole page, or its `<main>` alone."""
    name = "part.html.j2" if part else "page.html.j2"
    return rendered(name, lab, page.room, page=page, **_beside(page, now_ms), **more)


def rendered(template: str, lab: str, room: str, **more: Any) -> bytes:
    """A template of this package inside the frame. room: the word of the navigation that is marked."""
    known = {
        "lab": lab,
        "lab_short": wording.short_did(lab),
        "room": room,
        "title": "",
        "session": None,
    }
    return environment().get_template(template).render(known | more).encode()


def _beside(page: Page, now_ms: int) -> dict[str, Any]:
    path, _, query = page.path.partition("?")
    return {
        "title": page.title,
        "json_path": f"{'/pages/index' if path == paths.ROOT else path}.json{'?' if query else ''}{query}",
        "behind": page.has_series and page.told_to < page.size,
        "at": wording.moment(now_ms),
        "at_iso": wording.iso(now_ms),
        "has_charts": any(section.charts for section in page.sections),
    }


def as_json(page: Page, lab: str, now_ms: int) -> bytes:
    """The same value for machines."""
    told = {"lab": lab, "at_ms": now_ms, **dataclasses.asdict(page)}
    return json.dumps(told, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def chart_json(chart: Chart) -> Any:
    """A chart's numbers for the script, in an element that nothing in them can end."""
    from markupsafe import Markup

    told = {
        "x": chart.x, "unit": chart.unit, "kind": chart.kind, "is_log": chart.is_log, "xs": [int(each) if each == int(each) else each for each in chart.xs],
        "lines": [{"name": line.name, "values": line.values, "low": line.low, "high": line.high} for line in chart.lines],
    }  # fmt: skip
    text = json.dumps(told, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign, said in _ESCAPED.items():
        text = text.replace(sign, said)
    return Markup(text)  # noqa: S704  # JSON without any sign that HTML knows


def chart_rows(chart: Chart) -> list[tuple[str, list[str], int | None]]:
    """(where on the axis, value of each line with its interval, the entry that proves it), the newest first."""
    last = len(chart.xs) - 1
    step = max(1, -(-len(chart.xs) // MOST_ROWS))
    return [_row(chart, place) for place in range(last, -1, -step)]


def _row(chart: Chart, place: int) -> tuple[str, list[str], int | None]:
    x = chart.xs[place]
    at = wording.moment(int(x)) if chart.x == "time" else f"{x:.0f}"
    told = []
    for line in chart.lines:
        value = line.values[place]
        text = wording.UNKNOWN if value is None else wording.number(value)
        if line.low and line.low[place] is not None and line.high[place] is not None:
            text += f" [{line.low[place]:.3f}, {line.high[place]:.3f}]"
        told.append(text)
    return at, told, chart.entries[place] if chart.entries else None
