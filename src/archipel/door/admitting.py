"""Who asks, and whether it may: keys, scopes, rates and quotas, and what waits against them.

Parts: `Admitting`. Law: what a tenant's waiting questions can take at most counts against its quota until they have ended.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from archipel.door.accounts import Accounts
from archipel.door.keys import Limits, Tenant
from archipel.door.quotas import Refusal, Why
from archipel.door.refusals import Declined
from archipel.door.usage import TooMany, Used
from archipel.door.wire.errors import Kind

KINDS: dict[Why, Kind] = {
    "unknown": "unknown_key",
    "expired": "unknown_key",
    "scope": "forbidden",
    "rate": "rate",
    "quota": "exhausted",
}
MAX_SEEN = 20_000
"""Tenants whose last key is remembered, so that what is done for them is counted on it."""


class Admitting:
    """Of one door."""

    def __init__(self, accounts: Accounts, now_ms: Callable[[], int]) -> None:
        self.accounts, self._now_ms = accounts, now_ms
        self._seen: dict[str, Tenant] = {}
        self._waiting: Counter[str] = Counter()
        self._of_future: dict[str, tuple[str, int]] = {}

    def who(self, key: str) -> Tenant:
        """Whose key that is. Raises Declined."""
        found = self.accounts.who(key, self._now_ms())
        if isinstance(found, Refusal):
            raise _declined(found)
        self._seen.pop(found.id, None)
        self._seen[found.id] = found
        if len(self._seen) > MAX_SEEN:
            self._seen.pop(next(iter(self._seen)))
        return found

    def check(self, tenant: Tenant, scope: str, num_tokens: int = 0) -> None:
        """That it may; it has its place in the rate of calls then. Raises Declined."""
        waiting = self._waiting[tenant.id]
        refusal = self.accounts.may(tenant, scope, num_tokens, self._now_ms(), waiting)
        if refusal is not None:
            raise _declined(refusal)

    @contextmanager
    def place(self, tenant: Tenant, scope: str, num_tokens: int) -> Iterator[None]:
        """That it may; its tokens count as waiting until the block ends, in which `waits` is told where it was promised.

        So calls that come together cannot all have what is left for one of them. Raises Declined.
        """
        self.check(tenant, scope, num_tokens)
        self._waiting[tenant.id] += num_tokens
        try:
            yield
        finally:
            self._less(tenant.id, num_tokens)

    def usage(self, tenant: Tenant, start_ms: int, end_ms: int) -> list[Used]:
        """What was done for it by hour. Raises Declined: more hours than one answer holds."""
        try:
            return self.accounts.usage.hours(tenant.id, start_ms, end_ms)
        except TooMany as error:
            raise Declined("too_large", str(error)) from None

    def waits(self, tenant: str, future: str, num_tokens: int) -> None:
        """It was promised, and may take so much."""
        self._of_future[future] = (tenant, num_tokens)
        self._waiting[tenant] += num_tokens

    def ended(self, future: str) -> None:
        """It has taken what it took."""
        self._less(*self._of_future.pop(future, ("", 0)))

    def _less(self, tenant: str, num_tokens: int) -> None:
        self._waiting[tenant] -= num_tokens
        if not self._waiting[tenant]:
            del self._waiting[tenant]

    def share(self, tenant: str) -> int:
        """Weight of its part, as its last call had it."""
        return self._seen[tenant].share if tenant in self._seen else 1

    def used(self, tenant: str, kind: str, num_tokens: int, base: str) -> None:
        """That was done for it."""
        nobody = Tenant(tenant, "", "", frozenset(), Limits())
        self.accounts.used(self._seen.get(tenant, nobody), kind, num_tokens, self._now_ms(), base)


def _declined(refusal: Refusal) -> Declined:
    return Declined(KINDS[refusal.kind], refusal.sentence, refusal.retry_after_s)
