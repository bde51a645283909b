"""What a trusted role said of each turn, on its own disk before anybody sees it: the first answer stands.

Law: the same words get the same reply, also from another process after a kill; what a lease asked goes when it is over.
POSIX: the file is mode 0600.
"""

import os
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "turns.sqlite"
LATER = "retells"
"""A column that older files lack."""
KEPT_MS = 600_000
"""After a lease's deadline: whoever asks so late is told what it was told before."""
_FORM = """
CREATE TABLE IF NOT EXISTS turns (
  work TEXT, grp INTEGER, rollout INTEGER, turn INTEGER,
  said BLOB, answer BLOB, is_over INTEGER, seal BLOB, expires_ms INTEGER, retells INTEGER DEFAULT 0,
  PRIMARY KEY (work, grp, rollout, turn)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was answered."""

    said: tuple[int, ...]
    answer: tuple[int, ...]
    is_over: bool
    seal: bytes
    retells: bool = False
    """The answer is the prompt of a new sample."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which turn."""

    work: str
    group: int
    rollout: int
    turn: int


class Journal:
    """One trusted role's. Calls block for the disk."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, sqlite3.Error: the file cannot be used."""
        path = folder / FILE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._file = sqlite3.connect(path, check_same_thread=False, timeout=10.0)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=FULL")
        self._file.execute(_FORM)
        columns = {row[1] for row in self._file.execute("PRAGMA table_info(turns)")}
        if LATER not in columns:  # a file of an older version
            self._file.execute(f"ALTER TABLE turns ADD COLUMN {LATER} INTEGER DEFAULT 0")
        self._file.commit()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def episode(self, work: str, group: int, rollout: int) -> list[Turn]:
        """Its turns so far."""
        rows = self._file.execute(
            "SELECT said, answer, is_over, seal, retells FROM turns "
            "WHERE work = ? AND grp = ? AND rollout = ? ORDER BY turn",
            (work, group, rollout),
        )
        return [
            Turn(_tokens(said), _tokens(answer), bool(over), seal, bool(retells))
            for said, answer, over, seal, retells in rows
        ]

    def write(self, turns: Iterable[tuple[Place, Turn]], deadline_ms: int, now_ms: int) -> None:
        """Keep these, all or none, and forget what is long over."""
        rows = [
            (
                p.work,
                p.group,
                p.rollout,
                p.turn,
                _bytes(t.said),
                _bytes(t.answer),
                int(t.is_over),
                t.seal,
                deadline_ms + KEPT_MS,
                int(t.retells),
            )
            for p, t in turns
        ]
        with self._file:
            self._file.execute("DELETE FROM turns WHERE expires_ms < ?", (now_ms,))
            self._file.executemany(
                "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )


def _bytes(tokens: Sequence[int]) -> bytes:
    flat = array("i", tokens)
    if sys.byteorder == "big":
        flat.byteswap()
    return flat.tobytes()


def _tokens(data: bytes) -> tuple[int, ...]:
    flat = array("i")
    flat.frombytes(data)
    if sys.byteorder == "big":
        flat.byteswap()
    return tuple(flat)
