"""Reading a lab's ledger with no key and no belief: what `LabReader` fetches, page after page, and compares."""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx

from archipel.cli.waited_lab import WaitedLab
from archipel.identity import IdentityError
from archipel.ledger.log import MAX_ENTRY_BYTES
from archipel.ledger.mirror import CHECKPOINT
from archipel.ledger.signed_note import MAX_NOTE_BYTES, BadNote
from archipel.ledger.storage import LedgerCorrupt, LedgerError
from archipel.ledger.tiles import (
    ENTRIES,
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    BadTile,
    entries_of,
    places,
)
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
from archipel.ledger.verification import ORIGIN_PREFIX, lab_key
from archipel.node.client import LabReader
from archipel.node.exchange import ANSWER_LIMIT_S, Bounds, LabRefused, LabUnreachable
from archipel.node.sealed import NotBelieved, statement_in
from archipel.records.document import BadDocument, read_document
from archipel.records.documents import LabFacts
from archipel.records.succession import LabSucceeded

MAX_FACTS_BYTES = 256 * 1024
MAX_REMOTE_ENTRIES = 100_000_000
"""No ledger of more entries is fetched."""
PAGE_ENTRIES = 500
HTTP_NOT_FOUND = 404
_MAX_ENTRY_TEXT = 4 * ((MAX_ENTRY_BYTES + 2) // 3) + len('"",')
_MAX_PAGE_BYTES = PAGE_ENTRIES * _MAX_ENTRY_TEXT + len("[]")


class LabUnreadable(LedgerError):
    """The lab gave no answer that could be used."""


class NoLab(LabUnreadable):
    """Something answers there, and it is not what was looked for."""


class LedgerReader(WaitedLab):
    """The lab at `url`, as far as anybody may read it."""

    LIMIT_S: ClassVar[float] = ANSWER_LIMIT_S
    """For each answer."""

    def __init__(self, url: str) -> None:
        try:
            super().__init__(LabReader(url))
        except (httpx.InvalidURL, ValueError) as error:
            raise LabUnreadable(
                f"no answer from the lab at {url!r:.200}, which is no URL: {error}"
            ) from None
        self._url = self._lab.url

    def did(self) -> str:
        """Whose lab this says it is; its heads have to be signed by that key."""
        facts = self._json("/lab", {}, MAX_FACTS_BYTES)
        did = facts.get("lab") if isinstance(facts, dict) else None
        if not isinstance(did, str):
            raise LabUnreadable(f"{self._url}/lab names no lab")
        try:
            key = lab_key(did).to_text()
        except IdentityError as error:
            raise LabUnreadable(f"{self._url}/lab names {did!r:.100}, no key: {error}") from None
        if facts.get("ledger_key") != key:
            raise LedgerCorrupt(
                f"the lab says that its heads are signed by {facts.get('ledger_key')!r:.200}; "
                f"those of {did} are signed by {key}"
            )
        return did

    def succession(self) -> LabSucceeded | None:
        """The newest `lab.succeeded` by whoever the lab says that it is, its signature looked at; None: there is none."""
        did = self.did()
        try:
            facts = read_document(LabFacts, self._get("/lab", {}, MAX_FACTS_BYTES))
            if not facts.successions:
                return None
            said = statement_in(facts.successions[-1], LabSucceeded, "bad-succession")
        except (BadDocument, NotBelieved) as error:
            raise LabUnreadable(f"{self._url}/lab: {error}") from None
        return said if said.author == did else None

    def head(self, did: str) -> TreeHead:
        """The newest tree head, signed by the lab `did`."""
        return self._signed(self._get("/ledger/head", {}, MAX_NOTE_BYTES), did)

    def _signed(self, note: bytes, did: str) -> TreeHead:
        try:
            head = verify_tree_head(note, lab_key(did))
        except BadTreeHead as error:
            raise LedgerCorrupt(f"the newest head is not signed by {did}: {error}") from None
        if head.size > MAX_REMOTE_ENTRIES:
            raise LabUnreadable(
                f"the lab says {head.size} entries; at most {MAX_REMOTE_ENTRIES} are fetched"
            )
        return head

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        """Entries `start` to `size`, as the lab tells them."""
        while start < size:
            limit = min(PAGE_ENTRIES, size - start)
            query = {"start": str(start), "limit": str(limit)}
            page = self._json("/ledger/entries", query, _MAX_PAGE_BYTES)
            if not isinstance(page, list) or not 1 <= len(page) <= limit:
                raise LabUnreadable(
                    f"the lab gave no page of 1 to {limit} entries from entry {start} on"
                )
            for text in page:
                yield _entry(text, start)
                start += 1

    def _json(self, path: str, query: dict[str, str], limit: int) -> Any:
        try:
            return json.loads(self._get(path, query, limit))
        except (ValueError, RecursionError):
            raise LabUnreadable(
                f"{self._url}{path} answered with something else than JSON"
            ) from None

    def _get(self, path: str, query: dict[str, str], limit: int) -> bytes:
        bounds = Bounds(self.LIMIT_S, limit)
        try:
            return self._runner.run(self._lab.get_bytes(path, bounds, **query))
        except LabUnreachable as error:
            raise LabUnreadable(
                f"no answer from the lab at {error}; check the URL and that it runs"
            ) from None
        except LabRefused as error:
            kind = NoLab if error.status == HTTP_NOT_FOUND else LabUnreadable
            raise kind(f"{self._url}{path}: {error}") from None


class MirrorReader(LedgerReader):
    """A mirror's files behind any web server."""

    def did(self) -> str:
        """Whose ledger its checkpoint says it is."""
        origin = self._get(f"/{CHECKPOINT}", {}, MAX_NOTE_BYTES).partition(b"\n")[0]
        return did_of(origin.decode("utf-8", "replace"), f"{self._url}/{CHECKPOINT}")

    def head(self, did: str) -> TreeHead:
        """The checkpoint, signed by the lab `did`."""
        return self._signed(self._get(f"/{CHECKPOINT}", {}, MAX_NOTE_BYTES), did)

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        """Entries `start` to `size`, out of the bundles of a log of `size`."""
        for place in places(size):
            first = place.index * TILE_WIDTH
            if place.level != ENTRIES:
                return
            if first + place.width > start:
                try:
                    found = entries_of(
                        self._get(f"/{place.path}", {}, MAX_BUNDLE_BYTES), place.width
                    )
                except BadTile as error:
                    raise LabUnreadable(f"{self._url}/{place.path}: {error}") from None
                yield from found[max(start - first, 0) :]


def reader_of(url: str) -> LedgerReader:
    """Who reads what is there: a lab, or a mirror of one. To be used as a block.

    Raises:
        LabUnreadable: nothing answers, or neither.
    """
    lab = LedgerReader(url)
    try:
        lab.did()
    except NoLab:
        lab.__exit__(None, None, None)
        return MirrorReader(url)
    except BaseException:
        lab.__exit__(None, None, None)
        raise
    return lab


def did_of(origin: str, where: str) -> str:
    """The lab whose heads have this origin.

    Raises:
        LabUnreadable: no lab's have.
    """
    did = f"did:key:{origin.removeprefix(ORIGIN_PREFIX)}"
    try:
        if lab_key(did).name == origin:
            return did
    except (IdentityError, BadNote):
        pass
    raise LabUnreadable(f"{where} is of {origin!r:.80}, which is no lab's ledger")


def _entry(text: Any, position: int) -> bytes:
    try:
        entry = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise LabUnreadable(f"entry {position} came as something else than base64") from None
    return entry
