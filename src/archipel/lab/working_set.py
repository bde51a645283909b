"""Which nodes a run keeps at work, and what the ledger measured of them; a part of a run's state. Pure.

A node is measured by the time that it works: from its lease's grant, or from its answer before where that came later (it
samples while it sends), to its answer. A first lease of a version also fetches that version; the others show how
fast the node is without. What first leases take beyond that is its link's share. Its very first lease measures
nothing: engines start in it, and all of the model is fetched.
"""

from dataclasses import dataclass, field

from archipel.records.changed import changed
from archipel.records.table import Table

SMOOTHING = 4
"""A figure moves a quarter of the way to each new measurement."""
NEWS = 8
"""A rate that moved by an eighth of itself, or a link by an eighth of a version's period, is one to decide anew by."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run's answers show of one node."""

    rate_micro: int = 0
    """Units per second times 10^6 while nothing is fetched; 0 before the second answer from one version."""
    whole_micro: int = 0
    """The same of leases that began with fetching a further version, all of their time counted; 0 before the first."""
    fetch_ms: int = 0
    """What the newest version took to come here, beyond the sampling; 0 while `rate_micro` is unknown."""
    version: int = -1
    """It sampled from last."""
    answered_ms: int = 0
    is_silent: bool = False
    """It let its last lease run out, or takes no work."""
    told: tuple[int, int] = (0, 0)
    """`supply` by which the set was decided last."""

    @property
    def supply(self) -> tuple[int, int]:
        """(units per second times 10^6, milliseconds of each version's period that go by without any)."""
        if self.rate_micro:
            return self.rate_micro, self.fetch_ms
        return self.whole_micro, 0

    def is_news(self, period_ms: int) -> bool:
        """Whether this is no longer what the set was decided by; period_ms: of a version, 0 where none is known."""
        (rate, fetch_ms), (rate_then, fetch_then) = self.supply, self.told
        has_rate_moved = abs(rate - rate_then) * NEWS > max(rate_then, 1)
        return has_rate_moved or abs(fetch_ms - fetch_then) * NEWS > max(period_ms, 1)


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the set."""

    since_ms: int
    since_version: int
    brings_micro: int
    """Rollouts of a version's period, in millionths, as it was measured when the set was decided."""


@dataclass(frozen=True)
class WorkingSet:
    """Of one run."""

    figures: Table[str, Figures] = field(default_factory=Table)
    """Node -> what was measured of it."""
    step_ms: int = 0
    """The trusted role's time for a version, smoothed; 0 before version 1."""
    members: Table[str, Member] = field(default_factory=Table)
    reasons: Table[str, str] = field(default_factory=Table)
    """Node -> name of the `Why` that was decided, of those that were measured."""
    period_ms: int = 0
    """From one version to the next at the target utilisation; 0: nothing was decided yet, all may work."""
    wanted_micro: int = 0
    """Rollouts that the learner takes in a period, in millionths."""
    brought_micro: int = 0
    """Rollouts that the members bring in a period, in millionths."""
    reserve: tuple[tuple[str, int], ...] = ()
    """(node, what it brings as a member's `brings_micro`) of the first that are woken when a member goes."""
    entry: int = 0
    """Position in the ledger at which the set was decided last."""
    is_stale: bool = False
    """Something has happened since that may change it."""

    @property
    def suffices(self) -> bool:
        """Whether the members, as far as they are here, keep the learner at its target."""
        return bool(self.period_ms) and self.brought_micro >= self.wanted_micro

    def without(self, did: str) -> "WorkingSet":
        """The set when a node is gone, or is believed no more."""
        member = self.members.get(did)
        if member is None:
            return self
        brought = self.brought_micro - member.brings_micro
        return changed(self, members=self.members.drop(did), brought_micro=brought)


def measured(known: Figures, units: int, version: int, granted_ms: int, at_ms: int) -> Figures:
    """What is known of a node after one more answer, from `version`, of `units`."""
    spent_ms = max(at_ms - max(granted_ms, known.answered_ms), 1)
    now = units * 1_000_000_000 // spent_ms
    rate, whole, fetch_ms = known.rate_micro, known.whole_micro, known.fetch_ms
    if known.version < 0:
        pass
    elif version == known.version:
        rate = smoothed(rate, now)
    else:
        whole = smoothed(whole, now)
        extra_ms = spent_ms - units * 1_000_000_000 // rate if rate else 0
        if extra_ms < 0:  # not even fetching took so long: it samples faster than it did
            rate = smoothed(rate, now)
        fetch_ms = smoothed(fetch_ms, max(extra_ms, 0))
    return Figures(rate, whole, fetch_ms, version, at_ms, told=known.told)


def stepped(before_ms: int, took_ms: int) -> int:
    """The trusted role's time for a version after one more; one that took less than half is believed at once, as the
    first one's engine has to start.
    """
    return took_ms if 2 * took_ms < before_ms else smoothed(before_ms, took_ms)


def smoothed(before: int, new: int) -> int:
    """A figure after one more measurement; the first is taken as it is."""
    return before + (new - before) // SMOOTHING if before else new
