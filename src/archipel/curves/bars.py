"""Parts of wholes as a PNG: a bar for each whole, and lines of words below."""

from collections.abc import Sequence
from pathlib import Path

Parts = Sequence[tuple[str, float]]
"""(name, 0 to 1), together 1; () if it is not known."""
WIDTH, BAR_HEIGHT, LINE_HEIGHT = 9.0, 0.45, 0.22
"""Inches."""
NAMED = 0.12
"""Parts of less have no words in them."""
NUM_COLOURS = 10
"""That matplotlib has names for; a name has one colour in all bars."""


def draw_bars(
    title: str, bars: Sequence[tuple[str, Parts]], lines: Sequence[str], path: Path
) -> None:
    """Draw them.

    Raises:
        OSError: the file cannot be written. ValueError: matplotlib has no such form of picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    below = LINE_HEIGHT * (len(lines) + 1)
    height = BAR_HEIGHT * len(bars) + below + 0.6
    colours: dict[str, int] = {}
    figure, axes = pyplot.subplots(figsize=(WIDTH, height), dpi=130)
    try:
        for row, (_, parts) in enumerate(bars):
            left = 0.0
            for name, share in parts:
                colour = f"C{colours.setdefault(name, len(colours)) % NUM_COLOURS}"
                axes.barh(row, share, left=left, edgecolor="white", color=colour)
                if share >= NAMED:
                    words = f"{name[-8:]} {share:.0%}"
                    axes.text(left + share / 2, row, words, ha="center", va="center", fontsize=7)
                left += share
            if not parts:
                axes.text(0.01, row, "unknown", va="center", fontsize=8)
        axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
        axes.set(xlim=(0, 1), xticks=[], ylim=(len(bars) - 0.4, -0.6))
        axes.set_title(title, fontsize=10, parse_math=False)
        for number, line in enumerate(lines):
            at = (below - LINE_HEIGHT * (number + 1)) / height
            figure.text(0.02, at, line, fontsize=7, parse_math=False)
        figure.tight_layout(rect=(0, below / height, 1, 1))
        figure.savefig(path)
    finally:
        pyplot.close(figure)
