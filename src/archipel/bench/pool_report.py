"""What was measured of a pool, as tables."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from archipel.bench.intervals import mean_of_rates


def table(found: Mapping[str, Any]) -> str:
    """For people."""
    lines = [
        f"model {found['model']}, {found['num_layers']} layers",
        "",
        "tokens per second, and the share of one process alone",
    ]
    lines += _speed_lines(found["speeds"])
    lines += ["", "bytes of rows for a token of one stream, by hop"]
    lines += [
        f"  pool of {each['way']}, {each['device']} (layers {_ranges(each['layers'])}): {each['out']:.0f} there, {each['in']:.0f} back"
        for each in found["hops"]
    ]
    for way in dict.fromkeys(each["way"] for each in found["hops"]):
        total = sum(each["out"] + each["in"] for each in found["hops"] if each["way"] == way)
        lines.append(f"  pool of {way}: {total:.0f} in all")
    lines += ["", "a device killed (SIGKILL) in the middle of its streams"]
    lines += [
        f"  {each['lost']}: next token after {each['seconds']:.2f} s, of which {each['mending_seconds']:.2f} s to take "
        f"over and compute {each['positions']} positions again; "
        f"{'the same tokens and log-probabilities' if each['same'] else 'OTHER TOKENS'}"
        for each in found["kills"]
    ]
    return "\n".join(lines)


def _ranges(layers: Sequence[Sequence[int]]) -> str:
    return ", ".join(f"{first}..{end - 1}" for first, end in layers)


def _speed_lines(speeds: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for each in sorted(speeds, key=lambda one: (one["streams"], one["delay_ms"], one["way"])):
        pairs = each["alone_and_pool"]
        share = mean_of_rates([pool / alone for alone, pool in pairs])
        lines.append(
            f"  {each['streams']} stream(s), {each['delay_ms']:g} ms, pool of {each['way']}: "
            f"{median(pool for _, pool in pairs):.1f} tokens/s, alone {median(alone for alone, _ in pairs):.1f}; "
            f"share {share}"
        )
    return lines
