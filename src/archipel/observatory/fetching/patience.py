"""How long to wait before the next request, and when to ask no more. Pure: the clock is an argument.

Laws: never faster than the pace; a server's own word about waiting goes before ours; no wait goes beyond the deadline.
Sources: RFC 9110 section 10.2.3 (Retry-After), draft-ietf-httpapi-ratelimit-headers-09 (RateLimit).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_HEADER_CHARACTERS = 200
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may be answered."""
_LIMIT = re.compile(r'"[\w-]{1,40}"\s*;\s*r=(\d{1,9})\s*;\s*t=(\d{1,9})', re.ASCII)


class NoPatience(Exception):
    """Asked often or long enough; the message says what came and what to do."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a server is treated."""

    pace_s: float = 1.0
    """From one request to the next, at least."""
    first_s: float = 1.0
    """Before the second attempt; each further one waits twice as long."""
    most_s: float = 120.0
    """The longest wait of our own choosing."""
    attempts: int = 8
    """For one page."""
    deadline_s: float = 3600.0
    """For the whole, from its beginning."""

    def pause_s(self, attempt: int, said_s: float | None, left_s: float, why: str) -> float:
        """Seconds before the next attempt at a page.

        attempt: how many failed. said_s: what the server asked for, if it did. left_s: until the deadline.

        Raises:
            NoPatience: too many attempts, or the wait ends after the deadline.
        """
        if attempt >= self.attempts:
            raise NoPatience(
                f"{why}, and so {attempt} times; what came is kept: the same command goes on later"
            )
        own_s = min(self.first_s * 2.0 ** (attempt - 1), self.most_s)
        pause_s = max(own_s, said_s or 0.0, self.pace_s)
        if pause_s > left_s:
            raise NoPatience(
                f"{why}; the next attempt is due in {pause_s:.0f} s and {max(left_s, 0):.0f} s are left: "
                "what came is kept, and the same command goes on later"
            )
        return pause_s


def asked_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds that an answer asks to wait, or None; rubbish is as if nothing was said.

    now_s: of the wall clock, for dates.
    """
    waits = [
        each
        for each in (_after(headers.get("retry-after"), now_s), _limit(headers.get("ratelimit")))
        if each is not None
    ]
    return max(waits, default=None)


def _after(text: str | None, now_s: float) -> float | None:
    if text is None or len(text) > MAX_HEADER_CHARACTERS:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(at.timestamp() - now_s, 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _limit(text: str | None) -> float | None:
    """Of the first limit that has nothing left."""
    for left, reset in _LIMIT.findall((text or "")[:MAX_HEADER_CHARACTERS]):
        if int(left) == 0:
            return float(reset) + 1  # whole seconds, cut off
    return None
