"""A snapshot as one HTML page: figures, pictures, tables, what others published, sources; nothing is fetched.

Law: a pure function of the snapshot, so the same snapshot gives the same bytes; every text is escaped by the template,
the only markup that enters as such are pictures drawn here; a link leads to http or https alone.
"""

import re
from importlib import resources
from typing import Any, Final

from archipel.observatory.checking import RULE, Checked, check, summary
from archipel.observatory.drawing import bars
from archipel.observatory.headlines import headlines
from archipel.observatory.manifest import Source
from archipel.observatory.measures.measure import Measure
from archipel.observatory.snapshot import Snapshot
from archipel.observatory.wording import rows_text, value_text

MAX_PARTS_SHOWN: Final = 50
TITLE: Final = "Open models of the world"
_LINK: Final = re.compile(r"https?://[!-~]+")


def page(snapshot: Snapshot, title: str = TITLE) -> str:
    """One self-contained HTML page."""
    import jinja2

    text = resources.files("archipel.observatory").joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    checked = check(snapshot)
    return environment.from_string(text).render(
        title=title,
        name=snapshot.manifest.name,
        day=snapshot.manifest.day,
        digest=snapshot.digest,
        measures=[
            _shown(name, each, place)
            for place, (name, each) in enumerate(_known_first(headlines(snapshot)), 1)
        ],
        checked=[_compared(each) for each in checked],
        checked_summary=summary(checked),
        rule=RULE,
        sources=[_source(each) for each in snapshot.manifest.sources],
    )


def _known_first(found: dict[str, Measure]) -> list[tuple[str, Measure]]:
    """In their order, those that this snapshot cannot give behind the others."""
    return sorted(found.items(), key=lambda item: item[1].value is None)


def _shown(name: str, measure: Measure, place: int) -> dict[str, Any]:
    """What the template shows of one measure."""
    unit = measure.definition.unit
    return {
        "anchor": f"figure-{place}",
        "id": measure.definition.id,
        "title": measure.definition.title,
        "about": name.partition(" ")[2],
        "unit": unit,
        "value": value_text(measure.value, unit),
        "is_known": measure.value is not None,
        "says": measure.says,
        "words": measure.definition.words,
        "flaws": measure.definition.flaws,
        "left_out": measure.left_out,
        "svg": _drawn(name, measure, f"f{place}"),
        "lines": [
            {
                "label": each.label,
                "value": value_text(each.value, unit),
                "note": each.note,
                "rows": rows_text(each),
            }
            for each in measure.lines[:MAX_PARTS_SHOWN]
        ],
    }


def _drawn(name: str, measure: Measure, prefix: str) -> Any:
    from markupsafe import Markup

    from archipel.planning.drawing import single
    from archipel.planning.page import inline

    chart = bars(measure, name)
    if chart is None:
        return None
    svg = inline(single(chart, "svg").decode(), prefix)
    return Markup(svg)  # noqa: S704  # drawn by matplotlib, which escapes its texts


def _compared(each: Checked) -> dict[str, Any]:
    unit = each.published.unit
    least = "at least " if each.published.relation == "at least" else ""
    return {
        "what": each.published.what,
        "published": least + value_text(each.published.value, unit),
        "computed": value_text(each.computed, unit),
        "apart": "" if each.apart is None else f"{each.apart:+.1%}",
        "verdict": each.verdict,
        "why": each.why,
        "source": each.published.source,
        "day": each.published.day,
        "hand": each.published.hand,
    }


def _source(source: Source) -> dict[str, Any]:
    link = source.url if _LINK.fullmatch(source.url) else ""
    return source.model_dump() | {"link": link}
