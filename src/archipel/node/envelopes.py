"""Bids that a node has sealed: kept in its home, readable by nobody else, until they are revealed or too old.

Law: a bid is kept before its seal is told, so that whatever interrupts the node, it can open what it sealed; and no
second bid is sealed for a round for which one is kept.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.records.bids import Bid, Nonce, seal_of
from archipel.records.fields import Digest

FILE = "bids.json"
MAX_KEPT = 256
"""Rounds, over all runs and labs; the oldest are forgotten first."""
NONCE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Place:
    """A round of a run's market at a lab."""

    lab: str
    run: str
    number: int

    @property
    def key(self) -> str:
        """In the file."""
        return f"{self.lab} {self.run} {self.number}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """One bid."""

    bid: Bid
    nonce: Nonce

    @classmethod
    def fresh(cls, bid: Bid) -> "Sealed":
        """With a nonce that nobody can guess."""
        return cls(bid, secrets.token_hex(NONCE_BYTES))

    @property
    def seal(self) -> Digest:
        """What is told before."""
        return seal_of(self.bid, self.nonce)


class Drawer:
    """Of one node's home."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._kept: dict[str, dict[str, Any]] | None = None

    def find(self, place: Place) -> Sealed | None:
        """What was sealed for this round.

        Raises:
            Unreadable, OSError: the file is damaged or cannot be read.
        """
        row = self._rows().get(place.key)
        if row is None:
            return None
        try:
            return Sealed(Bid.model_validate_json(row["bid"]), str(row["nonce"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{self._path} holds no bid for {place.key}: {error!s:.200}") from None

    def keep(self, place: Place, sealed: Sealed) -> None:
        """From now on it can be revealed, whatever happens. Raises Unreadable, OSError."""
        row = {"bid": sealed.bid.model_dump_json(), "nonce": sealed.nonce}
        rows = {**self._rows(), place.key: row}
        self._write(dict(list(rows.items())[-MAX_KEPT:]))

    def drop(self, place: Place) -> None:
        """It was revealed, or its time is over. Raises Unreadable, OSError."""
        if place.key in self._rows():
            self._write({key: row for key, row in self._rows().items() if key != place.key})

    def _rows(self) -> dict[str, dict[str, Any]]:
        if self._kept is None:
            found = read_json(self._path) or {}
            rows = found.get("bids", {})
            if not isinstance(rows, dict):
                raise Unreadable(f"{self._path} holds no bids; remove it")
            self._kept = rows
        return self._kept

    def _write(self, rows: dict[str, dict[str, Any]]) -> None:
        write_json(self._path, {"bids": rows})
        self._kept = rows
