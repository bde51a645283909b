"""One pledge of compute as a lab knows it: what was said, and what was given since. Frozen; part of the state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """One pledge, and what was given of it."""

    name: str
    entry: int
    """Position of its `compute.pledged` in the ledger."""
    at_ms: int
    until_ms: int
    purpose: str | None = None
    share: int | None = None
    hours: int | None = None
    withdrawn_ms: int | None = None
    given_ms: int = 0
    """From grants to their accepted answers, added up."""
    works: int = 0
    tokens: int = 0

    def holds(self, at_ms: int) -> bool:
        """Whether work that is accepted at this time counts for it."""
        return self.withdrawn_ms is None and at_ms < self.until_ms
