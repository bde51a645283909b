"""A simulated run as a picture: price, nodes at work, versions and the kinds of machines by what they earned."""

from collections.abc import Sequence
from pathlib import Path

from archipel.simulation.play import Played
from archipel.simulation.spreading import Row


def draw(played: Sequence[Played], path: Path) -> None:
    """Write a PNG of every seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    panels = (
        (axes[0][0], "usd_per_million", "clearing price, USD a million tokens"),
        (axes[0][1], "active", "nodes at work"),
        (axes[1][0], "version", "versions"),
    )
    for axis, name, title in panels:
        for each in played:
            series = each.outcome.series
            axis.plot([point["hours"] for point in series], [point[name] for point in series])
        axis.set_title(title)
        axis.set_xlabel("hours")
        axis.set_ylim(bottom=0)
    central = played[0].setting.central.usd_per_million
    axes[0][0].axhline(central, linestyle="--", color="grey")
    axes[0][0].annotate("the data centre's own", (0, central), va="bottom", color="grey")
    rows = [row for row in played[0].outcome.by_kind if not row["why_not"]]
    axes[1][1].barh([row["kind"] for row in rows], [row["usd_earned"] for row in rows])
    axes[1][1].set_title("earned, USD, by kind of machine")
    figure.suptitle(f"{played[0].scenario.name}: {played[0].scenario.title}")
    figure.savefig(path, dpi=110)


def draw_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG of how long a version takes to ever more nodes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for shape in dict.fromkeys(name for row in rows for name in row.tail_s):
        points = [(row.nodes, row.tail_s[shape]) for row in rows if shape in row.tail_s]
        axis.plot(
            [nodes for nodes, _ in points], [tail for _, tail in points], marker="o", label=shape
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("nodes")
    axis.set_ylabel("seconds until the last one has the version")
    axis.legend()
    figure.savefig(path, dpi=110)
