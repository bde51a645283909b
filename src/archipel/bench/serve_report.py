"""What was measured of servers, as a table and as a picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_of_seeds

Row = Mapping[str, Any]
_MOST = 10.0
"""Logarithm of a ratio beyond which nobody reads on."""


def table(found: Mapping[str, Any]) -> str:
    """For people."""
    rows: Sequence[Row] = found.get("rows") or ()
    lines = [f"{found['model']}, {found['weights']:,} weights, threads {found['threads']}"]
    lines += [f"without {name}: {why}" for name, why in found["absent"].items()]
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = sorted((row for row in rows if row["case"] == case), key=_order)
        one = of_case[0]
        lines += [
            "",
            f"{case}: {one['clients']} at once, {one['prompt']} + {one['new']} tokens"
            + (f", {one['shared']} of them shared" if one["shared"] else ""),
            f"  {'':24}{'tokens/s':>10}  {'first token':>12}  beside the best peer of as many bits",
        ]
        lines += [_line(row, of_case) for row in of_case]
    if not rows:
        return "\n".join([*lines, NOTHING_YET])
    num = len(rows[0]["tokens_per_s"])
    end = f"medians of {num} rounds; ratios within a round: geometric mean and 95% interval"
    return "\n".join([*lines, "", end])


def _order(row: Row) -> tuple[int, bool, str]:
    return -row["bits"], not row["ours"], row["side"]


def best_peer(row: Row, rows: Sequence[Row]) -> Row | None:
    """The fastest of the others with as many bits in this case; None: there is none."""
    peers = [
        each
        for each in rows
        if not each["ours"] and (each["bits"], each["case"]) == (row["bits"], row["case"])
    ]
    return max(peers, key=lambda each: median(each["tokens_per_s"]), default=None)


def ratio(row: Row, peer: Row, what: str) -> MeanOfSeeds:
    """Of `tokens_per_s` or `first_s`, round by round: geometric mean, and Student's interval of the logarithms."""
    pairs = zip(row[what], peer[what], strict=False)
    found = mean_of_seeds([math.log(own / other) for own, other in pairs])
    mean, low, high = (math.exp(min(each, _MOST)) for each in (found.mean, found.low, found.high))
    return MeanOfSeeds(mean, low, high, found.num_seeds)


def _said(found: MeanOfSeeds) -> str:
    if math.isnan(found.low):
        return f"{found.mean:.2f} (one round)"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _line(row: Row, rows: Sequence[Row]) -> str:
    speed, first = median(row["tokens_per_s"]), median(row["first_s"])
    line = f"  {row['side']:24}{speed:10.1f}  {first * 1000:9.0f} ms"
    peer = best_peer(row, rows) if row["ours"] else None
    if peer is None:
        return line
    speeds, firsts = (ratio(row, peer, what) for what in ("tokens_per_s", "first_s"))
    return f"{line}  {_said(speeds)} x tokens/s, {_said(firsts)} x the wait: {peer['side']}"


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Tokens per second over clients, and the wait for a long prompt, by side."""
    from matplotlib.figure import Figure

    rows: Sequence[Row] = found.get("rows") or ()
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for side in dict.fromkeys(row["side"] for row in rows):
        of_side = [row for row in rows if row["side"] == side]
        plain = [row for row in of_side if row["case"].endswith(("client", "clients"))]
        clients = [row["clients"] for row in plain]
        style = "o-" if of_side[0]["ours"] else "s--"
        left.plot(clients, [median(row["tokens_per_s"]) for row in plain], style, label=side)
        waits = [row for row in of_side if row not in plain]
        names, seconds = [row["case"] for row in waits], [median(row["first_s"]) for row in waits]
        right.plot(names, seconds, style[0], label=side)
    left.set(xlabel="clients at once", ylabel="tokens per second, all together")
    right.set(ylabel="seconds to the first token", yscale="log")
    left.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)
