"""What was used of a door: tokens and calls by key, hour, kind and base model.

Law: counted up only; a count that was made is there after the door was killed. Of a machine that lost its power the last
moments may be missing, never more than was used.
"""

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

KINDS = ("train", "forward", "sample", "prefill")
"""Tokens that were learned from, scored, sampled, and read before sampling."""
HOUR_MS = 3_600_000
KEPT_MS = 400 * 24 * HOUR_MS
"""Hours are kept so long."""
MAX_ROWS = 100_000
"""Of one answer."""
_FORM = """
CREATE TABLE IF NOT EXISTS usage (
  tenant TEXT NOT NULL, hour_ms INTEGER NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL,
  calls INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (tenant, hour_ms, key, kind, model)
) WITHOUT ROWID
"""
_OF_ALL = (
    "SELECT hour_ms, tenant, key, kind, model, calls, tokens FROM usage WHERE hour_ms >= ? AND hour_ms < ? "
    "ORDER BY hour_ms, tenant, key, kind, model LIMIT ?"
)
_OF_ONE = _OF_ALL.replace("WHERE", "WHERE tenant = ? AND")


class TooMany(ValueError):
    """More hours than one answer holds; ask for fewer."""


@dataclass(frozen=True, slots=True)
class Used:
    """Of one key in one hour, or one day."""

    start_ms: int
    """Unix time at which the hour or day begins, in UTC."""
    tenant: str
    """Its id."""
    key: str
    """Public name of the key."""
    kind: str
    """One of `KINDS`."""
    model: str
    """Base model; empty: not said."""
    calls: int
    num_tokens: int


class Usage:
    """Of one door. Calls block for the disk; any thread may make them."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        self._file, self._lock = connection, lock
        with self._lock, self._file:
            self._file.execute(_FORM)

    def count(
        self, tenant: str, key: str, kind: str, num_tokens: int, now_ms: int, model: str = ""
    ) -> None:
        """One call more, with so many tokens.

        Raises:
            ValueError: there is no such kind, or it is fewer than none.
        """
        if kind not in KINDS or num_tokens < 0:
            raise ValueError(f"{num_tokens} tokens of {kind}; expected 0 or more of {KINDS}")
        hour_ms = now_ms - now_ms % HOUR_MS
        with self._lock, self._file:
            self._file.execute(
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET calls = calls + 1, "
                "tokens = tokens + excluded.tokens",
                (tenant, hour_ms, key, kind, model, num_tokens),
            )

    def tokens_since(self, tenant: str, start_ms: int, end_ms: int = 2**62) -> int:
        """All its tokens of every kind, from the hour on that begins then, before the hour that begins at `end_ms`."""
        with self._lock:
            (found,) = self._file.execute(
                "SELECT COALESCE(SUM(tokens), 0) FROM usage WHERE tenant = ? AND hour_ms >= ? AND hour_ms < ?",
                (tenant, start_ms, end_ms),
            ).fetchone()
        return int(found)

    def hours(self, tenant: str | None, start_ms: int, end_ms: int) -> list[Used]:
        """By hour, of one tenant's id or of all, from `start_ms` to before `end_ms`; oldest first.

        Raises:
            TooMany: see there.
        """
        asked, values = (_OF_ALL, ()) if tenant is None else (_OF_ONE, (tenant,))
        with self._lock:
            rows = self._file.execute(asked, (*values, start_ms, end_ms, MAX_ROWS + 1)).fetchall()
        if len(rows) > MAX_ROWS:
            raise TooMany(
                f"more than {MAX_ROWS} rows from {_said(start_ms)} to {_said(end_ms)}; ask for fewer days"
            )
        return [Used(*row) for row in rows]

    def forget(self, now_ms: int) -> None:
        """What is older than `KEPT_MS`."""
        with self._lock, self._file:
            self._file.execute("DELETE FROM usage WHERE hour_ms < ?", (now_ms - KEPT_MS,))


def days(hours: Iterable[Used]) -> list[Used]:
    """The same by day, in UTC."""
    found: dict[tuple[int, str, str, str, str], tuple[int, int]] = {}
    for each in hours:
        day_ms = each.start_ms - each.start_ms % (24 * HOUR_MS)
        place = (day_ms, each.tenant, each.key, each.kind, each.model)
        calls, num_tokens = found.get(place, (0, 0))
        found[place] = (calls + each.calls, num_tokens + each.num_tokens)
    return [Used(*place, *counts) for place, counts in sorted(found.items())]


def _said(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
