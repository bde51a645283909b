"""Shares as bars, and lineage below them: what is drawn, and drawn as SVG. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from archipel.release.trace.lineage import Ancestor
from archipel.release.trace.shares import Kind, Shares

MAX_PARTS = 12
"""Drawn one by one; the others are one part."""
MAX_ANCESTORS_DRAWN = 12
WIDTH, LEFT, BAR, LINE = 900, 190, 26, 20
COLOURS = (
    "#3b6ea5", "#e08a3c", "#5a9e6f", "#b5545c", "#8268a8", "#8c6d56",
    "#d088b8", "#7f7f7f", "#b3a93f", "#3fa7b3", "#274b73", "#9c5a1e", "#bbbbbb",
)  # fmt: skip
SAID = "accounting, not causation: who sampled what was learned from, not what it changed"


@dataclass(frozen=True, slots=True)
class Bar:
    """Parts of one whole."""

    name: str
    parts: tuple[tuple[str, float], ...]
    """(name, 0 to 1); () if it is not known."""


def bars_of(shares: Shares) -> tuple[Bar, ...]:
    """Of operators and machines: tokens, groups, weight in the gradient."""
    return tuple(_bars(shares))


def _bars(shares: Shares) -> Iterator[Bar]:
    kinds: tuple[Kind, ...] = ("operator", "machine")
    for kind in kinds:
        lines = shares.of(kind)
        yield Bar(f"{kind}s: tokens", _parts([(each.name, each.tokens or 0) for each in lines]))
        yield Bar(f"{kind}s: groups", _parts([(each.name, each.groups or 0) for each in lines]))
        known = [(each.name, each.weight) for each in lines if each.weight is not None]
        yield Bar(f"{kind}s: gradient", _parts(known))


def _parts(found: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    total = sum(amount for _, amount in found)
    if not total:
        return ()
    shares = sorted(((name, amount / total) for name, amount in found), key=lambda p: (-p[1], p[0]))
    others = sum(share for _, share in shares[MAX_PARTS:])
    rest = [(f"{len(shares) - MAX_PARTS} others", others)] if len(shares) > MAX_PARTS else []
    return (*shares[:MAX_PARTS], *rest)


def said_of(lineage: Sequence[Ancestor]) -> tuple[str, ...]:
    """A line for each ancestor."""
    lines = [
        f"{'  ' * (each.generation - 1)}{each.parent.relation} {each.parent.name} "
        f"({each.parent.weights[:19]}..., {'shown' if each.shown else 'stated'})"
        for each in lineage[:MAX_ANCESTORS_DRAWN]
    ]
    if len(lineage) > MAX_ANCESTORS_DRAWN:
        lines.append(f"and {len(lineage) - MAX_ANCESTORS_DRAWN} more")
    return tuple(lines)


def svg(title: str, bars: Sequence[Bar], lines: Sequence[str]) -> bytes:
    """A picture of them: no script, no address, no font of its own."""
    drawn, y = [_text(12, 28, title, 16)], 48
    names = dict.fromkeys(name for bar in bars for name, _ in bar.parts)
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}
    for bar in bars:
        drawn += _drawn(bar, y, colours)
        y += BAR + 14
    for line in (*lines, SAID):
        y += LINE
        drawn.append(_text(12, y, line, 12))
    height = y + LINE
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, ground, *drawn, "</svg>", ""]).encode()


def _drawn(bar: Bar, y: int, colours: Mapping[str, str]) -> Iterator[str]:
    yield _text(12, y + 17, bar.name, 12)
    x, room = float(LEFT), WIDTH - LEFT - 12
    if not bar.parts:
        yield _text(LEFT, y + 17, "unknown", 12)
    for name, share in bar.parts:
        width, colour = room * share, colours[name]
        label = escape(f"{name}: {share:.1%}")
        yield (
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAR}" fill="{colour}" stroke="#ffffff">'
            f"<title>{label}</title></rect>"
        )
        if width > 90:
            yield _text(int(x) + 6, y + 17, f"{name[-8:]} {share:.0%}", 11, "#ffffff")
        x += width


def _text(x: int, y: int, words: str, size: int, colour: str = "#222222") -> str:
    return f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="{size}" fill="{colour}">{escape(words)}</text>'
