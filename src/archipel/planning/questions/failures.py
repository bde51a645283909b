"""Failures of one job on many accelerators, as quantities: how often, when to save, what share of time counts.

The law is `laws/reliability`: one Poisson process over all accelerators, checkpoints at Young's interval.
"""

from dataclasses import dataclass

import numpy as np

from archipel.planning.laws.reliability import (
    daly_interval_h,
    goodput,
    mtbf_hours,
    young_interval_h,
)
from archipel.planning.quantity import Quantity, derive
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Failures:
    """How often a job stops, and what share of its time counts."""

    between: Quantity
    """Hours."""
    interval: Quantity
    """Minutes between checkpoints, by Young."""
    refined: Quantity
    """The same by Daly."""
    goodput: Quantity


def failures(count: Quantity, shelf: Shelf, group: str, least: float = 0.0) -> Failures:
    """Of a job on `count` accelerators, named below `group`; the share is at least `least`."""
    between = derive(
        f"{group}.mtbf",
        "h",
        [(shelf["reliability.mtbf"], "accelerator*h/failure"), (count, "accelerator")],
        mtbf_hours,
        "reliability.mtbf / accelerators",
        "between two failures of a job on all of them",
    )
    saving, restart = shelf["reliability.checkpoint.blocking"], shelf["reliability.restart"]
    interval = derive(
        f"{group}.checkpoint_interval",
        "min",
        [(saving, "h"), (between, "h")],
        lambda save, mtbf: 60.0 * young_interval_h(save, mtbf),
        f"√(2 × reliability.checkpoint.blocking × {group}.mtbf)",
        "best interval between checkpoints (Young)",
    )
    refined = derive(
        f"{group}.checkpoint_interval_daly",
        "min",
        [(saving, "h"), (between, "h")],
        lambda save, mtbf: 60.0 * daly_interval_h(save, mtbf),
        f"Young's × (1 + √r / 3 + r / 9) − saving, r = saving / (2 × {group}.mtbf)",
        "the same, refined (Daly)",
    )
    useful = derive(
        f"{group}.goodput",
        "1",
        [(between, "h"), (saving, "h"), (restart, "h"), (interval, "h")],
        lambda *times: np.maximum(goodput(*times), least),
        f"(1 − saving) × (1 − (restart + half an interval) / {group}.mtbf)",
        "share of time that does kept work",
    )
    return Failures(between, interval, refined, useful)
