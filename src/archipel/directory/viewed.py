"""A known lab as people and their tools are shown it. Pure."""

from archipel.directory.card import witnessed
from archipel.directory.known import KnownLab
from archipel.records.page_documents import KnownLabView


def viewed(known: KnownLab) -> KnownLabView:
    """What its card says, and what was seen of it."""
    said, head = known.card.said, known.card.head
    seen = witnessed(said.head or "", said)
    return KnownLabView(
        lab=said.lab,
        addresses=said.addresses,
        purpose=said.purpose or "",
        licence=said.licence or "",
        jurisdiction=said.jurisdiction or "",
        contact=said.contact or "",
        number=said.number,
        issued_ms=said.issued_ms,
        until_ms=said.until_ms,
        entries=None if head is None else head.size,
        witnessed=tuple((name_of(key), at_s) for key, at_s in sorted(seen.items())),
        mirrors=said.mirrors,
        since_ms=known.since_ms,
        reached_ms=known.reached_ms,
        sources=tuple(sorted(known.sources)),
        contradicted=known.is_contradicted,
    )


def name_of(key: str) -> str:
    """Of a witness, from its key line."""
    return key.partition("+")[0]
