"""Whether a tenant may go on: what it has used and may use in a month. Pure.

Law: whoever is refused is told what it had, why that is not enough, and how to get more.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from archipel.door.ties import MILLION, Tie

Why = Literal["unknown", "expired", "scope", "rate", "quota"]
"""No key of this door; one that ended or was revoked; not for this; too fast; nothing left."""


@dataclass(frozen=True)
class Refusal:
    """A considered no, before anything was done."""

    kind: Why
    sentence: str
    """For whoever asks: what was got, what was expected, what to do."""
    retry_after_s: int | None = None
    """When asking again may help; None: it does not by itself."""


def month_ms(now_ms: int) -> tuple[int, int]:
    """(beginning, end) of the month that `now_ms` is in, Unix time, in UTC."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


def beyond_month(quota: int, used: int, num_tokens: int, now_ms: int) -> Refusal | None:
    """Why these tokens are too many for the month; None: they are not.

    num_tokens: of this call, and of those that are not done yet; at least 1.
    """
    if used + num_tokens <= quota:
        return None
    _, end_ms = month_ms(now_ms)
    begins = datetime.fromtimestamp(end_ms / 1000, UTC).strftime("%Y-%m-%d")
    return Refusal(
        "quota",
        f"{num_tokens} tokens asked for, and {max(quota - used, 0)} of this month's {quota} are left; the next month "
        f"begins on {begins} UTC, and the door's operator can give more (archipel door key limit --tokens-per-month)",
        retry_after_s=-(-(end_ms - now_ms) // 1000),
    )


def beyond_grant(tie: Tie, uncharged: int, num_tokens: int) -> Refusal | None:
    """Why what is left of a grant does not pay for these tokens; None: it does.

    uncharged: tokens that were done and not charged yet. num_tokens: of this call, and of those that are not done yet.
    """
    left = tie.left_micro - tie.costs(uncharged)
    if tie.seen_ms is not None and left > 0 and tie.costs(num_tokens) <= left:
        return None
    if tie.seen_ms is None:
        return Refusal(
            "quota",
            "this key pays by a grant that the lab was not asked about yet; the door's operator does that (archipel door key "
            "charge)",
            retry_after_s=60,
        )
    return Refusal(
        "quota",
        f"{num_tokens} tokens asked for, and what is left of the grants of {tie.permit.grantee} by this permit pays for "
        f"{max(left, 0) * MILLION // tie.price_micro}; ask for this month's grant (archipel grants request), give the door's "
        "operator a new permit (archipel grants permit), or ask for other means",
        retry_after_s=3600,
    )
