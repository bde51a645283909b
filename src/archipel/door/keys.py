"""API keys of a door: who has one, what it may be used for, and until when.

A tenant is known by its name and may have several keys, so that one can be changed for another without losing models.
A key is `tml-` (what clients of the protocol demand), the key's public name, and 256 random bits. Only SHA-256 of it is
kept: nobody guesses 256 bits, so a hash that is slow on purpose would only make every request slow.
Law: whoever reads the file can ask for nothing with what stands in it; a revoked key is refused from its next request on,
also by a door that runs already. POSIX: the file is mode 0600.
"""

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

FILE = "keys.db"
SCOPES = ("train", "sample", "checkpoints", "usage", "publish", "foreign-samples")
"""What a key may be for: training models, sampling, files of models, seeing what was used, showing checkpoints to every
tenant, and training on samples whose log-probabilities this door has not recorded itself."""
USUAL = SCOPES[:4]
FIRST = SCOPES[:5]
"""Of the key that a door makes for whoever opens it: its samples have to be the door's own, too."""
MAX_KEYS = 10_000
"""Of a door, revoked ones among them."""
MAX_SHARE = 1000
MAX_KEY_CHARS = 200
"""Of what is looked at as a key at all."""
_KEY = re.compile(r"tml-([0-9a-f]{12})-[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_FORM = """
CREATE TABLE IF NOT EXISTS tenants (
  id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, share INTEGER NOT NULL,
  requests_milli INTEGER, tokens_per_minute INTEGER, tokens_per_month INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
  name TEXT PRIMARY KEY, digest BLOB NOT NULL, tenant TEXT NOT NULL REFERENCES tenants(id), scopes TEXT NOT NULL,
  made_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER
) WITHOUT ROWID;
"""


class BadKeyQuestion(ValueError):
    """What was asked of the keys cannot be done; the message says why, and what can."""


@dataclass(frozen=True)
class Limits:
    """How much of a door a tenant may use; None: as much as it likes."""

    share: int = 1
    """Weight of its part where several wait, from 1 to `MAX_SHARE`."""
    requests_milli: int | None = None
    """Thousandths of a call per second that begins work."""
    tokens_per_minute: int | None = None
    tokens_per_month: int | None = None
    """Of the calendar's month in UTC."""

    def __post_init__(self) -> None:
        if not 1 <= self.share <= MAX_SHARE:
            raise BadKeyQuestion(f"a share of {self.share}; expected 1 to {MAX_SHARE}")
        for name in ("requests_milli", "tokens_per_minute"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise BadKeyQuestion(f"{name} = {limit}; expected more than 0, or none")
        if self.tokens_per_month is not None and self.tokens_per_month < 0:
            raise BadKeyQuestion(f"tokens_per_month = {self.tokens_per_month}; expected 0 or more")


@dataclass(frozen=True)
class Tenant:
    """Who asks, by one of its keys."""

    id: str
    """Unguessable, and the same for all its keys."""
    name: str
    key: str
    """Public name of the key."""
    scopes: frozenset[str]
    limits: Limits

    @property
    def share(self) -> int:
        """See `Limits`."""
        return self.limits.share


@dataclass(frozen=True)
class Key:
    """A key as its operator sees it."""

    name: str
    tenant: str
    """Name of the tenant."""
    scopes: tuple[str, ...]
    made_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    limits: Limits


@dataclass(frozen=True)
class Found:
    """What a known key stands for, and why it may stand for nothing any more."""

    tenant: Tenant
    expires_ms: int | None
    revoked_ms: int | None


def opened(path: Path) -> sqlite3.Connection:
    """The door's file of keys, made on first use; commits wait for the disk.

    Raises:
        OSError, sqlite3.Error: it cannot be used.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    connection = sqlite3.connect(path, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


class Keys:
    """All of one door. Calls block for the disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._file = connection
        with self._file:
            self._file.executescript(_FORM)

    def make(
        self, tenant: str, scopes: Collection[str], now_ms: int, expires_ms: int | None = None
    ) -> str:
        """A new key for the tenant of that name, who is made with it where there is none: shown this once.

        Raises:
            BadKeyQuestion: no such scope, no such name, an end that is past, or too many keys.
        """
        if not _NAME.fullmatch(tenant):
            raise BadKeyQuestion(
                f"{tenant!r:.80} is no name of a tenant: 1 to 64 letters, digits, . _ @ -, the first a letter or digit"
            )
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise BadKeyQuestion(
                f"scopes {unknown or 'none'}; expected some of {', '.join(SCOPES)}"
            )
        if expires_ms is not None and expires_ms <= now_ms:
            raise BadKeyQuestion("a key that has ended already; give a later end")
        name, secret = secrets.token_hex(6), secrets.token_hex(32)
        key = f"tml-{name}-{secret}"
        with self._file:
            self._file.execute("BEGIN IMMEDIATE")
            (num_keys,) = self._file.execute("SELECT COUNT(*) FROM keys").fetchone()
            if num_keys >= MAX_KEYS:
                raise BadKeyQuestion(f"this door has {MAX_KEYS} keys already, and no more")
            self._file.execute(
                "INSERT INTO tenants (id, name, share) VALUES (?, ?, 1) ON CONFLICT (name) DO NOTHING",
                (secrets.token_hex(16), tenant),
            )
            self._file.execute(
                "INSERT INTO keys SELECT ?, ?, id, ?, ?, ?, NULL FROM tenants WHERE name = ?",
                (name, _digest(key), " ".join(sorted(set(scopes))), now_ms, expires_ms, tenant),
            )
        return key

    def find(self, key: str) -> Found | None:
        """Whose key that is; None: it is none of this door's."""
        match = _KEY.fullmatch(key) if len(key) <= MAX_KEY_CHARS else None
        if match is None:
            return None
        row = self._file.execute(
            "SELECT k.digest, k.scopes, k.expires_ms, k.revoked_ms, t.id, t.name, t.share, t.requests_milli, "
            "t.tokens_per_minute, t.tokens_per_month FROM keys k JOIN tenants t ON t.id = k.tenant WHERE k.name = ?",
            (match[1],),
        ).fetchone()
        if row is None or not hmac.compare_digest(row[0], _digest(key)):
            return None
        limits = Limits(*row[6:10])
        tenant = Tenant(row[4], row[5], match[1], frozenset(row[1].split()), limits)
        return Found(tenant, row[2], row[3])

    def revoke(self, name: str, now_ms: int) -> None:
        """The key of this public name is refused from now on; one that is revoked stays so.

        Raises:
            BadKeyQuestion: there is none.
        """
        with self._file:
            done = self._file.execute(
                "UPDATE keys SET revoked_ms = COALESCE(revoked_ms, ?) WHERE name = ?",
                (now_ms, name),
            )
        if not done.rowcount:
            raise BadKeyQuestion(f"no key {name!r:.80}; `archipel door key list` names them")

    def limit(self, tenant: str, limits: Limits) -> None:
        """From now on these limits hold for the tenant of that name, by whichever key it asks.

        Raises:
            BadKeyQuestion: there is none.
        """
        with self._file:
            done = self._file.execute(
                "UPDATE tenants SET share = ?, requests_milli = ?, tokens_per_minute = ?, tokens_per_month = ? "
                "WHERE name = ?",
                (
                    limits.share,
                    limits.requests_milli,
                    limits.tokens_per_minute,
                    limits.tokens_per_month,
                    tenant,
                ),
            )
        if not done.rowcount:
            raise BadKeyQuestion(f"no tenant {tenant!r:.80}; `archipel door key list` names them")

    def limits(self, tenant: str) -> Limits:
        """Of the tenant of that name. Raises BadKeyQuestion: there is none."""
        row = self._file.execute(
            "SELECT share, requests_milli, tokens_per_minute, tokens_per_month FROM tenants WHERE name = ?",
            (tenant,),
        ).fetchone()
        if row is None:
            raise BadKeyQuestion(f"no tenant {tenant!r:.80}; `archipel door key list` names them")
        return Limits(*row)

    def all(self) -> list[Key]:
        """Every key, the oldest first."""
        rows = self._file.execute(
            "SELECT k.name, t.name, k.scopes, k.made_ms, k.expires_ms, k.revoked_ms, t.share, t.requests_milli, "
            "t.tokens_per_minute, t.tokens_per_month FROM keys k JOIN tenants t ON t.id = k.tenant "
            "ORDER BY k.made_ms, k.name"
        )
        return [
            Key(name, tenant, tuple(scopes.split()), made, expires, revoked, Limits(*limits))
            for name, tenant, scopes, made, expires, revoked, *limits in rows
        ]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
