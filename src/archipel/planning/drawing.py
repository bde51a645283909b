"""A plan's data as a picture: its charts and the tornado of its first answer, PNG or SVG.

matplotlib is loaded here and nowhere else in the room, and only when a picture is wanted.
"""

import functools
import io
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archipel.planning.mistakes import CannotPlan
from archipel.planning.wording import amount_text, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure

FORMATS = ("png", "svg")
INK, SOFT = "#22333b", "#d8dee2"
COLOURS = ("#2a6f97", "#c8553d", "#588157", "#e09f3e", "#7b4b94", "#5e6472", "#0fa3b1", "#9c6644")
_PANEL = (6.4, 4.2)
"""Inches of a chart."""
_TITLE, _ROW, _EDGES = 10, 0.21, 1.3
"""Points of a chart's title; inches of a named row, and of everything around the rows."""
_POINTS, _SMALL, _LETTER = 72, 9, 0.6
"""Points of an inch and of small text; a letter's width as a share of its height."""
_WIDE = _PANEL[0] * _POINTS * 0.96
"""Points of a title's line."""
FEW_DECADES = 2.0
_NEAR = 0.04
"""Marks nearer than this share of the axis have their names on both sides."""


def check_format(name: str) -> str:
    """The format that a file name asks for.

    Raises:
        CannotPlan: neither PNG nor SVG.
    """
    ending = name.rpartition(".")[2].lower()
    if ending not in FORMATS:
        raise CannotPlan(f"--plot: got {name!r}, expected a name ending in .png or .svg")
    return ending


def picture(data: dict[str, Any], ending: str) -> bytes:
    """All charts of one plan side by side, then its tornado."""
    return written(composed(data), ending)


def composed(data: dict[str, Any]) -> "Figure":
    """The same before it is written: a row is as high as its highest chart."""
    panels = [_panel(chart) for chart in data["charts"]]
    first = data["answers"][0] if data["answers"] else ""
    if first and data["matters"][first]:
        panels.append(_tornado_panel(data, first))
    columns = 2 if len(panels) > 1 else 1
    beside = [panels[at : at + columns] for at in range(0, len(panels), columns)]
    heights = [max(panel.height for panel in row) for row in beside]
    figure = _figure(_PANEL[0] * columns, sum(heights) + 0.5, "constrained")
    places = figure.subfigures(len(beside), columns, squeeze=False, height_ratios=heights).ravel()
    for place, panel in zip(places, panels, strict=False):
        _draw(panel, place)  # a figure of its own: long labels push no neighbour aside
    title = folded(data["title"], _WIDE * columns, 12)
    figure.suptitle(_plain(title), color=INK, fontsize=12)
    return figure


def single(chart: dict[str, Any], ending: str) -> bytes:
    """One chart alone, for a page."""
    return _alone(_panel(chart), ending)


def tornado(data: dict[str, Any], answer: str, ending: str) -> bytes:
    """The tornado of one answer alone."""
    return _alone(_tornado_panel(data, answer), ending)


@dataclass(frozen=True)
class _Panel:
    """One chart, before there is a place for it."""

    title: str
    draw: "Callable[[Axes], None]"
    height: float = _PANEL[1]
    """Inches."""


def _alone(panel: _Panel, ending: str) -> bytes:
    """Placed by the lengths of its texts: a general layout takes longer than the drawing."""
    figure = _figure(_PANEL[0], panel.height)
    axes = _draw(panel, figure)
    names = "\n".join(label.get_text() for label in axes.get_yticklabels())
    longest = max(map(len, names.split("\n")))
    left = longest * _LETTER * _SMALL + (3 * _SMALL if axes.get_ylabel() else _SMALL)
    above = (_TITLE * 1.4) * (1 + folded(panel.title).count("\n")) + 2 * _SMALL
    wide, high = _PANEL[0] * _POINTS, panel.height * _POINTS
    figure.subplots_adjust(
        left=min(left / wide, 0.6), right=0.97, bottom=4 * _SMALL / high, top=1.0 - above / high
    )
    return written(figure, ending)


def _draw(panel: _Panel, place: "Figure | SubFigure") -> "Axes":
    """The title begins where the panel begins, and is as wide as it: never cut by the axes."""
    place.suptitle(_plain(folded(panel.title)), x=0.01, ha="left", color=INK, fontsize=_TITLE)
    axes = place.add_subplot()
    panel.draw(axes)
    return axes


