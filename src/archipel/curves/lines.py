"""A series as a small SVG: one line over the version, its interval behind it, in the page's own colours. Pure."""

import itertools
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 460, 190
LEFT, RIGHT, TOP, BOTTOM = 72, 12, 10, 26
MAX_DOTS = 60
"""From more points on only the line is drawn."""
MAX_POINTS = 600
"""Drawn of a series: of each stretch its lowest and its highest."""

Points = Sequence[tuple[float, float]]


def line_chart(points: Points, band: Sequence[tuple[float, float, float]] = ()) -> str:
    """Markup made of numbers alone. points: (x, y); band: (x, low, high)."""
    shown = thinned([(x, y) for x, y in points if math.isfinite(y)])
    if not shown:
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true"></svg>'
    lows = [low for _, low, _ in band] + [y for _, y in shown]
    highs = [high for _, _, high in band] + [y for _, y in shown]
    low, high = min(lows), max(highs)
    if high <= low:
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    left, right = shown[0][0], shown[-1][0]

    def at(x: float, y: float) -> str:
        across = (x - left) / ((right - left) or 1) * (WIDTH - LEFT - RIGHT)
        up = (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{LEFT + across:.1f},{HEIGHT - BOTTOM - up:.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">']
    for share in (0.0, 0.5, 1.0):
        value = low + (high - low) * share
        y = float(at(left, value).split(",")[1])
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for x, anchor, edge_at in ((left, "start", LEFT), (right, "end", WIDTH - RIGHT)):
        parts.append(f'<text x="{edge_at}" y="{HEIGHT - 8}" text-anchor="{anchor}">{x:g}</text>')
    if len(band) > 1:
        edge = [at(x, y) for x, _, y in band] + [at(x, y) for x, y, _ in reversed(band)]
        parts.append(f'<polygon class="band" points="{" ".join(edge)}"/>')
    places = [at(x, y) for x, y in shown]
    parts.append(f'<polyline class="line" points="{" ".join(places)}"/>')
    for place in places if len(places) <= MAX_DOTS else ():
        x_text, y_text = place.split(",")
        parts.append(f'<circle cx="{x_text}" cy="{y_text}" r="2.4"/>')
    return "".join([*parts, "</svg>"])


def thinned(points: Points, most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most so many points, in which no peak is lost."""
    if len(points) <= most:
        return list(points)
    kept = {0, len(points) - 1}
    edges = [len(points) * n // (most // 2 - 1) for n in range(most // 2)]
    for begin, end in itertools.pairwise(edges):
        stretch = range(begin, end)
        kept |= {min(stretch, key=lambda n: points[n][1]), max(stretch, key=lambda n: points[n][1])}
    return [points[n] for n in sorted(kept)]
