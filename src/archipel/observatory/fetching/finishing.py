"""Pages that came, as rows: read from the disk, every digest looked at again.

Law: the source's note names the journal of the pages by its digest, so that a snapshot says which bytes it is made of.
"""

import io

from archipel.observatory.fetching.journal import Journal
from archipel.observatory.importers import epoch, hugging_face
from archipel.observatory.importers.taking import Taking
from archipel.observatory.manifest import Source
from archipel.records.canonical import canonical_json, sha256_digest


def source_of(journal: Journal, source_id: str, title: str, licence: str) -> Source:
    """What a snapshot says of where the pages came from."""
    days = sorted({each.retrieved for each in journal.pages})
    digests = sha256_digest(canonical_json([each.sha256 for each in journal.pages]))
    note = (
        f"{len(journal.pages)} pages, {journal.num_facts} facts, from {days[0]} to {days[-1]}; "
        f"digest of the list of their digests {digests}"
    )
    return Source(
        id=source_id,
        title=title,
        url=journal.begun.url.partition("?")[0][:300],
        retrieved=days[-1],
        hand="read",
        licence=licence,
        note=note,
    )


def take_pages(journal: Journal, taking: Taking) -> None:
    """Take in every page.

    Raises:
        BadJournal: a page has changed; BadTable, TooStrict: as of the importers.
    """
    limit = journal.begun.limit
    for page in journal.pages:
        body = journal.body(page)
        if journal.begun.what == "epoch":
            epoch.take(io.BytesIO(body), taking)
            continue
        for at, each in enumerate(hugging_face.read_page(body), 1):
            if taking.counted["lines"] < limit:
                hugging_face.take_model(each, f"page {page.number}, model {at}", taking)
