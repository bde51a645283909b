"""A chronicle as pages ask for it."""

from collections.abc import Sequence

from archipel.curves.history import History
from archipel.dashboard.chronicle.reading import LIMIT, Chronicle
from archipel.dashboard.chronicle.rows import Measured as Version
from archipel.dashboard.series import By, Cleared, Grown, Measured, Moved, thinned


class Chronicled:
    """One chronicle; may be shared between threads. Everything raises ChronicleUnusable where the file cannot be read."""

    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle

    @property
    def size(self) -> int:
        """Entries that it is made from."""
        return self._chronicle.size

    def measured(self, run: str, most: int) -> Sequence[Measured]:
        """Versions of a run, thinned evenly, by version."""
        return [_measured(each) for each in self._chronicle.series(run, most)]

    def examined(self, run: str, most: int) -> Sequence[Measured]:
        """Its evaluations, thinned evenly, by version."""
        rows = self._chronicle.exams(run)
        chosen = (rows[place] for place in thinned(len(rows), most))
        return [Measured(each.version, each.entry, each.at_ms, each.values) for each in chosen]

    def history(self, run: str, newest: int) -> History:
        """The last `newest` versions, none left out."""
        return self._chronicle.history(run, newest)

    def earned(self, accounts: Sequence[str], by: By, most: int) -> Sequence[Moved]:
        """The newest `most` minutes, hours or days in which these accounts earned, the oldest first."""
        rows = self._chronicle.earnings(accounts, by=by)[-most:]
        return [Moved(each.at_ms, each.micro, each.first, each.last) for each in rows]

    def first_pay(self, accounts: Sequence[str]) -> Moved | None:
        """When the first of them was paid first, to the millisecond."""
        found = [each for name in accounts if (each := self._chronicle.first(name, "PAY"))]
        if not found:
            return None
        first = min(found, key=lambda each: each.first)
        return Moved(first.first_ms, first.in_micro, first.first, first.last)

    def cleared(self, run: str, most: int) -> Sequence[Cleared]:
        """Clearings of a run's market, thinned evenly, by number."""
        rounds = self._chronicle.clearings(run, limit=LIMIT)
        rows = [
            Cleared(each.number, each.cleared, each.cleared_ms, each.price_micro)
            for each in rounds
            if each.cleared is not None and each.cleared_ms is not None and each.price_micro is not None
        ]  # fmt: skip
        return [rows[place] for place in thinned(len(rows), most)]

    def grown(self, most: int) -> Sequence[Grown]:
        """The ledger's size by time, thinned evenly."""
        return [Grown(each.at_ms, each.size) for each in self._chronicle.growth(most)]


def _measured(row: Version) -> Measured:
    sizes = {"delta_bytes": row.delta_bytes, "anchor_bytes": row.anchor_bytes}
    known = {name: float(size) for name, size in sizes.items() if size is not None}
    groups = sum(row.ages.values())
    if groups:
        known["staleness_mean"] = sum(age * count for age, count in row.ages.items()) / groups
        known["staleness_max"] = float(max(row.ages))
    values = known | dict(row.values)
    return Measured(
        row.version, row.entry, row.at_ms, values, row.paid_micro, row.tokens, row.bytes, row.busy_ms
    )  # fmt: skip
