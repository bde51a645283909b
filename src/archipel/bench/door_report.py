"""What was measured of tenants side by side, as a table."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_of_seeds

Row = Mapping[str, Any]
GB = 1e9


def table(found: Mapping[str, Any]) -> str:
    """For people."""
    plan = found["plan"]
    cases: Sequence[Row] = [row for row in found["cases"] if row["separate"] == row["tenants"]]
    lines = [
        f"{plan['model']}, LoRA rank {plan['rank']} beside every layer, {plan['sequences']} sequence a step, "
        f"{plan['threads']} thread on either side"
    ]
    lines += _sides(found, cases) if cases else []
    if not cases and not found["http"]:
        return "\n".join([*lines, NOTHING_YET])
    if left := len(found["cases"]) - len(cases):
        lines += ["", f"not measured to the end: {left} of {len(found['cases'])} cases"]
    lines += _bit_law(cases) + _http(found["http"])
    lines += ["", "medians of rounds; ratios within a round: geometric mean and 95% interval"]
    return "\n".join(lines)


def ratios(row: Row, above: str, below: str) -> MeanOfSeeds:
    """Of two lists round by round: geometric mean, and Student's interval of the logarithms.

    Raises:
        ValueError: there is no round that both have.
    """
    pairs = zip(row[above], row[below], strict=False)
    found = mean_of_seeds([math.log(one / other) for one, other in pairs])
    mean, low, high = (math.exp(each) for each in (found.mean, found.low, found.high))
    return MeanOfSeeds(mean, low, high, found.num_seeds)


def _said(found: MeanOfSeeds) -> str:
    if math.isnan(found.low):
        return f"{found.mean:.2f} (one round)"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _sides(found: Mapping[str, Any], cases: Sequence[Row]) -> list[str]:
    lines = []
    for length in dict.fromkeys(row["length"] for row in cases):
        of_length = [row for row in cases if row["length"] == length]
        lines += ["", f"sequences of {length} tokens"]
        lines.append(
            f"  {'tenants':>7}  {'one base':>22}  {'as many processes':>22}  {'times as fast':>20}  by processor time"
        )
        lines += [_speed(row) for row in of_length]
        lines.append(
            f"  {'tenants':>7}  {'one base, peak':>22}  {'processes, each and all':>24}  beside one tenant"
        )
        lines += [_memory(row, of_length[0]) for row in of_length]
    most = max(row["tenants"] for row in cases)
    at_once = found.get("at_once", most)
    if at_once < most:
        lines += [
            "",
            f"{at_once} processes fitted into memory at once; the others were run after them, and times added up",
        ]
    return lines


def _speed(row: Row) -> str:
    both = (
        f"{row['steps'] / median(row[f'{side}_wall_s']):7.2f} steps/s {row['tokens'] / median(row[f'{side}_wall_s']):6.0f} t/s"
        for side in ("ours", "separate")
    )
    wall, cpu = (ratios(row, f"separate_{kind}_s", f"ours_{kind}_s") for kind in ("wall", "cpu"))
    return f"  {row['tenants']:>7}  {'  '.join(both)}  {_said(wall):>20}  {_said(cpu)}"


def _memory(row: Row, one: Row) -> str:
    peak, each, tenants = row["ours_peak"] / GB, row["separate_peak"] / GB, row["tenants"]
    pss = row["separate_pss"] * tenants / GB
    line = f"  {tenants:>7}  {peak:>19.2f} GB  {each:6.2f} GB, {pss:7.2f} GB in all"
    if row is one or one["tenants"] != 1 or not one["ours_peak"]:
        return line
    more = (row["ours_peak"] - one["ours_peak"]) / (tenants - 1)
    return (
        f"{line}  {row['ours_peak'] / one['ours_peak']:.2f} times ours, "
        f"{row['ours_peak'] / one['separate_peak']:.2f} times a process; {more / 1e6:.0f} MB a tenant"
    )


def _bit_law(cases: Sequence[Row]) -> list[str]:
    alone = [row for row in cases if row["tenants"] == 1]
    said = [
        f"{_said(ratios(row, 'ours_cpu_s', 'separate_cpu_s'))} at {row['length']} tokens"
        for row in alone
    ]
    if not said:
        return []
    return ["", f"fixed layout beside plain torch, one tenant, processor time: {', '.join(said)}"]


def _http(rows: Sequence[Row]) -> list[str]:
    lines = ["", "through a door's HTTP beside its hands called directly"] if rows else []
    for row in rows:
        wall, cpu = (ratios(row, f"http_{kind}_s", f"direct_{kind}_s") for kind in ("wall", "cpu"))
        each = 1000 * (median(row["http_wall_s"]) - median(row["direct_wall_s"])) / row["steps"]
        lines.append(
            f"  {row['tenants']:>3} tenants, {row['length']} tokens: {_said(wall)} x the time, {_said(cpu)} x the door's processor "
            f"time, {each:.0f} ms more a step; {sum(row['http_passes'])} passes for {sum(row['direct_passes'])}"
        )
    return lines
