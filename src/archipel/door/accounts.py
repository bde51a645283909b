"""Who asks a door, whether it may, and what it has used: keys, rates and quotas together.

Law: `may` decides and takes nothing but a place in the rate of calls, so a call that is refused later costs no tokens;
`used` is told what was really done, once for each outcome.
"""

import sqlite3
import threading
from pathlib import Path

from archipel.door import rates
from archipel.door.keys import FILE, SCOPES, Keys, Tenant, opened
from archipel.door.quotas import Refusal, beyond_grant, beyond_month, month_ms
from archipel.door.rates import Bucket
from archipel.door.ties import Ties
from archipel.door.usage import Usage

MAX_BUCKETS = 2 * 10_000
"""Two of each tenant that has limits and asked since the door started."""


class Accounts:
    """Of one door. Calls look into a local file, some tens of microseconds each; any thread may make them."""

    def __init__(self, folder: Path, connection: sqlite3.Connection | None = None) -> None:
        """folder: the door's own, which must be there. connection: instead of the file of keys in it, for tests.

        Raises:
            OSError, sqlite3.Error: the file cannot be used.
        """
        self._lock = threading.Lock()
        self._file = opened(folder / FILE) if connection is None else connection
        self.keys = Keys(self._file)
        self.usage = Usage(self._file, self._lock)
        self.ties = Ties(self._file, self._lock)
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._months: dict[str, tuple[int, int]] = {}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def who(self, key: str, now_ms: int) -> Tenant | Refusal:
        """Whose key that is, or why it is nobody's (`unknown`, `expired`)."""
        with self._lock:
            found = self.keys.find(key)
        if found is None:
            return Refusal(
                "unknown", "this API key is none of this door's; ask its operator for one"
            )
        if found.revoked_ms is not None:
            return Refusal(
                "expired", "this API key was revoked; ask the door's operator for another"
            )
        if found.expires_ms is not None and now_ms >= found.expires_ms:
            return Refusal("expired", "this API key has ended; ask the door's operator for another")
        return found.tenant

    def may(
        self, tenant: Tenant, scope: str, num_tokens: int, now_ms: int, waiting: int = 0
    ) -> Refusal | None:
        """Whether this call may begin; None: it may, and has its place in the rate of calls.

        num_tokens: the most that it can take; 0 for what costs none. waiting: the most that the tenant's calls can take
        that were admitted and are not done.
        """
        if scope not in SCOPES:
            raise ValueError(f"no scope {scope!r}; expected one of {SCOPES}")
        if scope not in tenant.scopes:
            return Refusal(
                "scope",
                f"this API key is for {', '.join(sorted(tenant.scopes))}, and this call needs {scope}; the door's "
                "operator makes one that has it (archipel door key make --scope)",
            )
        quota = tenant.limits.tokens_per_month
        if quota is not None and num_tokens:
            refused = beyond_month(
                quota, self._in_month(tenant, now_ms), num_tokens + waiting, now_ms
            )
            if refused is not None:
                return refused
        if num_tokens and (tie := self.ties.of(tenant.id)) is not None:
            uncharged = self.usage.tokens_since(tenant.id, tie.charged_to_ms)
            refused = beyond_grant(tie, uncharged, num_tokens + waiting)
            if refused is not None:
                return refused
        with self._lock:
            return self._too_fast(tenant, num_tokens, now_ms, waiting)

    def used(
        self, tenant: Tenant, kind: str, num_tokens: int, now_ms: int, model: str = ""
    ) -> None:
        """So many tokens of one of `usage.KINDS` were done for it. model: the base model's name."""
        self.usage.count(tenant.id, tenant.key, kind, num_tokens, now_ms, model)
        with self._lock:
            if tenant.id in self._months:
                start_ms, known = self._months[tenant.id]
                self._months[tenant.id] = (start_ms, known + num_tokens)
        per_minute = tenant.limits.tokens_per_minute
        if per_minute is not None:
            rate, place = rates.tokens(per_minute), (tenant.id, "tokens")
            with self._lock:
                bucket = rates.filled(self._buckets.get(place), rate, now_ms)
                self._put(place, rates.taken(bucket, rate, num_tokens))

    def _in_month(self, tenant: Tenant, now_ms: int) -> int:
        """Tokens of this month; added up once, and counted on from there."""
        start_ms, _ = month_ms(now_ms)
        with self._lock:
            known = self._months.get(tenant.id)
        if known is None or known[0] != start_ms:
            known = (start_ms, self.usage.tokens_since(tenant.id, start_ms))
            with self._lock:
                self._months[tenant.id] = known
        return known[1]

    def _too_fast(
        self, tenant: Tenant, num_tokens: int, now_ms: int, waiting: int
    ) -> Refusal | None:
        limits = tenant.limits
        if limits.tokens_per_minute is not None and num_tokens:
            rate = rates.tokens(limits.tokens_per_minute)
            bucket = rates.filled(self._buckets.get((tenant.id, "tokens")), rate, now_ms)
            if wait := rates.wait_ms(bucket, rate, waiting):
                return _slower(f"{limits.tokens_per_minute} tokens per minute", wait)
        if limits.requests_milli is not None:
            rate, place = rates.requests(limits.requests_milli), (tenant.id, "requests")
            bucket = rates.filled(self._buckets.get(place), rate, now_ms)
            if wait := rates.wait_ms(bucket, rate, least=1):
                return _slower(f"{limits.requests_milli / 1000:g} calls per second", wait)
            self._put(place, rates.taken(bucket, rate, 1))
        return None

    def _put(self, place: tuple[str, str], bucket: Bucket) -> None:
        """The least recently used goes first: what it held has filled up since, or nobody would remember so many."""
        self._buckets.pop(place, None)
        self._buckets[place] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.pop(next(iter(self._buckets)))


def _slower(limit: str, wait: int) -> Refusal:
    return Refusal(
        "rate",
        f"faster than this tenant's {limit}; ask again in {wait / 1000:.1f} s, or ask the door's operator for more "
        "(archipel door key limit)",
        retry_after_s=max(-(-wait // 1000), 1),
    )
