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
    hinges,
    second_hand_text,
    uncertain,
    value_text,
)

GRADES = ("measured", "published", "derived", "assumed")
"""Of constants, best first."""
MOST_MOVING = 6
"""Inputs that a table of what matters lists."""
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

    text = resources.files("archipel.planning").joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": value_text, "band": _band, "amount": amount_text}
    sections = [_section(dict(data), place) for place, data in enumerate(plans, 1)]
    return environment.from_string(text).render(
        title=title, sections=sections, sources=_sources(plans), grades=GRADES
    )


def _section(data: dict[str, Any], place: int) -> dict[str, Any]:
    """What the template shows of one plan, beside its data."""
    constants = {name: row for name, row in data["quantities"].items() if "source" in row}
    return data | {
        "id": f"plan-{place}",
        "heading": _HEADINGS.get(data["question"], data["question"]),
        "command": _command(data["ask"]),
        "rows": answer_rows(data),
        "pictures": _pictures(data, f"p{place}"),
        "hinges": hinges(data, MOST_MOVING),
        "second": second_hand_text(data),
        "constants": constants,
        "counts": Counter(row["kind"] for row in constants.values()),
    }


def _band(row: Mapping[str, Any]) -> str:
    """The interval of a row in brackets, if it has one."""
    return f"[{band_text(dict(row))}]" if uncertain(dict(row)) else ""


def _command(ask: Mapping[str, Any]) -> str:
    """The words that put the question again."""
    words = ["archipel", "plan", ask["question"]]
    for name, value in ask["request"].items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    setting = ask["setting"]
    for name in ("as_of", "region"):
        words += [f"--{name.replace('_', '-')}", setting[name]] if setting.get(name) else []
    words += ["--spot"] if setting.get("spot") else []
    usual = Setting()
    words += ["--seed", str(setting["seed"])] if setting["seed"] != usual.seed else []
    words += ["--samples", str(setting["samples"])] if setting["samples"] != usual.samples else []
    words += ["--table", "YOUR-TABLE.toml"] if ask["own"] else []
    for override in ask["overrides"]:
        words += ["--set", override]
    return shlex.join(words)


def _pictures(data: dict[str, Any], prefix: str) -> list[dict[str, str]]:
    """The charts, then what matters for the first answer."""
    from markupsafe import Markup

    drawn = [(chart["title"], single(chart, "svg")) for chart in data["charts"]]
    first = data["answers"][0] if data["answers"] else ""
    if first and data["matters"][first]:
        about = data["quantities"][first]["about"] or first
        drawn.append((f"What matters most: {about}", tornado(data, first, "svg")))
    return [
        {"title": title, "svg": Markup(inline(svg.decode("utf-8"), f"{prefix}-{index}"))}  # noqa: S704  # drawn here
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


def _sources(plans: Sequence[Mapping[str, Any]]) -> list[Source]:
    """Every source cited, by author and year."""
    found: dict[str, Source] = {}
    for data in plans:
        for row in data["quantities"].values():
            cited = [row["source"]] if "source" in row else []
            cited += [other["source"] for other in row.get("also", ())]
            for source in cited:
                if source["authors"] or source["url"] or source["year"]:  # not what the reader gave
                    found[source["key"]] = Source(**source)
    return sorted(found.values(), key=lambda source: (source.authors or source.title, source.year))
