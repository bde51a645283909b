"""One mirrored lab, asked round after round: its ledger, the blobs that a successor would need, and what others saw of it."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx

from archipel.blobs import BlobError, BlobStore, StorageFull
from archipel.cli.clock import clock_ms
from archipel.cli.ledger_reader import LabUnreadable, LedgerReader, reader_of
from archipel.cli.mirror_successors import Successors, succession_at
from archipel.cli.telling import Tell, seldom
from archipel.identity import Identity, IdentityError
from archipel.lab.mirrors import seen
from archipel.lab.mirrors.blobs import KeptBlobs, NotNow, NotThere
from archipel.lab.mirrors.comparing import Elsewhere, Read, compared
from archipel.lab.mirrors.keeping import BLOBS, Keeper
from archipel.ledger.evidence import BadEvidence
from archipel.ledger.storage import LedgerError, LedgerUnavailable
from archipel.ledger.tiles import ENTRIES, place_at
from archipel.ledger.tree_head import TreeHead
from archipel.node.client import LabReader
from archipel.node.exchange import Bounds, LabRefused, LabUnreachable, bounded_body
from archipel.records.document import BadDocument, read_documents
from archipel.records.fields import BlobRef
from archipel.records.mirror_documents import MAX_MIRRORS, MirrorView

ANSWER_LIMIT_S = 20.0
"""For one document of another place."""
LOOK_S, ENTRIES_PER_S = 120.0, 50.0
"""A look at a ledger takes no longer than the first, and the time of what is new at this pace: who drips is left."""
BLOBS_S = 60.0
"""After so long the next head is looked at before the next blob; what came of one stays, and the next round goes on there."""
COSIGN_EVERY_S = 600.0
MAX_MIRRORS_BYTES = 4 * 2**20
MAX_SAID_BYTES = 65_536
GONE = "not-found"
"""A lab's word for what it does not have."""


@dataclass(frozen=True)
class Mirrored:
    """What is kept of whom, and where."""

    name: str
    url: str
    folder: Path
    expect: str | None = None
    """The lab that it must be; None: whoever answers first."""
    quota_bytes: int | None = None
    """Of blobs; None: the ledger alone."""
    patience_s: float = 120.0
    """So long without an answer is silence."""
    compare: tuple[str, ...] = ()
    """Addresses that may keep mirrors of the same lab."""


class Rounds:
    """Of one lab; remembers between rounds what was folded."""

    def __init__(self, what: Mirrored, observer: Identity, tell: Tell = lambda line: None) -> None:
        """observer: who signs heads and evidence. tell: hears how far a round is that takes long."""
        self._what, self._observer, self._told = what, observer, tell
        self._keeper: Keeper | None = None
        self._blobs: KeptBlobs | None = None
        self._successors = Successors(partial(succession_at, lab_url=what.url))
        self._cosigned = ("", 0.0)
        """(the head that was signed and handed in last, when)"""

    def once(self, view: MirrorView) -> MirrorView:
        """Ask for everything once; what is known then. Never raises for what the lab or another place does.

        Raises:
            OSError, BlobError: this machine's disk.
        """
        view, self._tell = seen.asked(view, clock_ms()), seldom(self._told)
        try:
            with reader_of(self._what.url) as lab:
                view = self._met(view, lab)
                if self._keeper is None:
                    raise LabUnreadable("it was not met")
                view = self._keeper.look(view, _Paced(lab, self._tell), clock_ms())
        except (LedgerError, IdentityError) as error:
            view = seen.unanswered(view, clock_ms(), str(error), int(self._what.patience_s * 1000))
        if self._keeper is None:
            return view
        others = self._others(view.lab)
        view = self._compared(view, self._keeper, others)
        view = self._signed(view, self._keeper)
        said = self._successors.look(self._keeper, time.monotonic())
        view = view.model_copy(update={"continued": said})
        return self._with_blobs(view, self._keeper, others)

    def _met(self, view: MirrorView, lab: LedgerReader) -> MirrorView:
        """Whose lab it is: always the same."""
        expected = view.lab or self._what.expect
        if self._keeper is not None:
            return view
        did = lab.did()
        if expected and did != expected:
            raise LabUnreadable(f"{did} answers at {self._what.url}; expected {expected}")
        self._open(did)
        return view.model_copy(update={"lab": did})

    def resume(self, view: MirrorView) -> None:
        """Go on with a mirror whose lab need not answer any more. Raises LedgerError, IdentityError."""
        if view.lab and view.entries:
            self._open(view.lab)

    def _open(self, did: str) -> None:
        self._keeper = Keeper(self._what.folder, did, self._observer)

    def _signed(self, view: MirrorView, keeper: Keeper) -> MirrorView:
        """Cosign the newest head, and hand the signature to the lab now and then."""
        head, at_s = self._cosigned
        if not view.head or (view.head == head and time.monotonic() - at_s < COSIGN_EVERY_S):
            return view
        try:
            note, key = keeper.cosign(int(time.time()))
        except LedgerError as error:
            return view.model_copy(update={"reason": f"not cosigned: {error}"[:1000]})
        if not note:
            return view
        self._cosigned = view.head, time.monotonic()
        if view.since_ms == 0:
            _hand_in(self._what.url, note)
        return view.model_copy(update={"cosigned": note, "witness": key})

    def _with_blobs(
        self, view: MirrorView, keeper: Keeper, others: Sequence[Elsewhere]
    ) -> MirrorView:
        """From the lab; once it is gone, from others that keep a mirror of it."""
        quota = self._what.quota_bytes
        if quota is None or keeper.state.size == 0:
            return view
        if self._blobs is None:
            self._blobs = KeptBlobs(self._what.folder / BLOBS, quota)
        gone = [f"{each.url.split(',')[0]}/mirrors/{each.view.name}" for each in others]
        until_s = time.monotonic() + BLOBS_S

        def goes_on(number: int, wanted: int) -> bool:
            self._tell(f"{number} of {wanted} blobs")
            return time.monotonic() < until_s

        with _Fetcher(gone if view.since_ms else [self._what.url]) as fetcher:
            kept = self._blobs.keep_up(
                keeper.state,
                fetcher.fetch,
                time.time(),
                goes_on,
                keeper.complete.state,
            )
        if self._blobs.is_whole(keeper.state):
            keeper.complete.reached(keeper.mirror.head, keeper.state)
        whole = keeper.complete.state
        return view.model_copy(update={"blobs": kept, "complete": whole.size if whole else 0})

    def _compared(
        self, view: MirrorView, keeper: Keeper, others: Sequence[Elsewhere]
    ) -> MirrorView:
        for other in others:
            paced = replace(other, read=_paced(other.read))
            # its nonsense says nothing of the lab
            with contextlib.suppress(LedgerError, BadEvidence):
                view = compared(keeper, view, paced, clock_ms())
        return view

    def _others(self, did: str) -> list[Elsewhere]:
        """Mirrors of this lab at the places that answer."""
        found: list[Elsewhere] = []
        for url in self._what.compare:
            with contextlib.suppress(LedgerError):  # its silence says nothing of the lab
                found += _elsewhere(url, did)
        return found


