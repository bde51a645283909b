"""Series of a chronicle as charts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from archipel.dashboard.pages.value import Chart, Line
from archipel.dashboard.pages.wording import MICRO
from archipel.dashboard.series import Measured, Moved

MOST = 240
"""Points of a chart: more than its pixels show."""
_LOW, _HIGH = "_low", "_high"
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Legend:
    """What a chart of versions says: its title, unit, note, and which measurements are its lines."""

    id: str
    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    """(measurement, its name on the chart)."""
    note: str = ""
    is_log: bool = False


def rounded(value: float | None) -> float | None:
    """To six digits: more cannot be seen, and would only travel."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def by_version(legend: Legend, rows: Sequence[Measured]) -> Chart | None:
    """Measurements over versions; None: nothing of it was measured."""
    there = [
        (name, label) for name, label in legend.lines if any(name in each.values for each in rows)
    ]
    if not there:
        return None
    names = [name for name, _ in there]
    kept = [each for each in rows if any(name in each.values for name in names)]
    return Chart(
        legend.id, legend.title, legend.unit, "version",
        tuple(float(each.version) for each in kept),
        tuple(_line(label, name, kept) for name, label in there),
        tuple(each.entry for each in kept),
        legend.note,
        is_log=legend.is_log,
    )  # fmt: skip


def _line(label: str, name: str, rows: Sequence[Measured]) -> Line:
    def of(which: str) -> tuple[float | None, ...]:
        return tuple(rounded(each.values.get(which)) for each in rows)

    has_band = any(name + _LOW in each.values for each in rows)
    return Line(label, of(name), *(of(name + end) for end in (_LOW, _HIGH) if has_band))


def over_time(
    legend: Legend,
    rows: Sequence[Moved],
    more: Mapping[str, Sequence[float | None]] | None = None,
    is_bars: bool = False,
) -> Chart | None:
    """Credits that moved, over time; None: none did. more: further lines over the same times."""
    if not rows:
        return None
    own = Line(legend.lines[0][1], tuple(rounded(each.micro / MICRO) for each in rows))
    others = (Line(name, tuple(map(rounded, values))) for name, values in (more or {}).items())
    xs = tuple(float(each.at_ms) for each in rows)
    entries = tuple(each.last_entry for each in rows)
    kind: Literal["bars", "steps"] = "bars" if is_bars else "steps"
    return Chart(
        legend.id, legend.title, legend.unit, "time", xs, (own, *others), entries, legend.note, kind
    )
