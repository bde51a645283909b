"""Uploads that go straight into the lab's store, over HTTP: where to put the bytes, and that they are there.

Both need the same signed offer as an upload through the lab, and hold to the same bounds. Law: until the lab has looked at
what landed it counts as not here.
"""

from typing import Annotated

from fastapi import FastAPI, Path, Request

from archipel.lab import refusals
from archipel.lab.blob_routes import BLOB_PATH, Offer, offered_by, refused
from archipel.lab.description import json_body
from archipel.lab.lab import Lab
from archipel.lab.landings import LandingDesk
from archipel.lab.requests import bounded_body
from archipel.lab.traffic import Traffic
from archipel.records.document import BadDocument, read_document
from archipel.records.documents import UploadState
from archipel.records.landing import Landed, Landing, LandingPart

LANDING_PATH = BLOB_PATH + "/landing"
MAX_LANDED_BYTES = 64 * 1024
"""Of what says that the bytes are there: a name for each part."""

Name = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


def landing_routes(api: FastAPI, lab: Lab, traffic: Traffic) -> None:
    """Add them."""
    desk = LandingDesk(lab)

    @api.post(LANDING_PATH, summary="Where a blob may be put in the lab's store", status_code=201)
    async def land_where(digest: str, offer: Offer) -> Landing:
        offered, permit = offered_by(lab, digest, offer)
        with refused():
            made = await desk.open(offered, permit)
        return Landing(
            name=made.name,
            parts=tuple(LandingPart(url=p.url, start=p.start, stop=p.stop) for p in made.parts),
            is_hashed=made.is_hashed,
            left_ms=max(0, round(made.until_s * 1000) - lab.clock_ms()),
        )

    @api.post(
        LANDING_PATH + "/{name}", summary="The bytes are there", openapi_extra=json_body(Landed)
    )
    async def landed(request: Request, digest: str, name: Name, offer: Offer) -> UploadState:
        offered, _ = offered_by(lab, digest, offer)
        try:
            said = read_document(Landed, await bounded_body(request, MAX_LANDED_BYTES))
        except BadDocument as error:
            raise refusals.Malformed(f"{error}; expected what the store called each part") from None
        size = offered.blob.size
        if not lab.blobs.keep(digest):
            with refused():
                if not await desk.land(name, offered, said.tags):
                    return UploadState(complete=False, offset=0)
            traffic.landed.count(size)
        return UploadState(complete=True, offset=size)
