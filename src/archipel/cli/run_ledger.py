"""What the ledger alone still has of a run: versions that the lab lists no more, results long consumed.

Each entry is verified as it is read; that they are all that there are takes `archipel ledger verify`.
"""

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from archipel.curves.history import History, Point, plain
from archipel.lab.entry import Entry, read_entry
from archipel.lab.run_course import version_in
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused
from archipel.records.documents import LabFacts
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.statements import InvalidRecord, RunOpened

if TYPE_CHECKING:
    from archipel.records.fields import BlobRef

PAGE_ENTRIES = 1000


async def newest_first(lab: LabReader) -> AsyncIterator[Entry]:
    """Every entry, from the end of the ledger as it is now to its beginning.

    Raises:
        LabUnreachable, LabRefused: from the lab; also when an entry does not hold.
    """
    end = (await lab.read(LabFacts, "/lab")).ledger_size
    while end > 0:
        start = max(0, end - PAGE_ENTRIES)
        page = await lab.get("/ledger/entries", start=start, limit=end - start)
        if not isinstance(page, list) or len(page) != end - start:
            raise LabRefused("unexpected-answer", f"no entries {start} to {end - 1}", 200)
        for number in range(len(page) - 1, -1, -1):
            yield _entry(page[number], start + number)
        end = start


async def with_older(lab: LabReader, opened: RunOpened, history: History) -> History:
    """The history with the versions before its first, as the ledger has them."""
    older: dict[int, Point] = {}
    async for entry in newest_first(lab):
        said = entry.statement
        if isinstance(said, RunOpened) and said.run == opened.run:
            break
        made = version_in(said, opened)
        if made is not None:
            older[made.version] = Point(made.version, entry.at_ms / 1000, plain(made.metrics))
    known = {point.version: point for point in history.points}
    both = older | known
    return replace(history, points=tuple(both[version] for version in sorted(both)))


async def prompt_blobs(lab: LabReader, opened: RunOpened, batch: int) -> "BlobRef | None":
    """Where the prompts of a batch lie, as the version that brought them says."""
    async for entry in newest_first(lab):
        made = version_in(entry.statement, opened)
        for each in made.prompts if isinstance(made, UpdateAnswer) else ():
            if each.batch == batch:
                return each.blob
    return None


def _entry(text: Any, position: int) -> Entry:
    from archipel.identity import IdentityError

    try:
        return read_entry(base64.b64decode(text, validate=True))
    except (InvalidRecord, IdentityError, binascii.Error, ValueError, TypeError) as error:
        raise LabRefused("bad-entry", f"entry {position}: {error}", 200) from None
