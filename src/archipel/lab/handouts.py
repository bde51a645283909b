"""What goes out with a lease: the news its node needs, in sealed records, and small blobs beside them.

Law: nothing here is believed because the lab says it: openings and publications go out as their authors
signed them, inputs under the digest in the grant's spec, blobs are hashed by whoever receives them.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from archipel.blobs.errors import BlobError
from archipel.lab.chain import since, version_of
from archipel.lab.commit import Recorded
from archipel.lab.entry import Entry, read_entry
from archipel.lab.kinds import RULES_OF
from archipel.lab.mesh import Mesh
from archipel.lab.parted import Parted
from archipel.lab.recovery import Blobs
from archipel.lab.state import LabState, Run, Version
from archipel.ledger.log import Log
from archipel.records.chain import chain_to
from archipel.records.documents import (
    BLOB_MARK_DIGITS,
    MAX_VERSIONS_PER_PAGE,
    AcceptedWork,
    Handout,
    Have,
    HeldRun,
)
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF, Spec
from archipel.records.parcel import MAX_PARCEL_BLOBS, SMALL_BLOB_BYTES
from archipel.records.statements import LeaseGranted, RunOpened, WorkAnswered
from archipel.records.weight_parts import BadParts, InParts

MAX_SEALED_REMEMBERED = 4096
MAX_SHELF_BYTES = 32 * 1024 * 1024
MAX_NEWS_BYTES = SMALL_BLOB_BYTES
"""Blobs of one handout together."""
MAX_DOCUMENT_CHARACTERS = 512 * 1024
"""Of publications and inputs in one handout: with grant, opening and blobs it still fits a parcel."""
MAX_INPUTS_BESIDE = 256
NOTHING = HeldRun(opening=False, version=-1, weights=-1)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A handout and the blobs beside it."""

    handout: Handout
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an accepted statement stands in the ledger, and the lease that was asked for with it."""

    recorded: Recorded
    next: Outgoing | None = None


class Records:
    """Sealed records by their position in the ledger; the ones that nodes ask for are remembered."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._sealed: OrderedDict[int, str] = OrderedDict()

    def remember(self, first: int, entries: Sequence[Entry]) -> None:
        """New entries of the ledger; those that others will need are kept at hand."""
        for position, entry in enumerate(entries, first):
            statement = entry.statement
            is_asked = isinstance(statement, RunOpened) or (
                isinstance(statement, LeaseGranted | WorkAnswered) and _is_trusted(statement)
            )
            if is_asked:
                self._keep(position, entry.envelope.to_json().decode())

    async def at(self, position: int) -> str:
        """The sealed record at a position of the ledger."""
        sealed = self._sealed.get(position)
        if sealed is None:
            (data,) = await asyncio.to_thread(self._log.read, position, 1)
            sealed = read_entry(data).envelope.to_json().decode()
            self._keep(position, sealed)
        return sealed

    def _keep(self, position: int, sealed: str) -> None:
        self._sealed[position] = sealed
        if len(self._sealed) > MAX_SEALED_REMEMBERED:
            self._sealed.popitem(last=False)


class Shelf:
    """The small blobs that go out again and again (every node needs a version's), read and hashed once."""

    def __init__(
        self, blobs: Blobs, max_bytes: int = MAX_SHELF_BYTES, *, in_thread: bool = True
    ) -> None:
        """`in_thread`: read beside the event loop; False for blobs in memory."""
        self._blobs = blobs
        self._parted = Parted(blobs)
        self._left = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._in_thread = in_thread

    async def read(self, wanted: Sequence[BlobRef]) -> tuple[bytes, ...]:
        """The bytes of each that the store still has; what was not asked for longest makes room here."""
        found = {blob.digest: self._taken(blob.digest) for blob in wanted}
        missing = [blob for blob in wanted if found[blob.digest] is None]
        if missing:
            stored = partial(_stored, self._blobs, missing)
            read = await asyncio.to_thread(stored) if self._in_thread else stored()
            for digest, data in read.items():
                self._keep(digest, data)
            found.update(read)
        return tuple(each for blob in wanted if (each := found[blob.digest]) is not None)

    async def weights(self, steps: Sequence[tuple[Version, str]]) -> list[BlobRef]:
        """What a chain's steps take, with the blobs of versions in parts."""
        if not any(isinstance(version.manifest, InParts) for version, _ in steps):
            return list(_weights(steps))
        return await asyncio.to_thread(self._with_parts, steps)

    def _with_parts(self, steps: Sequence[tuple[Version, str]]) -> list[BlobRef]:
        found = list(_weights(steps))
        for version, step in steps:
            with contextlib.suppress(BlobError, BadParts, OSError):
                found.extend(self._parted.weights_of(version, step))
        return found

    def _taken(self, digest: str) -> bytes | None:
        data = self._kept.get(digest)
        if data is not None:
            self._kept.move_to_end(digest)
        return data

    def _keep(self, digest: str, data: bytes) -> None:
        if digest in self._kept:  # read twice at the same time
            return
        self._kept[digest] = data
        self._left -= len(data)
        while self._left < 0:
            _, gone = self._kept.popitem(last=False)
            self._left += len(gone)


