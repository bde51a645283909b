"""Plans as one HTML page for a sponsor: no script, nothing fetched, pictures inside, sources at the end.

Law: a pure function of the plans' data, so the same plans give the same bytes; every text is escaped by the
template, the only markup that enters as such are pictures drawn here.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from archipel.planning.answering import Setting
from archipel.planning.drawing import INK, SOFT, single, tornado
from archipel.planning.quantity import Source
from archipel.planning.wording import (
    amount_text,
    answer_rows,
    band_text,
    range_text,
    uncertain,
)

GRADES = ("measured", "published", "derived", "assumed")
"""Of constants, best first."""
_HEADINGS = {
    "lab": "A lab",
    "train": "A training run",
    "decentralise": "The same run on a market of providers",
    "meek": "Will the frontier's advantage last?",
    "serve": "Serving the model",
    "claims": "Public claims, computed",
}
_NOT_DRAWN = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", re.DOTALL)
_NAMES = re.compile(r'\bid="([^"]+)"|url\(#([^)]+)\)|xlink:href="#([^"]+)"')
_PALETTE = {
    "fill: #ffffff": "fill: none",
    "#000000": "currentColor",
    INK: "currentColor",
    f"stroke: {SOFT}": "stroke: currentColor; stroke-opacity: 0.15",
}


def page(plans: Sequence[Mapping[str, Any]], title: str) -> str:
    """One self-contained HTML page of plans' data, in their order."""
    import jinja2
    from markupsafe import Markup

    text = resources.files("archipel.planning").joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = [_section(dict(data), place) for place, data in enumerate(plans, 1)]
    for section in sections:
        for picture in section["pictures"]:
            picture["svg"] = Markup(picture["svg"])  # noqa: S704  # drawn by matplotlib, here
    return environment.from_string(text).render(
        title=title, sections=sections, sources=_sources(plans), grades=GRADES
    )


def _section(data: dict[str, Any], place: int) -> dict[str, Any]:
    """What the template shows of one plan."""
    constants = _constants(data)
    return {
        "id": f"plan-{place}",
        "heading": _HEADINGS.get(data["question"], data["question"]),
        "title": data["title"],
        "verdict": data["verdict"],
        "command": _command(data["ask"]),
        "setting": data["setting"],
        "answers": answer_rows(data),
        "doubtful": _doubtful(data),
        "pictures": _pictures(data, f"p{place}"),
        "matters": _matters(data),
        "tables": [_table(table) for table in data["tables"]],
        "remarks": [*data["notices"], *data["remarks"]],
        "disagreements": _disagreements(data),
        "constants": constants,
        "grades": Counter(row["grade"] for row in constants),
    }


def _command(ask: Mapping[str, Any]) -> str:
    """The words that put the question again."""
    words = ["archipel", "plan", ask["question"]]
    for name, value in ask["request"].items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    setting = ask["setting"]
    words += ["--as-of", setting["as_of"]] if setting["as_of"] else []
    usual = Setting()
    words += ["--seed", str(setting["seed"])] if setting["seed"] != usual.seed else []
    words += ["--samples", str(setting["samples"])] if setting["samples"] != usual.samples else []
    words += ["--table", "YOUR-TABLE.toml"] if ask["own"] else []
    for override in ask["overrides"]:
        words += ["--set", override]
    return shlex.join(words)


def _pictures(data: dict[str, Any], prefix: str) -> list[dict[str, str]]:
    """The charts, then what matters for the first answer."""
    drawn = [(chart["title"], single(chart, "svg")) for chart in data["charts"]]
    first = data["answers"][0] if data["answers"] else ""
    if first and data["matters"][first]:
        about = data["quantities"][first]["about"] or first
        drawn.append((f"What matters most: {about}", tornado(data, first, "svg")))
    return [
        {"title": title, "svg": inline(svg.decode("utf-8"), f"{prefix}-{index}")}
        for index, (title, svg) in enumerate(drawn, 1)
    ]


def inline(svg: str, prefix: str) -> str:
    """A drawing that may stand inside a page: own names, the page's colours, nothing to fetch."""

    def renamed(found: re.Match[str]) -> str:
        own, painted, linked = found.groups()
        if own:
            return f'id="{prefix}-{own}"'
        return f"url(#{prefix}-{painted})" if painted else f'href="#{prefix}-{linked}"'

    svg = _NAMES.sub(renamed, _NOT_DRAWN.sub("", svg))
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    for drawn, shown in _PALETTE.items():
        svg = svg.replace(drawn, shown)
    return svg.strip()


def _matters(data: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The inputs that move the first answer most: about, interval, answer at both ends, grade."""
    if not data["answers"]:
        return []
    first = data["answers"][0]
    unit = data["quantities"][first]["unit"]
    rows = []
    for swing in data["matters"][first][:6]:
        given = data["quantities"][swing["input"]]
        ends = " … ".join(amount_text(swing[end], unit, 3) for end in ("at_low", "at_high"))
        rows.append((given["about"] or swing["input"], range_text(given), ends, given["kind"]))
    return rows


def _doubtful(data: dict[str, Any]) -> str:
    """The input that moves the first answer most, and how far: what a reader should ask about first."""
    moved = _matters(data)[:1]
    return f"{moved[0][0]}: {moved[0][2]} ({moved[0][3]})" if moved else ""


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    rows = [[_cell(cell) for cell in row] for row in table["rows"]]
    return {
        "title": table["title"],
        "about": table["about"],
        "columns": table["columns"],
        "rows": rows,
    }


def _cell(cell: Any) -> tuple[str, str]:
    """Text and interval."""
    if isinstance(cell, str):
        return cell, ""
    if not uncertain(cell):
        return amount_text(cell["value"], cell["unit"]), ""
    return amount_text(cell["value"], cell["unit"], 3), band_text(cell)


def _disagreements(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each of several sources says of one constant."""
    found = []
    for row in data["disagreements"]:
        about = data["quantities"].get(row["name"], {}).get("about") or row["name"]
        others = [
            (amount_text(other["value"], row["unit"]), other["source"], other["note"])
            for other in row["others"]
        ]
        used = amount_text(row["used"], row["unit"])
        found.append({"about": about, "used": used, "source": row["source"], "others": others})
    return found


def _constants(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every constant of the plan: what it is, value, grade, source."""
    rows = []
    for name, row in data["quantities"].items():
        if "source" not in row:
            continue
        rows.append(
            {
                "name": name,
                "about": row["about"] or name,
                "value": range_text(row),
                "grade": row["kind"],
                "source": row["source"]["key"],
                "title": row["source"]["title"],
                "cited": _cited(row["source"]),
                "note": row.get("note", ""),
            }
        )
    return rows


def _sources(plans: Sequence[Mapping[str, Any]]) -> list[Source]:
    """Every source cited, by author and year."""
    found: dict[str, Source] = {}
    for data in plans:
        for row in data["quantities"].values():
            cited = [row["source"]] if "source" in row else []
            cited += [other["source"] for other in row.get("also", ())]
            for source in cited:
                if _cited(source):
                    found[source["key"]] = Source(**source)
    return sorted(found.values(), key=lambda source: (source.authors or source.title, source.year))


def _cited(source: Mapping[str, Any]) -> bool:
    """Whether it belongs into the list of sources; what the reader gave does not."""
    return bool(source["authors"] or source["url"] or source["year"])