class _Paced:
    """A lab's reader whose entries come at some pace, or not at all."""

    def __init__(self, lab: LedgerReader, tell: Tell) -> None:
        self._lab, self._tell = lab, tell

    def head(self, did: str) -> TreeHead:
        return self._lab.head(did)

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        began_s = time.monotonic()
        for number, entry in enumerate(self._lab.entries(size, start), 1):
            if time.monotonic() - began_s > LOOK_S + number / ENTRIES_PER_S:
                raise LedgerUnavailable(
                    f"{number} entries came in {time.monotonic() - began_s:.0f} s; expected {ENTRIES_PER_S:.0f} a second"
                )
            self._tell(f"{start + number} of {size} entries")
            yield entry


def _paced(read: Read) -> Read:
    """Files of another place, which come at the pace of a lab's entries, or not at all."""
    began_s, num_entries = time.monotonic(), 0

    def within(path: str, most: int) -> bytes:
        nonlocal num_entries
        taken_s = time.monotonic() - began_s
        if taken_s > LOOK_S + num_entries / ENTRIES_PER_S:
            raise LedgerUnavailable(f"{num_entries} entries came in {taken_s:.0f} s")
        place = place_at(path.removeprefix("/"))
        if place is not None and place.level == ENTRIES:
            num_entries += place.width
        return read(path, most)

    return within


class _Fetcher:
    """Brings blobs in from the first place that has them."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._places, self._runner = [LabReader(url) for url in urls], asyncio.Runner()

    def __enter__(self) -> "_Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            self._runner.run(place.close())
        self._runner.close()

    def fetch(self, blob: BlobRef, store: BlobStore) -> None:
        """See `mirrors.blobs.Fetch`."""
        reasons: list[NotThere | NotNow] = []
        for place in self._places:
            try:
                return self._fetch_from(place, blob, store)
            except (NotThere, NotNow) as error:
                reasons.append(error)
        if reasons and all(isinstance(each, NotThere) for each in reasons):
            raise reasons[0]
        raise NotNow(str(reasons[-1]) if reasons else "nobody has it who answers")

    def _fetch_from(self, place: LabReader, blob: BlobRef, store: BlobStore) -> None:
        async def in_time() -> None:
            async with asyncio.timeout(BLOBS_S):  # however large: a lab that drips is looked at
                await place.fetch(blob, store)

        try:
            self._runner.run(in_time())
        except StorageFull:
            raise
        except LabRefused as error:
            raise (NotThere if error.problem == GONE else NotNow)(str(error)) from None
        except (LabUnreachable, TimeoutError, BlobError) as error:
            raise NotNow(str(error)) from None


def _hand_in(url: str, note: str) -> None:
    """Give the lab our signature; one that takes none is none the worse."""

    async def put() -> None:
        async with LabReader(url) as lab, asyncio.timeout(ANSWER_LIMIT_S):
            content = note.encode()
            async with lab.http.stream("PUT", "/ledger/cosignatures", content=content) as answer:
                await bounded_body(answer, MAX_SAID_BYTES)

    with contextlib.suppress(httpx.HTTPError, LabRefused, TimeoutError, ValueError):
        asyncio.run(put())


def _elsewhere(url: str, did: str) -> list[Elsewhere]:
    """Mirrors of this lab at another place.

    Raises:
        LedgerError: it does not say.
    """
    try:
        views = read_documents(MirrorView, _read(url, "/mirrors", MAX_MIRRORS_BYTES), MAX_MIRRORS)
    except BadDocument as error:
        raise LabUnreadable(f"{url}/mirrors: {error}") from None
    mine = [view for view in views if view.lab == did]
    return [Elsewhere(url, view, _reader_in(url, view.name)) for view in mine]


def _reader_in(url: str, name: str) -> Read:
    return lambda path, most: _read(url, f"/mirrors/{name}{path}", most)


def _read(url: str, path: str, most: int) -> bytes:
    async def get() -> bytes:
        async with LabReader(url) as lab:
            return await lab.get_bytes(path, Bounds(ANSWER_LIMIT_S, most))

    try:
        return asyncio.run(get())
    except (LabUnreachable, LabRefused, ValueError) as error:
        raise LabUnreadable(f"{url}{path}: {error}") from None