def _stored(blobs: Blobs, wanted: Sequence[BlobRef]) -> dict[str, bytes]:
    read = {}
    for blob in wanted:
        with contextlib.suppress(BlobError, OSError):
            read[blob.digest] = blobs.read_bytes(blob.digest, blob.size)
    return read


def _is_trusted(statement: LeaseGranted | WorkAnswered) -> bool:
    kind = statement.spec.kind if isinstance(statement, LeaseGranted) else statement.answer.kind
    return WORDS_OF[kind].trusted


async def publications(records: Records, run: Run, first: int) -> tuple[str, ...]:
    """The sealed publications of the versions from `first` on, one page."""
    page = since(run, first)[:MAX_VERSIONS_PER_PAGE]
    return tuple([await records.at(version.entry) for version in page])


async def handout(
    records: Records, shelf: Shelf, state: LabState, entry: Entry, have: Have, mesh: Mesh
) -> Outgoing:
    """The grant in `entry`, with what its node lacks as far as it says so, and as far as it fits.

    What does not fit the node asks for by itself.
    """
    grant = entry.statement
    if not isinstance(grant, LeaseGranted):
        raise TypeError(f"{grant.kind} is no lease")
    spec, run = grant.spec, state.runs[grant.spec.run]
    needs, known = WORDS_OF[spec.kind].needs(spec), have.runs.get(run.name, NOTHING)
    steps = _steps(run, known.weights, needs.weights)
    inputs = None
    if needs.inputs is not None and needs.memory is None:  # the lease is the only way to them
        inputs = _fitting(_inputs(state, spec), MAX_DOCUMENT_CHARACTERS)
    left = MAX_DOCUMENT_CHARACTERS - _length(inputs)
    versions = await _news(records, steps, known.version, left)
    left -= sum(map(len, versions))
    if needs.inputs is not None and needs.memory is not None:
        inputs = _fitting(_inputs(state, spec), left)
    document = Handout(
        grant=entry.envelope.to_json().decode(),
        opening=None if known.opening else await records.at(run.entry),
        versions=versions,
        inputs=inputs,
        sources=await mesh.sources(grant.node, await shelf.weights(steps)),
    )
    wanted = [*needs.blobs, *_weights(steps), *_results(inputs)]
    if needs.recipe and not known.opening:
        wanted.append(run.opened.recipe)
    return Outgoing(document, await shelf.read(_small(wanted, have)))


async def _news(
    records: Records, steps: Sequence[tuple[Version, str]], known: int, left: int
) -> tuple[str, ...]:
    """Publications of the steps that the node has not seen, as many as fit in `left` characters."""
    news = []
    for version, _ in steps:
        if version.version > known:
            sealed = await records.at(version.entry)
            left -= len(sealed)
            if left < 0:
                break
            news.append(sealed)
    return tuple(news)


def _fitting(inputs: tuple[AcceptedWork, ...] | None, left: int) -> tuple[AcceptedWork, ...] | None:
    """All of them or none: their digest covers all."""
    if inputs is None or len(inputs) > MAX_INPUTS_BESIDE:
        return None
    return inputs if _length(inputs) <= left else None


def _length(inputs: tuple[AcceptedWork, ...] | None) -> int:
    return sum(len(each.model_dump_json()) for each in inputs or ())


def _inputs(state: LabState, spec: Spec) -> tuple[AcceptedWork, ...] | None:
    """What the spec's digest covers."""
    return RULES_OF[spec.kind].inputs(state.runs[spec.run], spec)


def _steps(run: Run, held: int, target: int | None) -> Sequence[tuple[Version, str]]:
    """The way from the weights held to those that the work names."""
    if target is None:
        return ()
    try:
        return chain_to(lambda number: version_of(run, number), held, target)
    except ValueError:
        return ()


def _weights(steps: Sequence[tuple[Version, str]]) -> Iterator[BlobRef]:
    for version, step in steps:
        blob = version.anchor if step == "anchor" else version.delta
        yield version.manifest
        if blob is not None:
            yield blob


def _results(inputs: tuple[AcceptedWork, ...] | None) -> Iterator[BlobRef]:
    for each in inputs or ():
        yield from WORDS_OF[each.answer.kind].blobs(each.answer)


def _small(wanted: Sequence[BlobRef], have: Have) -> list[BlobRef]:
    """As many as one parcel may hold; the rest is fetched."""
    small, marks, left = [], set(have.blobs), MAX_NEWS_BYTES
    for blob in dict.fromkeys(wanted[:MAX_PARCEL_BLOBS]):
        mark = blob.digest.removeprefix("sha256:")[:BLOB_MARK_DIGITS]
        if mark not in marks and blob.size <= left:
            left -= blob.size
            small.append(blob)
    return small
