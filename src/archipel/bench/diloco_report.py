"""What `bench diloco` found: a table, numbers for machines, and one picture of loss over bytes.

Law: a ratio is formed with synchronous training of the same size and seed, and with nothing else; means and intervals are
over seeds. Bytes are those of the member that sends, or fetches, the most.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipel.bench.diloco import Row, sizes_of
from archipel.bench.diloco_links import inner_steps_waited
from archipel.bench.diloco_plan import Budget
from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_if_any
from archipel.curves.plot import letter

SYNCHRONOUS, PLAIN = "synchronous", "DiLoCo"


@dataclass(frozen=True)
class Line:
    """One way with one size, over seeds."""

    size: str
    way: str
    kind: str
    seeds: int
    nats: MeanOfSeeds
    """Held-out loss a byte."""
    ratio: MeanOfSeeds
    """To synchronous training's; NaN where that was not measured."""
    up: int
    """Bytes of the member that sends most, in the whole run."""
    down: int
    fewer_up: float
    """Synchronous training's bytes over these; infinite where nothing is sent."""
    fewer_down: float
    waited: float
    """Share of the time that goes by in exchanges, were nothing done meanwhile, by the way's own links (simulated)."""
    tokens: int


def lines_of(rows: Sequence[Row], budget: Budget) -> list[Line]:
    """A line for each way and size, in the order of the plan."""
    lines = []
    for size in sizes_of(rows):
        of_size = [row for row in rows if row.size == size]
        beside = {row.seed: row for row in of_size if row.way.kind == SYNCHRONOUS}
        for name in dict.fromkeys(row.way.name for row in of_size):
            lines.append(_line([row for row in of_size if row.way.name == name], beside, budget))
    return lines


def _line(mine: Sequence[Row], beside: dict[int, Row], budget: Budget) -> Line:
    row, found = mine[0], mine[0].found
    paired = [(each.found, beside[each.seed].found) for each in mine if each.seed in beside]
    theirs = paired[0][1] if paired else None
    waited = inner_steps_waited(found.up, found.down, found.whole, row.way.links)
    return Line(
        size=row.size,
        way=row.way.name,
        kind=row.way.kind,
        seeds=len(mine),
        nats=mean_if_any([each.found.nats for each in mine]),
        ratio=mean_if_any([ours.nats / other.nats for ours, other in paired]),
        up=max(found.up),
        down=max(found.down),
        fewer_up=_over(theirs.up, found.up) if theirs else math.nan,
        fewer_down=_over(theirs.down, found.down) if theirs else math.nan,
        waited=waited / (waited + budget.steps),
        tokens=found.tokens,
    )


def _over(theirs: Sequence[int], ours: Sequence[int]) -> float:
    return max(theirs) / max(ours) if max(ours) else math.inf


def row_line(row: Row) -> str:
    """One way that has ended, on a line."""
    found = row.found
    return (
        f"{row.size:>5} seed {row.seed}  {row.way.name:<28} {found.start_nats:.3f} -> {found.nats:.4f} nats a byte, "
        f"{max(found.up) / 1e6:.3f} MB up, {max(found.down) / 1e6:.3f} MB down, {found.processor_s:.0f} s of processor"
    )


def table(rows: Sequence[Row], budget: Budget) -> str:
    """For people."""
    if not rows:
        return NOTHING_YET
    out = [
        f"{budget.members} members, {budget.steps} inner steps of {budget.batch} windows of {budget.sequence_length} bytes"
        f" each, after {budget.start_steps} steps of one machine; {rows[0].found.tokens:,} bytes of text in all",
        f"{'size':>5}  {'way':<28}{'nats a byte':>24}{'/ synchronous':>24}{'MB up':>11}{'fewer up':>10}{'down':>9}"
        f"{'waiting':>9}",
    ]
    for line in lines_of(rows, budget):
        out.append(
            f"{line.size:>5}  {line.way:<28}{line.nats!s:>24}{_ratio(line.ratio):>24}{line.up / 1e6:>11.3f}"
            f"{_times(line.fewer_up):>10}{_times(line.fewer_down):>9}{line.waited:>9.0%}"
        )
    out += [_about_links(row, rows, budget) for row in _with_unequal_links(rows)]
    out.append(
        "intervals: 95 percent over seeds; fewer: times fewer bytes than synchronous training, of the busiest member;"
        " waiting: simulated, were nothing done during an exchange"
    )
    return "\n".join(out)


