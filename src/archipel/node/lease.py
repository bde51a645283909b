"""What a node asks a lab for, and what it gets: a lease, the news beside it, and small blobs.

Law: pure. The grant is verified before a `Lease` is made of it; the news is verified by whoever acts on it.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from archipel.node.sealed import grant_of
from archipel.records.document import BadDocument, read_document
from archipel.records.documents import Handout, Have
from archipel.records.parcel import MAGIC, BadParcel, unpack_parcel
from archipel.records.statements import LeaseGranted, LeaseRequested

D = TypeVar("D", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for work."""

    kinds: tuple[str, ...]
    holding: tuple[str, ...] = ()
    """Leases at hand; the lab takes any other of ours back."""
    have: Have = field(default_factory=Have)
    runs: tuple[str, ...] | None = None
    """The only runs whose work it takes; None: any."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A piece of work that is ours until its deadline."""

    grant: LeaseGranted
    news: Handout
    blobs: tuple[bytes, ...]
    """What came beside it; named by nobody, so hashed before it is used."""


def lease_of(handout: Handout, blobs: list[bytes], request: LeaseRequested) -> Lease:
    """Raises NotBelieved: the grant is not the lab's answer to this request."""
    return Lease(grant_of(handout.grant, request), handout, tuple(blobs))


def read_parcel(kind: type[D], data: bytes) -> tuple[D, list[bytes]]:
    """A document and the blobs beside it; a bare document has none.

    Raises:
        BadDocument: it is neither, or of another form.
    """
    if not data.startswith(MAGIC):
        return read_document(kind, data), []
    try:
        document, blobs = unpack_parcel(data)
    except BadParcel as error:
        raise BadDocument(str(error)) from None
    return read_document(kind, document), blobs
