"""A plan's data as a picture: its charts and the tornado of its first answer, PNG or SVG.

matplotlib is loaded here and nowhere else in the room, and only when a picture is wanted.
"""

import io
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from archipel.planning.mistakes import CannotPlan
from archipel.planning.wording import amount_text, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
INK, SOFT = "#22333b", "#d8dee2"
COLOURS = ("#2a6f97", "#c8553d", "#588157", "#e09f3e", "#7b4b94", "#5e6472", "#0fa3b1", "#9c6644")
_PANEL = (6.4, 4.2)


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
    panels = [_panel(chart) for chart in data["charts"]]
    first = data["answers"][0] if data["answers"] else ""
    if first and data["matters"][first]:
        panels.append(lambda axes: _tornado(axes, data, first))
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    figure = _figure(_PANEL[0] * columns, _PANEL[1] * rows + 0.5)
    places = figure.subfigures(rows, columns, squeeze=False).ravel()
    for place, panel in zip(places, panels, strict=False):
        panel(place.add_subplot())  # a figure of its own: long labels push no neighbour aside
    figure.suptitle(_plain(data["title"]), color=INK, fontsize=12, wrap=True)
    return _bytes(figure, ending)


def single(chart: dict[str, Any], ending: str) -> bytes:
    """One chart alone, for a page."""
    figure = _figure(*_PANEL)
    _panel(chart)(figure.add_subplot())
    return _bytes(figure, ending)


def tornado(data: dict[str, Any], answer: str, ending: str) -> bytes:
    """The tornado of one answer alone."""
    figure = _figure(*_PANEL)
    _tornado(figure.add_subplot(), data, answer)
    return _bytes(figure, ending)


def _figure(width: float, height: float) -> "Figure":
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure as Made

    mpl.rcParams |= {"svg.hashsalt": "archipel", "svg.fonttype": "none", "font.size": 9}
    return Made(figsize=(width, height), layout="constrained")


def _bytes(figure: "Figure", ending: str) -> bytes:
    held = io.BytesIO()
    metadata = {"Date": None} if ending == "svg" else {}
    figure.savefig(held, format=ending, dpi=120, metadata=metadata)
    return held.getvalue()


def _panel(chart: dict[str, Any]) -> "Callable[[Axes], None]":
    drawn = _lines if chart["kind"] == "lines" else _bars
    return lambda axes: drawn(axes, chart)


def _lines(axes: "Axes", chart: dict[str, Any]) -> None:
    _frame(axes, chart["title"])
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
    for place, name in chart["mark_x"]:
        axes.axvline(place, color=INK, lw=0.8, ls=":")
        axes.annotate(
            name, (place, 0.98), xycoords=("data", "axes fraction"), rotation=90, va="top",
            ha="right", fontsize=8, color=INK,
        )  # fmt: skip
    if len(chart["series"]) > 1:
        axes.legend(frameon=False, fontsize=8)


def _bars(axes: "Axes", chart: dict[str, Any]) -> None:
    _frame(axes, chart["title"])
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
    axes.set_xlabel(chart["unit"])
    if chart["log"]:
        from matplotlib.ticker import NullFormatter

        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _tornado(axes: "Axes", data: dict[str, Any], answer: str) -> None:
    row = data["quantities"][answer]
    _frame(axes, f"What matters most: {row['about'] or answer}")
    moved = data["matters"][answer][::-1]
    scale = scale_of(row["value"], row["unit"])
    centre = row["value"] / scale.divisor
    for place, swing in enumerate(moved):
        for end, colour in (("at_low", COLOURS[0]), ("at_high", COLOURS[1])):
            reach = swing[end] / scale.divisor - centre
            axes.barh(place, reach, left=centre, color=colour, height=0.62)
    labels = [data["quantities"][swing["input"]]["about"] or swing["input"] for swing in moved]
    wrapped = [_plain(textwrap.fill(textwrap.shorten(each, 76), 38)) for each in labels]
    axes.set_yticks(range(len(moved)), wrapped, fontsize=8)
    axes.axvline(centre, color=INK, lw=1)
    axes.set_xlabel(
        _plain(f"{scale.before}{scale.after.strip()}   blue: input low, red: input high")
    )


def _frame(axes: "Axes", title: str) -> None:
    axes.set_title(_plain(textwrap.fill(title, 62)), loc="left", color=INK, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=SOFT, lw=0.5)
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Dollars are money here, never mathematics."""
    return text.replace("$", r"\$")
