"""What pages ask of a chronicle. `chronicled` reads one for them; where there is none, `NoSeries` knows nothing.

Law: every row names the entries of the ledger that it comes from; a series is thinned evenly to at most what was asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from archipel.curves.history import History

By = Literal["minute", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one version measured, or one evaluation of it."""

    version: int
    entry: int
    at_ms: int
    values: Mapping[str, float]
    """In plain units, as `curves.history` has them."""
    paid_micro: int = 0
    """By its run up to this version, and so the next two."""
    tokens: int = 0
    num_bytes: int = 0
    """Of accepted answers."""
    busy_ms: int | None = None
    """From its lease to its publication; None: not known."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Credits that moved in one stretch of time."""

    at_ms: int
    """Its beginning."""
    micro: int
    first_entry: int
    last_entry: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """One clearing of a market."""

    number: int
    entry: int
    at_ms: int
    price_micro: int


@dataclass(frozen=True, slots=True)
class Grown:
    """The ledger's size at a time."""

    at_ms: int
    size: int


class Series(Protocol):
    """A ledger's whole life as series."""

    @property
    def size(self) -> int:
        """Entries that they are made from."""

    def measured(self, run: str, most: int) -> Sequence[Measured]: ...

    def examined(self, run: str, most: int) -> Sequence[Measured]: ...

    def history(self, run: str, newest: int) -> History:
        """The last so many versions, none left out: what warnings are computed from."""

    def earned(self, accounts: Sequence[str], by: By, most: int) -> Sequence[Moved]:
        """What these accounts were paid and kept, the newest stretches, the oldest of these first."""

    def first_pay(self, accounts: Sequence[str]) -> Moved | None: ...

    def cleared(self, run: str, most: int) -> Sequence[Cleared]: ...

    def grown(self, most: int) -> Sequence[Grown]: ...


class NoSeries:
    """Where there is no chronicle: it knows nothing."""

    size = 0

    def measured(self, run: str, most: int) -> Sequence[Measured]:
        """None."""
        return ()

    def examined(self, run: str, most: int) -> Sequence[Measured]:
        """None."""
        return ()

    def history(self, run: str, newest: int) -> History:
        """Of no version."""
        return History(run, 0, (), ())

    def earned(self, accounts: Sequence[str], by: By, most: int) -> Sequence[Moved]:
        """None."""
        return ()

    def first_pay(self, accounts: Sequence[str]) -> Moved | None:
        """None."""
        return None

    def cleared(self, run: str, most: int) -> Sequence[Cleared]:
        """None."""
        return ()

    def grown(self, most: int) -> Sequence[Grown]:
        """None."""
        return ()


def thinned(count: int, most: int) -> list[int]:
    """`most` places of 0 .. count - 1, evenly apart, the first and the last among them; all if they are no more."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return [place * (count - 1) // (most - 1) for place in range(most)]
