"""A fetch on the disk: a folder of pages as they came, and a journal with a line for each.

    fetch.jsonl    the first line says what is fetched; each further one names a page, its digest and what follows
    0001.page ...  bytes as they came

Laws: a page is on the disk before its line is; a last line that was cut off is as if it had not been written; a page
whose bytes are not those of its line is fetched again, with all after it. Killed at any moment, it goes on.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

from pydantic import Field, ValidationError

from archipel.observatory.manifest import first_fault
from archipel.observatory.rows import Day
from archipel.records.canonical import canonical_json, parse_canonical, sha256_digest
from archipel.records.fields import Closed, Digest

JOURNAL: Final = "fetch.jsonl"
MAX_PAGES = 20_000
MAX_LINE_BYTES = 32 * 1024
_Url = Annotated[str, Field(min_length=1, max_length=4000)]


class BadJournal(ValueError):
    """The folder holds no fetch that can go on; the message says why and what to do."""


class Begun(Closed):
    """What is fetched."""

    form: Literal[1] = 1
    what: Annotated[str, Field(max_length=64)]
    url: _Url
    limit: Annotated[int, Field(ge=1)]


class Page(Closed):
    """A page that came."""

    number: Annotated[int, Field(ge=1, le=MAX_PAGES)]
    url: _Url
    sha256: Digest
    num_bytes: Annotated[int, Field(ge=0)]
    num_facts: Annotated[int, Field(ge=0)]
    tag: Annotated[str, Field(max_length=200)]
    """ETag; empty: none."""
    retrieved: Day
    next: _Url | None


class Journal:
    """An open fetch; nobody else writes to it."""

    def __init__(self, folder: Path, file: BinaryIO, begun: Begun, pages: list[Page]) -> None:
        self.folder, self.begun, self.pages = folder, begun, pages
        self._file = file

    @property
    def num_facts(self) -> int:
        """On all pages."""
        return sum(each.num_facts for each in self.pages)

    def keep(self, page: Page, body: bytes) -> None:
        """Put a page on the disk, then its line."""
        path = self.folder / name_of(page.number)
        with path.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        self._file.write(_line(page))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.pages.append(page)

    def body(self, page: Page) -> bytes:
        """The bytes of a page that was kept.

        Raises:
            BadJournal: others lie there now.
        """
        body = _body(self.folder, page)
        if body is None:
            raise BadJournal(f"{self.folder / name_of(page.number)} has changed; fetch again")
        return body


@contextmanager
def opened(folder: Path, begun: Begun) -> Iterator[Journal]:
    """The fetch in `folder`, begun now or earlier.

    Raises:
        BadJournal: another fetch is there, or somebody is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / JOURNAL).open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadJournal(f"{folder} is being filled by another process; wait for it") from None
        there, pages, sound = _read(folder, file)
        if there is not None and there != begun:
            raise BadJournal(
                f"{folder} holds a fetch of {there.url:.200} (at most {there.limit}); expected "
                f"{begun.url:.200} (at most {begun.limit}): name another place, or remove that folder"
            )
        file.truncate(sound)
        if there is None:
            file.write(_line(begun))
            file.flush()
        yield Journal(folder, file, begun, pages)


def parse_journal(data: bytes) -> tuple[Begun | None, list[Page], int]:
    """What it says: the first line, the pages, and how many bytes of it are whole lines.

    Raises:
        BadJournal: a whole line is none of a journal.
    """
    begun, pages, sound = None, list[Page](), 0
    for line in data.split(b"\n")[:-1]:
        if len(line) > MAX_LINE_BYTES or len(pages) > MAX_PAGES:
            raise BadJournal(f"{JOURNAL} has a line of {len(line)} bytes, or too many")
        try:
            parse_canonical(line)
            if begun is None:
                begun = Begun.model_validate_json(line)
            else:
                pages.append(Page.model_validate_json(line))
                if pages[-1].number != len(pages):
                    raise ValueError(f"page {pages[-1].number} where {len(pages)} was expected")
        except ValidationError as error:
            raise BadJournal(f"{JOURNAL}: {first_fault(error)}; remove the folder") from None
        except ValueError as error:
            raise BadJournal(f"{JOURNAL}: {error!s:.200}; remove the folder") from None
        sound += len(line) + 1
    return begun, pages, sound


def _read(folder: Path, file: BinaryIO) -> tuple[Begun | None, list[Page], int]:
    file.seek(0)
    data = file.read(MAX_PAGES * MAX_LINE_BYTES)
    begun, pages, sound = parse_journal(data)
    for at, page in enumerate(pages):
        if _body(folder, page) is None:
            ends = [place for place, byte in enumerate(data) if byte == 10]
            return begun, pages[:at], ends[at] + 1
    return begun, pages, sound


def kept_pages(folder: Path) -> list[Page]:
    """Of a fetch that is over; none, if there is no sound journal."""
    path = folder / JOURNAL
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return _read(folder, file)[1]


def body_of(folder: Path, page: Page) -> bytes | None:
    """Bytes of a page of a fetch that is over; None: they are not there any more."""
    return _body(folder, page)


def name_of(number: int) -> str:
    """A page's file."""
    return f"{number:04}.page"


def _body(folder: Path, page: Page) -> bytes | None:
    path = folder / name_of(page.number)
    if not path.is_file() or path.stat().st_size != page.num_bytes:
        return None
    body = path.read_bytes()
    return body if sha256_digest(body) == page.sha256 else None


def _line(value: Begun | Page) -> bytes:
    return canonical_json(value.model_dump(mode="json")) + b"\n"
