"""What a lab says of itself and of other labs: `/card`, and `/labs` by pages."""

from collections.abc import Sequence
from typing import Annotated, Protocol

from fastapi import FastAPI, Query, Request, Response

from archipel.lab.doorman import Buckets, Rate
from archipel.lab.lab import Lab
from archipel.lab.requests import address_of
from archipel.records.canonical import MAX_SAFE_INTEGER
from archipel.records.lab_card import MAX_ADDRESS_CHARACTERS

LINES = "application/jsonl"
NOTHING = 204
MAX_CARDS = 50
"""Of one page."""
OFFERS = Rate(burst=4, per_s=1 / 30)
"""Addresses that one network address may offer; more are passed over."""

Of = Annotated[
    str | None,
    Query(max_length=MAX_ADDRESS_CHARACTERS, description="Where whoever asks can be asked itself."),
]


class Told(Protocol):
    """Whatever knows cards."""

    def sealed_card(self) -> bytes | None: ...

    def page(self, start: int, limit: int) -> Sequence[bytes]: ...

    def offer(self, address: str) -> None: ...


class Silence:
    """A lab that knows none."""

    def sealed_card(self) -> bytes | None:
        return None

    def page(self, start: int, limit: int) -> Sequence[bytes]:
        return ()

    def offer(self, address: str) -> None:
        pass


SILENCE = Silence()


def directory_routes(api: FastAPI, lab: Lab, told: Told) -> None:
    """Add them."""
    offers = Buckets(OFFERS, lambda: lab.clock_ms() / 1000)

    @api.get(
        "/card",
        summary="What this lab says of itself, signed",
        response_class=Response,
        responses={204: {"description": "This lab says nothing of itself"}},
    )
    async def card() -> Response:
        sealed = told.sealed_card()
        if sealed is None:
            return Response(status_code=NOTHING)
        return Response(sealed, media_type="application/json")

    @api.get(
        "/labs", summary="Cards of labs, a line each, from `start` on", response_class=Response
    )
    async def labs(
        request: Request,
        start: Annotated[int, Query(ge=0, le=MAX_SAFE_INTEGER)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_CARDS)] = MAX_CARDS,
        of: Of = None,
    ) -> Response:
        if of is not None and offers.take(address_of(request)):
            told.offer(of)
        lines = b"".join(each + b"\n" for each in told.page(start, limit))
        return Response(lines, media_type=LINES)
