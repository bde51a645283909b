"""Tenants whose work is paid by grants at a lab: by which permit, at what price, and what is left.

Law: what a tenant may still use is what the lab said was left less everything that was done since and is not charged yet; a
charge that was sent and not noted is found at the lab again, so no hour is paid twice.
"""

import sqlite3
import threading
from dataclasses import dataclass

from archipel.door.keys import BadKeyQuestion
from archipel.records.grants import Permit
from archipel.records.membership import Signed, read_signed

MILLION = 1_000_000
MAX_PRICE_MICRO = 10**12
_FORM = """
CREATE TABLE IF NOT EXISTS ties (
  tenant TEXT PRIMARY KEY REFERENCES tenants(id), permit TEXT NOT NULL, signature TEXT NOT NULL,
  price_micro INTEGER NOT NULL, charged_to_ms INTEGER NOT NULL, left_micro INTEGER NOT NULL, seen_ms INTEGER
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Tie:
    """Of one tenant."""

    tenant: str
    """Its id."""
    signed: Signed
    """The permit, as its grantee signed it."""
    price_micro: int
    """Micro-credits for a million tokens of any kind."""
    charged_to_ms: int
    """What was used before is charged."""
    left_micro: int
    """By the lab's last word, less what was charged since."""
    seen_ms: int | None
    """When the lab was asked last; None: never yet."""

    @property
    def permit(self) -> Permit:
        """What was signed."""
        return read_signed(Permit, self.signed)

    def costs(self, num_tokens: int) -> int:
        """Micro-credits for so many, rounded down."""
        return num_tokens * self.price_micro // MILLION


class Ties:
    """Of one door. Calls block for the disk; any thread may make them."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        self._file, self._lock = connection, lock
        with self._lock, self._file:
            self._file.execute(_FORM)

    def tie(self, tenant: str, signed: Signed, price_micro: int, now_ms: int) -> None:
        """From now on the tenant of that name pays by this permit; what it used before is not charged.

        Raises:
            BadKeyQuestion: there is none, or no such price.
        """
        if not 1 <= price_micro <= MAX_PRICE_MICRO:
            raise BadKeyQuestion(
                f"{price_micro} micro-credits for a million tokens; expected 1 to {MAX_PRICE_MICRO}"
            )
        hour_ms = now_ms - now_ms % 3_600_000
        with self._lock, self._file:
            done = self._file.execute(
                "INSERT INTO ties SELECT id, ?, ?, ?, ?, 0, NULL FROM tenants WHERE name = ? "
                "ON CONFLICT DO UPDATE SET permit = excluded.permit, signature = excluded.signature, "
                "price_micro = excluded.price_micro, left_micro = 0, seen_ms = NULL",
                (signed.payload, signed.signature, price_micro, hour_ms, tenant),
            )
        if not done.rowcount:
            raise BadKeyQuestion(f"no tenant {tenant!r:.80}; `archipel door key list` names them")

    def untie(self, tenant: str) -> None:
        """The tenant of that name pays by no grant any more. Raises BadKeyQuestion: it did not."""
        with self._lock, self._file:
            done = self._file.execute(
                "DELETE FROM ties WHERE tenant = (SELECT id FROM tenants WHERE name = ?)", (tenant,)
            )
        if not done.rowcount:
            raise BadKeyQuestion(f"{tenant!r:.80} pays by no grant")

    def of(self, tenant: str) -> Tie | None:
        """Of this tenant's id; None: it pays by no grant."""
        with self._lock:
            row = self._file.execute("SELECT * FROM ties WHERE tenant = ?", (tenant,)).fetchone()
        return None if row is None else _tie(row)

    def all(self) -> list[Tie]:
        """Of every tenant."""
        with self._lock:
            rows = self._file.execute("SELECT * FROM ties ORDER BY tenant").fetchall()
        return [_tie(row) for row in rows]

    def noted(self, tie: Tie, charged_to_ms: int, left_micro: int, now_ms: int) -> None:
        """The lab has said what is left, and charged what was used before `charged_to_ms`."""
        with self._lock, self._file:
            self._file.execute(
                "UPDATE ties SET charged_to_ms = ?, left_micro = ?, seen_ms = ? WHERE tenant = ? AND signature = ?",
                (charged_to_ms, left_micro, now_ms, tie.tenant, tie.signed.signature),
            )


def _tie(row: tuple[str, str, str, int, int, int, int | None]) -> Tie:
    tenant, payload, signature, price, charged_to, left, seen = row
    signed = Signed(payload=payload, signature=signature)
    return Tie(tenant, signed, price, charged_to, left, seen)
