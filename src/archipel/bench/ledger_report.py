"""The ledger benchmark in words, for machines and as a picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from archipel.bench.intervals import mean_of_rates
from archipel.bench.ledger_append import WAYS

AIMS = (
    "aims, on 2 quiet cores and SQLite: 5,000 signed records/s in groups; one inclusion checked in under 1 ms; "
    "1,000,000 entries verified in under 120 s"
)
Row = dict[str, Any]


def to_json(rows: Sequence[Row], limits: Sequence[str]) -> dict[str, Any]:
    """Flows as means over their repetitions with intervals, and every row."""
    return {"appends": list(_flows(rows)), "rows": list(rows), "not_measured": list(limits)}


def _flows(rows: Sequence[Row]) -> Iterator[Row]:
    """One for each storage and way."""
    named = dict.fromkeys((row["storage"], row["way"]) for row in rows if row["kind"] == "append")
    for storage, way in sorted(named, key=lambda each: (each[0], WAYS.index(each[1]))):
        own = [row for row in rows if (row.get("storage"), row.get("way")) == (storage, way)]
        found = mean_of_rates([row["per_s"] for row in own])
        yield {
            "storage": storage,
            "way": way,
            "flows": len(own),
            "per_s": found.mean,
            "low": found.low if len(own) > 1 else None,
            "high": found.high if len(own) > 1 else None,
            "best": max(row["per_s"] for row in own),
            "per_cpu_s": mean_of_rates([row["per_cpu_s"] for row in own]).mean,
        }


def table(rows: Sequence[Row], limits: Sequence[str]) -> str:
    """For people."""
    lines = [*_flow_lines(rows), *_verify_lines(rows), *_proof_lines(rows)]
    lines += [f"not measured: {each}" for each in limits]
    return "\n".join([*lines, AIMS])


def _flow_lines(rows: Sequence[Row]) -> Iterator[str]:
    flows = list(_flows(rows))
    if flows:
        yield "signed records a second  way         mean [95% interval]        best   per processor s"
    for each in flows:
        within = "" if each["low"] is None else f"[{each['low']:,.0f}, {each['high']:,.0f}]"
        yield (
            f"{each['storage']:<24} {each['way']:<11} {each['per_s']:>6,.0f} {within:<18} "
            f"{each['best']:>6,.0f} {each['per_cpu_s']:>10,.0f}"
        )


def _verify_lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["kind"] == "verify":
            yield (
                f"{row['entries']:>9,} entries verified on {row['storage']}: {row['wall_s']:.1f} s "
                f"({row['cpu_s']:.1f} s processor, {row['per_s']:,.0f}/s, load {row['machine_load']:.1f})"
            )


def _proof_lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["kind"] == "proofs":
            yield (
                f"{row['entries']:>9,} entries ({row['ledger_bytes'] / row['entries']:,.0f} bytes each): inclusion "
                f"{row['inclusion_bytes']['max']:.0f} bytes, file {row['proof_file_bytes']['max']:.0f}, made in "
                f"{_ms(row, 'make_inclusion_us')}, path checked in {_ms(row, 'check_path_us')}, with the signed head "
                f"in {_ms(row, 'check_inclusion_us')}; consistency {row['consistency_bytes']['max']:.0f} bytes, "
                f"{_ms(row, 'make_consistency_us')}, {_ms(row, 'check_consistency_us')}"
            )


def _ms(row: Row, name: str) -> str:
    return f"{row[name]['median'] / 1e3:.3f} ms (p99 {row[name]['p99'] / 1e3:.3f})"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Flows as bars; verifying and proofs by size as curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    flows = [each for each in _flows(rows) if each["way"] != "raw"]
    left.barh([f"{each['storage']}\n{each['way']}" for each in flows], [e["per_s"] for e in flows])
    left.axvline(5_000, color="black", linestyle=":", linewidth=1)
    left.set(xlabel="records a second", title="Signed records appended")
    for storage in dict.fromkeys(row["storage"] for row in rows if row["kind"] == "verify"):
        own = [row for row in rows if row["kind"] == "verify" and row["storage"] == storage]
        at = [row["entries"] for row in own]
        middle.plot(at, [row["wall_s"] for row in own], "o-", label=f"{storage}, clock")
        middle.plot(at, [row["cpu_s"] for row in own], "s--", label=f"{storage}, processor")
    middle.set(xscale="log", yscale="log", xlabel="entries", ylabel="seconds", title="Verified")
    shown = [row for row in rows if row["kind"] == "proofs"]
    for name in (
        "make_inclusion_us",
        "check_inclusion_us",
        "make_consistency_us",
        "check_consistency_us",
    ):
        at, values = [row["entries"] for row in shown], [row[name]["median"] / 1e3 for row in shown]
        right.plot(at, values, "o-", label=name.removesuffix("_us").replace("_", " "))
    right.set(xscale="log", yscale="log", xlabel="entries", ylabel="ms, median", title="Proofs")
    for axes in (middle, right):
        if axes.lines and shown + flows:
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
