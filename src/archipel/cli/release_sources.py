"""Where `archipel release` reads a run from: a lab that runs, a lab's home or a copy of one, a collected folder.

A collected folder (`archipel release collect`) is a mirror in `ledger/` beside blobs as a lab lays them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.doors import Mendable, at_work, home_folder, mending
from archipel.cli.ledger_checked import COLLECTED

if TYPE_CHECKING:
    from archipel.cli.ledger_checked import Checked
    from archipel.cli.run_blobs import Blobs
    from archipel.ledger.mirror import Mirror
    from archipel.records.chain import Publication
    from archipel.release.gathering import Find, Ledger
    from archipel.release.hearing import Hearing
    from archipel.release.stated import Stated
    from archipel.work.messages import LinkMessage

MAX_STATED_BYTES = 1024 * 1024
MIRROR = COLLECTED
"""In a collected folder."""


def stated_in(path: Path | None) -> "Stated":
    """What the owner says, in this file. Raises OSError, and what `read_stated` does."""
    from archipel.release.stated import NOTHING_STATED, read_stated

    if path is None:
        return NOTHING_STATED
    with path.open("rb") as file:
        return read_stated(file.read(MAX_STATED_BYTES))


@dataclass(frozen=True)
class Place:
    """Of a run's ledger and blobs: a lab's address, or a folder."""

    url: str | None
    home: Path | None
    expect: str | None
    max_gb: float
    scratch: Path
    """Where fetched blobs are kept."""

    @property
    def folder(self) -> Path:
        """The lab's home, its copy, or what was collected."""
        return home_folder("lab", self.home, make=False)

    @property
    def mirror(self) -> Path | None:
        """In a collected folder."""
        inside = self.folder / MIRROR
        return inside if self.url is None and (inside / "checkpoint").is_file() else None


def read_run(place: Place, name: str) -> "tuple[Ledger, Checked]":
    """The ledger, folded, and what it says of the run.

    Raises:
        Mendable: it cannot be read, or does not hold.
    """
    from archipel.cli.ledger_checked import read_ledger
    from archipel.market.journal import listening
    from archipel.release.gathering import Ledger
    from archipel.release.hearing import Hearing

    at_work("reading the ledger")
    heard, mirror = Hearing(name), place.mirror
    ledger, home = (str(mirror), None) if mirror is not None else (None, place.home)
    with listening(heard.post):
        checked = read_ledger(place.url, ledger, home, place.expect, seen=heard.hear)
    return Ledger(checked.did, checked.head, checked.found.state, heard), checked


def mirror_of(place: Place, checked: "Checked", folder: Path) -> "Mirror":
    """A mirror of the ledger up to the head that was checked, in `folder` unless there is one."""
    from archipel.identity import IdentityError
    from archipel.ledger.mirror import Mirror
    from archipel.ledger.storage import LedgerError
    from archipel.ledger.verification import lab_key

    key = lab_key(checked.did)
    with mending(IdentityError, LedgerError, OSError, ValueError):
        if place.mirror is not None:
            return Mirror(place.mirror, key)
        kept = Mirror(folder, key)
        with _entries(place, checked, kept.size) as entries:
            kept.extend(islice(entries, checked.head.size - kept.size), checked.head)
        return kept


@contextmanager
def _entries(place: Place, checked: "Checked", start: int) -> Iterator[Iterator[bytes]]:
    from archipel.cli.ledger_checked import HEAD_FILE, LEDGER_FILE
    from archipel.cli.ledger_reader import reader_of
    from archipel.lab.recovery import pages
    from archipel.ledger.location import read_log
    from archipel.ledger.verification import lab_key

    if place.url is not None:
        with reader_of(place.url) as lab:
            yield lab.entries(checked.head.size, start)
        return
    log = read_log(place.folder / LEDGER_FILE, lab_key(checked.did), place.folder / HEAD_FILE)
    try:
        yield pages(log, start)
    finally:
        log.close()


@contextmanager
def blobs_at(place: Place) -> "Iterator[Blobs]":
    """The run's blobs; of a lab that runs, fetched into the scratch folder."""
    from archipel.cli.run_blobs import blobs_of

    with blobs_of(place.url, place.folder / "blobs", place.scratch, place.max_gb) as blobs:
        yield blobs


def finder(blobs: "Blobs") -> "Find":
    """As a release looks for them: None where one is not to be had."""
    from archipel.cli.run_blobs import Altered, NotKept
    from archipel.records.fields import BlobRef

    found: dict[str, Path | None] = {}

    def find(blob: BlobRef) -> Path | None:
        if blob.digest not in found:
            try:
                found[blob.digest] = blobs.path(blob)
            except NotKept:
                found[blob.digest] = None
            except Altered as error:
                raise Mendable(str(error)) from None
        return found[blob.digest]

    return find


def export_last(heard: "Hearing", find: "Find", folder: Path) -> Path:
    """The last version as a model directory in `folder`.

    Raises:
        Mendable: its weights are not to be had, or do not verify.
    """
    from archipel.node.operator import copy_file
    from archipel.work.export import ExportFailed, write_version

    at_work("computing the last version's weights")
    support, out, opened = folder / "support", folder / "model", heard.story.opened
    if opened is None:
        raise Mendable(f"this ledger opens no run {heard.name!r:.80}")
    for file in opened.model:
        if not file.name.endswith((".safetensors", ".index.json")):
            path = find(file.blob)
            if path is None:
                raise Mendable(f"{file.name} of the initial model is not to be had any more")
            copy_file(path, support / file.name)
    with mending(ExportFailed, OSError, ValueError):
        write_version(_links(heard, find), support, out)
    return out


def _links(heard: "Hearing", find: "Find") -> "list[LinkMessage]":
    from archipel.records.chain import chain_to

    published = [each.published for each in heard.story.updates]
    last = published[-1].version

    def at(number: int) -> "Publication | None":
        """One that is to be had."""
        version = published[number]
        blobs = (version.manifest, version.anchor or version.delta)
        return version if all(each is not None and find(each) for each in blobs) else None

    try:
        chain = chain_to(at, -1, last)
    except ValueError:
        raise Mendable(
            f"the weights of version {last} are not to be had: neither an anchor nor the deltas from one"
        ) from None
    return [_link(version, way, find) for version, way in chain]


def _link(version: "Publication", way: str, find: "Find") -> "LinkMessage":
    from archipel.work.messages import LinkMessage

    found = [
        None if blob is None else find(blob) for blob in (version.manifest, getattr(version, way))
    ]
    manifest, weights = found
    if manifest is None or weights is None:
        raise Mendable(f"the weights of version {version.version} went away while they were read")
    return LinkMessage(
        version=version.version,
        policy=version.policy,
        manifest=manifest.absolute(),
        anchor=weights.absolute() if way == "anchor" else None,
        delta=weights.absolute() if way == "delta" else None,
    )
