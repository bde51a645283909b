"""By what the promises of a door grow old: the time that it was up, whatever its machine's clock is set to.

Parts: `Passing` finds leaps, `follow` lets what lies in the journal leap along. Law: an hour for fetching an answer is an
hour in which it could be fetched; a clock that is set, a door that was shut and a machine that slept take nothing of it.
"""

import sqlite3
import time
from collections.abc import Callable

LEAP_MS = 5_000
"""Less is a clock that is kept right."""
LOOKED = "looked_ms"


def ticks_ms() -> int:
    """Of a clock that nobody sets, and that stands while the machine sleeps."""
    return time.monotonic_ns() // 1_000_000


class Passing:
    """From one look at the clock to the next."""

    def __init__(self, ticks: Callable[[], int], looked_ms: int) -> None:
        """looked_ms: by the clock, when the door looked last, perhaps before it was shut."""
        self._ticks = ticks
        self._last = self._next = looked_ms, ticks()

    def leap_ms(self, now_ms: int) -> int:
        """By how much the clock has gone on, or back, without time passing, since the last look that was `followed`."""
        self._next = now_ms, self._ticks()
        elapsed_ms, passed_ms = (b - a for a, b in zip(self._last, self._next, strict=True))
        leap = elapsed_ms - passed_ms
        return leap if abs(leap) >= LEAP_MS else 0

    def followed(self) -> None:
        """What was found is written down."""
        self._last = self._next


def looked(db: sqlite3.Connection, now_ms: int) -> int:
    """When a door looked at its clock last; now, where none has."""
    row = db.execute("SELECT last FROM counters WHERE name = ?", (LOOKED,)).fetchone()
    return now_ms if row is None else int(row[0])


def follow(db: sqlite3.Connection, leap_ms: int, now_ms: int) -> None:
    """What the clock leapt, the journal leaps; back it goes no farther than to now."""
    db.execute(
        "INSERT INTO counters (name, last) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET last = excluded.last",
        (LOOKED, now_ms),
    )
    if leap_ms == 0:
        return
    ahead = max(0, leap_ms), now_ms
    db.execute(
        "UPDATE sessions SET seen_ms = min(seen_ms + ?, ?), ended_ms = min(ended_ms + ?, ?)",
        (*ahead, *ahead),
    )
    db.execute(
        "UPDATE futures SET made_ms = min(made_ms + ?, ?), ended_ms = min(ended_ms + ?, ?), "
        "fetched_ms = CASE WHEN fetched_ms > 0 THEN min(fetched_ms + ?, ?) ELSE fetched_ms END",
        (*ahead, *ahead, *ahead),
    )
    for table in ("sequences", "checkpoints"):
        db.execute(f"UPDATE {table} SET expires_ms = expires_ms + ?", ahead[:1])  # noqa: S608
