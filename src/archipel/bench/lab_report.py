"""The lab benchmark in words, for machines and as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archipel.bench.lab import Measured
from archipel.bench.lab_cost import Flow, Restart
from archipel.bench.lab_load import Load
from archipel.bench.lab_siege import Siege

AIMS = (
    "aims: 300 entries/s and p99 < 250 ms with 10,000 nodes on 2 quiet cores, lab < 1.5 GB; restart at "
    "1,000,000 entries < 10 s; 5,000 signed statements/s; under attack 80% of the pace"
)
SMALLEST_MS = 0.05


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def to_json(measured: Measured) -> dict[str, Any]:
    """Every figure; latencies as p50, p99 and the largest, in milliseconds."""
    return {
        "loads": [_load_values(load) for load in measured.loads],
        "restarts": [vars(restart) for restart in measured.restarts],
        "flow": None if measured.flow is None else _flow_values(measured.flow),
        "costs_us": {str(each.nodes): each.us for each in measured.costs},
        "sieges": [_siege_values(each) for each in measured.sieges],
    }


def _load_values(load: Load) -> dict[str, Any]:
    latencies = {
        "record": load.records,
        "grant": load.grants,
        "grant_from_sending": load.grants_sent,
        "join": load.joins,
    } | {f"page {page}": taken for page, taken in load.pages.items()}
    kept = (
        "nodes", "entries_per_s", "polls_per_s", "faults", "counted", "lab_cores", "idle_cores",
        "rss_start", "rss_waiting", "rss_end", "rss_peak", "machine_load", "bytes_per_node",
        "seconds_per_poll", "seconds_per_entry",
    )  # fmt: skip
    return {name: getattr(load, name) for name in kept} | {
        name: {
            "count": len(taken),
            "p50_ms": 1e3 * quantile(taken, 0.5),
            "p99_ms": 1e3 * quantile(taken, 0.99),
            "max_ms": 1e3 * max(taken, default=math.nan),
        }
        for name, taken in latencies.items()
    }


def _siege_values(siege: Siege) -> dict[str, Any]:
    return {
        "way": siege.way,
        "kept": siege.kept,
        "peace_per_s": siege.peace,
        "attack_per_s": siege.attack,
        "peace_p50_ms": 1e3 * quantile(siege.peace_s, 0.5),
        "peace_p99_ms": 1e3 * quantile(siege.peace_s, 0.99),
        "attack_p50_ms": 1e3 * quantile(siege.attack_s, 0.5),
        "attack_p99_ms": 1e3 * quantile(siege.attack_s, 0.99),
        "came": siege.came,
        "rss_peak": siege.rss_peak,
        "machine_load": siege.machine_load,
    }


def _flow_values(flow: Flow) -> dict[str, Any]:
    return {
        "statements": flow.statements,
        "per_wall_s": flow.statements / flow.wall_s,
        "per_cpu_s": flow.statements / flow.cpu_s,
        "parts_us": flow.parts_us,
    }


def table(measured: Measured) -> str:
    """For people."""
    lines = _load_lines(measured.loads) if measured.loads else []
    lines += [_restart_line(each) for each in measured.restarts]
    if measured.flow is not None:
        lines += _flow_lines(measured.flow)
    if measured.costs:
        lines.append("processor microseconds of one, by number of nodes:")
        lines.append(f"  {'':<18}" + "".join(f"{each.nodes:>12,}" for each in measured.costs))
        lines += [
            f"  {name:<18}" + "".join(f"{each.us[name]:>12,.0f}" for each in measured.costs)
            for name in measured.costs[0].us
        ]
    lines += [line for each in measured.sieges for line in _siege_lines(each)]
    return "\n".join([*lines, AIMS])


def _siege_lines(siege: Siege) -> list[str]:
    came = ", ".join(f"{count:,} {what}" for what, count in siege.came.items())
    return [
        f"under {siege.way}: honest work keeps {siege.kept:.0%} of its pace"
        f" ({_mean(siege.attack):.1f} of {_mean(siege.peace):.1f} answers/s),"
        f" records {_pair(siege.attack_s)} in place of {_pair(siege.peace_s)},"
        f" lab {siege.rss_peak / 2**20:.0f} MB at most, load {siege.machine_load:.0f}",
        f"  the attackers: {came}",
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _load_lines(loads: Sequence[Load]) -> list[str]:
    lines = [
        f"{'nodes':>7} {'entries/s':>9} {'polls/s':>8} {'record p50/p99':>16} {'grant p50/p99':>16}"
        f" {'page p50/p99':>16} {'lab cores':>9} {'ms/entry':>8} {'ms/poll':>8} {'kB/node':>8}"
        f" {'peak MB':>8} {'faults':>6} {'load':>5}"
    ]
    for load in loads:
        pages = [taken for each in load.pages.values() for taken in each]
        lines.append(
            f"{load.nodes:>7,} {load.entries_per_s:>9.0f} {load.polls_per_s:>8.0f}"
            f" {_pair(load.records)} {_pair(load.grants)} {_pair(pages)} {load.lab_cores:>9.2f}"
            f" {1e3 * load.seconds_per_entry:>8.2f} {1e3 * load.seconds_per_poll:>8.2f}"
            f" {load.bytes_per_node / 1024:>8.1f} {load.rss_peak / 2**20:>8.0f}"
            f" {sum(load.faults.values()):>6} {load.machine_load:>5.1f}"
        )
    return lines


def _pair(values: Sequence[float]) -> str:
    return f"{1e3 * quantile(values, 0.5):>6.0f} / {1e3 * quantile(values, 0.99):>4.0f} ms"


def _restart_line(restart: Restart) -> str:
    return (
        f"restart over {restart.entries:>9,} entries: {restart.answer_s:.1f} s until it answers,"
        f" {restart.cpu_s:.1f} s processor (log {restart.open_cpu_s:.2f},"
        f" state {restart.recover_cpu_s:.2f})"
    )


def _flow_lines(flow: Flow) -> list[str]:
    parts = ", ".join(f"{name} {value:.0f}" for name, value in flow.parts_us.items())
    return [
        f"flow into SQLite: {flow.statements / flow.wall_s:,.0f} statements/s wall,"
        f" {flow.statements / flow.cpu_s:,.0f} per processor second; microseconds: {parts}"
    ]


def draw(measured: Measured, path: Path) -> None:
    """Growth curves: latencies by nodes, restarts by entries, costs by nodes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _draw_loads(left, measured.loads)
    entries = [each.entries for each in measured.restarts]
    middle.plot(entries, [each.answer_s for each in measured.restarts], "o-", label="wall")
    middle.plot(entries, [each.cpu_s for each in measured.restarts], "s--", label="processor")
    middle.set(xscale="log", xlabel="entries in the ledger", ylabel="seconds", title="Restart")
    for name in measured.costs[0].us if measured.costs else ():
        at = [each.nodes for each in measured.costs]
        right.plot(at, [each.us[name] / 1e3 for each in measured.costs], "o-", label=name)
    right.set(
        xscale="log", yscale="log", xlabel="nodes", ylabel="processor ms", title="One of each"
    )
    for axes in (left, middle, right):
        if axes.lines:
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _draw_loads(axes: Any, loads: Sequence[Load]) -> None:
    at = [load.nodes for load in loads]
    for name, color in (("records", "C0"), ("grants", "C1"), ("pages", "C2")):
        for share, style in ((0.5, "--"), (0.99, "-")):
            shown = [
                max(SMALLEST_MS, 1e3 * quantile(_latencies(load, name), share)) for load in loads
            ]
            axes.plot(at, shown, f"o{style}", color=color, label=f"{name[:-1]} p{100 * share:.0f}")
    axes.set(xscale="log", yscale="log", xlabel="nodes that wait", ylabel="ms", title="Under load")


def _latencies(load: Load, name: str) -> list[float]:
    if name == "pages":
        return [taken for each in load.pages.values() for taken in each]
    found: list[float] = getattr(load, name)
    return found
