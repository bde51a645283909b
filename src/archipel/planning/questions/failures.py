"""Failures of one job on many accelerators, as quantities: how often, when to save, what share of time counts."""

from dataclasses import dataclass

from archipel.planning.quantity import Quantity
from archipel.planning.questions.sheet import Sheet
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Failures:
    """How often a job stops, and what share of its time counts."""

    between: Quantity
    """Hours."""
    interval: Quantity
    """Minutes between checkpoints, by Young."""
    goodput: Quantity


def failures(count: Quantity, shelf: Shelf, group: str, least: float = 0.0) -> Failures:
    """Of a job on `count` accelerators, named below `group`; the share is at least `least`."""
    words = {"group": group, "least": f"{least:g}"}
    sheet = Sheet("failures", shelf, words, {"job.accelerators": count})
    parts = ("mtbf", "checkpoint_interval", "goodput")
    return Failures(*(sheet[f"{group}.{part}"] for part in parts))
