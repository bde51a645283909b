"""Pictures of a snapshot's figures: bars of a measure's parts, drawn in the planner's style.

Law: a picture shows what a table beside it says, and nothing else; unknown parts are in the table alone.
"""

from typing import Any, Final

from archipel.observatory.measures.measure import Measure

MAX_BARS: Final = 12
_SCALES: Final = {"share": (100.0, "%"), "months": (1.0, "months")}


def bars(measure: Measure, name: str) -> dict[str, Any] | None:
    """A chart of the largest parts, as the planner draws it; None where there are fewer than two to draw."""
    times, unit = _SCALES.get(measure.definition.unit, (1.0, ""))
    parts = [
        {
            "label": _short(each.label),
            "value": each.value * times,
            "low": each.value * times,
            "high": each.value * times,
            "unit": unit,
        }
        for each in measure.lines
        if each.value is not None
    ][:MAX_BARS]
    if len(parts) < 2:
        return None
    title = f"{measure.definition.title} ({name})"
    return {"kind": "bars", "title": title, "unit": unit, "parts": parts, "log": False}


def picture(measures: dict[str, Measure], ending: str) -> bytes:
    """All charts of these measures as one picture, `png` or `svg`."""
    from archipel.planning.drawing import picture as drawn

    charts = [chart for name, each in measures.items() if (chart := bars(each, name))]
    day = next(iter(measures.values())).day if measures else ""
    return drawn({"charts": charts, "answers": [], "title": f"Open models, {day}"}, ending)


def _short(label: str) -> str:
    return label if len(label) <= 40 else f"{label[:39]}…"
