"""The page `/usage`: what a key's tenant has used and may still use, in a browser.

Law: the key travels in a header alone, is in no address, cookie or log, and the page asks nobody but this door.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archipel.door.accounts import Accounts
from archipel.door.keys import MAX_KEY_CHARS, Tenant
from archipel.door.quotas import Refusal, Why, month_ms
from archipel.door.usage import TooMany, days

KINDS = {
    "index.html": "text/html; charset=utf-8",
    "usage.css": "text/css; charset=utf-8",
    "usage.js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
STATUS_OF: dict[Why, int] = {
    "unknown": 401,
    "expired": 401,
    "scope": 403,
    "rate": 429,
    "quota": 402,
}
DAY_MS = 86_400_000
MAX_DAYS = 400


def usage_routes(
    accounts: Accounts, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> list[Route]:
    """The page, its files and its data."""

    def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in KINDS or (name == "index.html" and "name" in request.path_params):
            return JSONResponse({"error": "there is no such page"}, 404, HEADERS)
        return Response(_read(name), media_type=KINDS[name], headers=HEADERS)

    def data(request: Request) -> Response:
        now, key = now_ms(), request.headers.get("x-api-key", "")[: MAX_KEY_CHARS + 1]
        tenant = accounts.who(key, now)
        refused = tenant if isinstance(tenant, Refusal) else accounts.may(tenant, "usage", 0, now)
        if refused is not None:
            return JSONResponse({"error": refused.sentence}, STATUS_OF[refused.kind], HEADERS)
        asked = request.query_params.get("days", "30")
        if not (asked.isascii() and asked.isdecimal() and 1 <= int(asked[:4]) <= MAX_DAYS):
            return JSONResponse({"error": f"days from 1 to {MAX_DAYS}"}, 400, HEADERS)
        assert isinstance(tenant, Tenant)  # noqa: S101  a refusal was told above
        try:
            told = used_by(accounts, tenant, int(asked[:4]), now)
        except TooMany as error:
            return JSONResponse({"error": str(error)}, 413, HEADERS)
        return JSONResponse(told, headers=HEADERS | {"Cache-Control": "no-store"})

    return [
        Route("/usage", page),
        Route("/usage/data", data),
        Route("/usage/{name}", page),
    ]


def used_by(accounts: Accounts, tenant: Tenant, num_days: int, now_ms: int) -> dict[str, Any]:
    """By day, newest first, and what is left in words.

    Raises:
        TooMany: more hours than one answer holds.
    """
    start_ms = now_ms - now_ms % DAY_MS - (num_days - 1) * DAY_MS
    found = days(accounts.usage.hours(tenant.id, start_ms, now_ms + 1))
    rows = [
        {
            "day": datetime.fromtimestamp(each.start_ms / 1000, UTC).strftime("%Y-%m-%d"),
            "key": each.key,
            "kind": each.kind,
            "base_model": each.model or None,
            "calls": each.calls,
            "tokens": each.num_tokens,
        }
        for each in reversed(found)
    ]
    return {"tenant": tenant.name, "days": rows, "left": _left(accounts, tenant, now_ms)}


def _left(accounts: Accounts, tenant: Tenant, now_ms: int) -> list[tuple[str, str]]:
    limits, tie = tenant.limits, accounts.ties.of(tenant.id)
    left = [("Tenant", tenant.name)]
    if limits.tokens_per_month is not None:
        used = accounts.usage.tokens_since(tenant.id, month_ms(now_ms)[0])
        left.append(("This month", f"{used:,} of {limits.tokens_per_month:,} tokens"))
    if limits.tokens_per_minute is not None:
        left.append(("A minute", f"{limits.tokens_per_minute:,} tokens"))
    if limits.requests_milli is not None:
        left.append(("A second", f"{limits.requests_milli / 1000:g} calls"))
    if tie is not None:
        uncharged = accounts.usage.tokens_since(tenant.id, tie.charged_to_ms)
        micro = max(tie.left_micro - tie.costs(uncharged), 0)
        asked = "not asked about yet" if tie.seen_ms is None else f"{micro / 1_000_000:.6f} credits"
        left.append((f"Grants of {tie.permit.grantee}", asked))
    return left


@cache
def _read(name: str) -> bytes:
    return (files("archipel.door") / "usage_page" / name).read_bytes()
