"""A simulated run as a picture: price, nodes at work, versions and the kinds of machines by what they earned."""

from collections.abc import Sequence
from pathlib import Path

from archipel.simulation.play import Played


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
