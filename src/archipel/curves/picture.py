"""Series of one or more runs as a PNG, one panel a metric."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archipel.curves.history import History

PANEL_WIDTH, PANEL_HEIGHT, MAX_COLUMNS = 5.0, 3.0, 3
"""Inches."""


def draw(histories: Sequence[History], names: Sequence[str], path: Path) -> None:
    """Draw `names` of all runs over the version; an evaluation has its 95% interval, where it has one.

    Raises:
        OSError: the file cannot be written.
        ValueError: matplotlib has no such form of picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(len(names), MAX_COLUMNS)
    lines = -(-len(names) // columns)
    size = (PANEL_WIDTH * columns, PANEL_HEIGHT * lines)
    figure, grid = pyplot.subplots(lines, columns, figsize=size, dpi=130, squeeze=False)
    try:
        for axes, name in zip(grid.flat, names, strict=False):
            _panel(axes, histories, name)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        figure.tight_layout()
        figure.savefig(path)
    finally:
        pyplot.close(figure)


def _panel(axes: Any, histories: Sequence[History], name: str) -> None:
    for history in histories:
        series = history.series(name)
        is_exam = name.startswith("eval_")
        at, values = [x for x, _ in series], [y for _, y in series]
        (line,) = axes.plot(at, values, "o-" if is_exam else "-", linewidth=1.2, label=history.run)
        low, high = dict(history.series(f"{name}_low")), dict(history.series(f"{name}_high"))
        if at and all(x in low and x in high for x in at):
            bounds = [low[x] for x in at], [high[x] for x in at]
            axes.fill_between(at, *bounds, alpha=0.15, color=line.get_color())
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("policy version", fontsize=9)
    axes.grid(alpha=0.3)
    if len(histories) > 1:
        axes.legend(fontsize=8)
