"""What `bench replays` found, in a table, in JSON, and as the distance that a recipe might say. Pure."""

from dataclasses import asdict
from typing import Any

from archipel.bench.replays import Measurement
from archipel.records.measures import NANO

MARGIN = 10
"""An honest machine of another class gets so many times what the farthest of those measured had."""


def farthest_nano(found: Measurement) -> int:
    """Of honest contributions of other classes."""
    return max((each.apart_nano for each in found.apart), default=0)


def nearest_nano(found: Measurement) -> int:
    """Of lies."""
    return min((each.apart_nano for each in found.caught if each.lie != "honest"), default=0)


def to_json(found: Measurement) -> dict[str, Any]:
    """All rows, and what follows from them."""
    return asdict(found) | {
        "farthest_honest": farthest_nano(found) / NANO,
        "nearest_lie": nearest_nano(found) / NANO,
        "distance": MARGIN * farthest_nano(found) / NANO,
    }


def table(found: Measurement) -> str:
    """One row a lie, one row a class of machine."""
    lines = [
        f"looked at on: {found.machine}",
        "",
        f"{'lie':26} {'found':>7}  {'by':8} {'after':>7}  apart",
    ]
    for lie in dict.fromkeys(each.lie for each in found.caught):
        rows = [each for each in found.caught if each.lie == lie]
        num, what = sum(bool(each.what) for each in rows), rows[0].what or "-"
        after, near = f"{rows[0].after}/{rows[0].steps}", min(each.apart_nano for each in rows)
        lines.append(f"{lie:26} {num:>3}/{len(rows):<3}  {what:8} {after:>7}  {near / NANO:.3g}")
    lines += [
        "",
        f"{'honest, made on':52} {'codec':8} {'optimiser':9} {'same bits':>9}  apart at most",
    ]
    kinds = dict.fromkeys((each.machine, each.codec, each.optimiser) for each in found.apart)
    for machine, codec, optimiser in kinds:
        same = [
            each
            for each in found.apart
            if (each.machine, each.codec, each.optimiser) == (machine, codec, optimiser)
        ]
        num, far = sum(each.is_equal for each in same), max(each.apart_nano for each in same)
        lines.append(
            f"{machine:52} {codec:8} {optimiser:9} {num:>5}/{len(same):<3}  {far / NANO:.3g}"
        )
    distance = MARGIN * farthest_nano(found) / NANO
    lines += [
        "",
        f"audit.distance = {distance:.3g} is {MARGIN} times the farthest honest one; the nearest lie lies {nearest_nano(found) / NANO:.3g} away",
    ]
    return "\n".join(lines)