def _with_unequal_links(rows: Sequence[Row]) -> list[Row]:
    """One of each size and way."""
    found = {(row.size, row.way.name): row for row in reversed(rows) if row.way.links != "equal"}
    return list(reversed(found.values()))


def _about_links(row: Row, rows: Sequence[Row], budget: Budget) -> str:
    """What members send over links that are not equal, and how long they would wait if all sent everything."""
    said = f"{row.size} {row.way.name}: members send {', '.join(row.found.codecs)}"
    plain = [each for each in rows if (each.size, each.way.name) == (row.size, PLAIN)]
    if not plain:
        return said
    found = plain[0].found
    waited = inner_steps_waited(found.up, found.down, found.whole, row.way.links)
    return f"{said}; with float32 over these links {waited / (waited + budget.steps):.0%} of the time is waiting"


def _ratio(value: MeanOfSeeds) -> str:
    if not value.num_seeds:
        return "-"
    interval = "" if math.isnan(value.low) else f" [{value.low:.4f}, {value.high:.4f}]"
    return f"{value.mean:.4f}{interval}"


def _times(value: float) -> str:
    return "-" if math.isnan(value) or math.isinf(value) else f"{value:,.0f}x"


def to_json(rows: Sequence[Row], budget: Budget, text: str) -> dict[str, Any]:
    """Everything, for machines; what is infinite or not known is null."""
    return {
        "text": text,
        "budget": asdict(budget),
        "lines": [_plain(asdict(line)) for line in lines_of(rows, budget)],
        "rows": [asdict(row) for row in rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def draw(rows: Sequence[Row], budget: Budget, path: Path) -> None:
    """Loss ratio over bytes, all sizes in one panel: a colour a size, a letter a way, a line along the frontier.

    Raises:
        OSError: the file cannot be written. ValueError: there is no ratio to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [line for line in lines_of(rows, budget) if line.up and line.ratio.num_seeds]
    if not lines:
        raise ValueError("nothing was measured beside synchronous training yet")
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    letters = {name: letter(n) for n, name in enumerate(dict.fromkeys(x.way for x in lines))}
    for number, size in enumerate(dict.fromkeys(line.size for line in lines)):
        _draw_size(axis, [line for line in lines if line.size == size], f"C{number}", letters)
    for name, sign in letters.items():
        axis.plot([], [], marker=f"${sign}$", color="black", linestyle="none", label=name)
    axis.axhline(1.0, color="grey", linewidth=0.8, linestyle="--")
    axis.set_xscale("log")
    axis.set_xlabel("times fewer bytes up than synchronous training")
    axis.set_ylabel("held-out loss / that of synchronous training")
    axis.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=150)


def _draw_size(axis: Any, lines: Sequence[Line], colour: str, letters: Mapping[str, str]) -> None:
    best = frontier(lines)
    over, ratios = [x.fewer_up for x in best], [x.ratio.mean for x in best]
    axis.plot(over, ratios, color=colour, linewidth=1, label=f"{lines[0].size}, the frontier")
    for line in lines:
        half = line.ratio.half_width
        width = None if math.isnan(half) else half
        at = line.fewer_up, line.ratio.mean
        axis.errorbar(*at, width, marker="o", markersize=4, color=colour, capsize=3)
        axis.annotate(letters[line.way], at, (4, 4), textcoords="offset points", color=colour)


def frontier(lines: Sequence[Line]) -> list[Line]:
    """Those of which no other has less loss with at most as many bytes, from the most bytes to the fewest."""
    best: list[Line] = []
    for line in sorted(lines, key=lambda each: (-each.fewer_up, each.ratio.mean)):
        if not best or line.ratio.mean < best[-1].ratio.mean:
            best.append(line)
    return best[::-1]