@functools.lru_cache(maxsize=64)
def folded(text: str, points: float = _WIDE, size: float = _TITLE) -> str:
    """The text over as many lines as it needs at `size` points, each at most `points` wide, by its letters."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)

    def is_too_wide(line: str) -> bool:
        width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
        return bool(width > points)

    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and is_too_wide(longer):
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _figure(width: float, height: float, layout: str | None = None) -> "Figure":
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure as Made

    mpl.rcParams |= {"svg.hashsalt": "archipel", "svg.fonttype": "none", "font.size": _SMALL}
    return Made(figsize=(width, height), layout=layout)  # type: ignore[arg-type]  # None is none


def written(figure: "Figure", ending: str) -> bytes:
    """A figure as the bytes of a file."""
    held = io.BytesIO()
    metadata = {"Date": None} if ending == "svg" else {}
    figure.savefig(held, format=ending, dpi=120, metadata=metadata)
    return held.getvalue()


def _panel(chart: dict[str, Any]) -> _Panel:
    drawn = _lines if chart["kind"] == "lines" else _bars
    rows = len(chart.get("rows", ()))
    height = max(_PANEL[1], _EDGES + _ROW * rows)
    return _Panel(chart["title"], lambda axes: drawn(axes, chart), height)


def _tornado_panel(data: dict[str, Any], answer: str) -> _Panel:
    about = data["quantities"][answer]["about"] or answer
    return _Panel(f"What matters most: {about}", lambda axes: _tornado(axes, data, answer))


def _lines(axes: "Axes", chart: dict[str, Any]) -> None:
    _frame(axes)
    axes.set_xlabel(_plain(chart["x_label"]))
    axes.set_ylabel(_plain(chart["y_label"]))
    if chart["log_x"]:
        axes.set_xscale("log")
    if chart["log_y"]:
        axes.set_yscale("log")
    for index, line in enumerate(chart["series"]):
        colour = COLOURS[index % len(COLOURS)]
        form = {"line": "-", "dashed": "--", "points": "o"}[line["style"]]
        axes.plot(
            line["x"], line["y"], form, color=colour, label=_plain(line["label"]), markersize=4
        )
        if line["low"]:
            axes.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.15, lw=0)
    if chart["rows"]:
        axes.set_yticks(range(1, len(chart["rows"]) + 1), map(_plain, chart["rows"]), fontsize=8)
        axes.invert_yaxis()
    _mark(axes, chart["mark_x"], are_above=bool(chart["rows"]))
    for axis, is_log in ((axes.xaxis, chart["log_x"]), (axes.yaxis, chart["log_y"])):
        if is_log:
            _powers(axis)
    if len(chart["series"]) > 1:
        axes.legend(frameon=False, fontsize=8)


def _powers(axis: "Axis") -> None:
    """Plain numbers along a logarithmic axis; between the powers of ten only where those are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else math.inf
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > FEW_DECADES else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e+", "e")))


def _mark(axes: "Axes", marks: Sequence[tuple[float, str]], *, are_above: bool) -> None:
    """Vertical lines and their names, of which no two lie on each other; or above the axes, if there is room."""
    to_share = axes.transData + axes.transAxes.inverted()
    before = -1.0
    for place, name in sorted(marks):
        axes.axvline(place, color=INK, lw=0.8, ls=":")
        share = float(to_share.transform((place, 1.0))[0])
        if are_above:
            above = ("data", "axes fraction")
            axes.annotate(_plain(name), (place, 1.0), xycoords=above, ha="center", fontsize=8)
            continue
        beside = "left" if share - before < _NEAR else "right"
        before = share
        axes.annotate(
            _plain(name), (place, 0.98), xycoords=("data", "axes fraction"), rotation=90, va="top",
            ha=beside, fontsize=8, color=INK, bbox={"fc": "#ffffff", "ec": "none", "alpha": 0.7, "pad": 1},
        )  # fmt: skip


def _bars(axes: "Axes", chart: dict[str, Any]) -> None:
    _frame(axes)
    parts = chart["parts"][::-1]
    values = [part["value"] for part in parts]
    below = [max(0.0, part["value"] - part["low"]) for part in parts]
    above = [max(0.0, part["high"] - part["value"]) for part in parts]
    axes.barh(range(len(parts)), values, color=COLOURS[0], height=0.62)
    axes.errorbar(
        values, range(len(parts)), xerr=[below, above], fmt="none", ecolor=INK, lw=1, capsize=2
    )
    labels = [
        _plain(f"{part['label']}  {amount_text(part['value'], part['unit'], 3)}") for part in parts
    ]
    axes.set_yticks(range(len(parts)), labels)
    scale = scale_of(1.0, chart["unit"])
    in_words = f"{scale.before} {scale.after.strip()}" if scale.divisor == 1.0 else chart["unit"]
    axes.set_xlabel(_plain(in_words.strip()))
    if chart["log"]:
        axes.set_xscale("log")
        _powers(axes.xaxis)


def _tornado(axes: "Axes", data: dict[str, Any], answer: str) -> None:
    row = data["quantities"][answer]
    _frame(axes)
    moved = data["matters"][answer][::-1]
    scale = scale_of(row["value"], row["unit"])
    centre = row["value"] / scale.divisor
    for place, swing in enumerate(moved):
        for end, colour in (("at_low", COLOURS[0]), ("at_high", COLOURS[1])):
            reach = swing[end] / scale.divisor - centre
            axes.barh(place, reach, left=centre, color=colour, height=0.62)
    labels = [data["quantities"][swing["input"]]["about"] or swing["input"] for swing in moved]
    wrapped = [
        _plain(textwrap.fill(textwrap.shorten(each, 76, placeholder=" …"), 38)) for each in labels
    ]
    axes.set_yticks(range(len(moved)), wrapped, fontsize=8)
    axes.axvline(centre, color=INK, lw=1)
    axes.set_xlabel(
        _plain(f"{scale.before} {scale.after.strip()}   blue: input low, red: input high".strip())
    )


def _frame(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=SOFT, lw=0.5)
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Dollars are money here, never mathematics."""
    return text.replace("$", r"\$")
