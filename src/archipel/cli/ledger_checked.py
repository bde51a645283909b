"""A ledger read and checked, wherever it lies: a lab that runs, a mirror, a lab's folder, a file or a database."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from archipel.cli.doors import Mendable, home_folder, mending
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.cli.heads import EarlierHead
    from archipel.lab.entry import Entry
    from archipel.lab.recovery import Replayed
    from archipel.ledger.mirror import Mirror
    from archipel.ledger.tree_head import TreeHead

HEAD_FILE = "ledger.head"
"""Beside the ledger, or in the lab's home: the newest head outside the database."""
LEDGER_FILE = "ledger.sqlite"
CHECKPOINT = "checkpoint"
"""In the folder of a mirror."""
COLLECTED = "ledger"
"""The mirror, in a folder with `blobs` beside it."""
MAX_ORIGIN_BYTES = 1024


Seen = Callable[["Entry"], None]


class Checked(NamedTuple):
    """A ledger of which everything holds."""

    did: str
    head: "TreeHead"
    heads: int
    """Signed heads that were confirmed, this one included."""
    found: "Replayed"


def read_ledger(
    url: str | None,
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    earlier: Sequence[Path] = (),
    seen: Seen = lambda entry: None,
) -> Checked:
    """The ledger of a lab that runs (`url`), or of a copy, all of it checked.

    earlier: files with heads that it must have gone on from. seen: is told every entry.

    Raises:
        Mendable: it cannot be read, or does not hold; the sentence says which.
    """
    from archipel.identity import IdentityError
    from archipel.ledger.storage import LedgerError

    with mending(IdentityError, LedgerError, OSError, ValueError):
        if url is not None:
            return _replay_remote(url, expect, earlier, seen)
        return stored_state(ledger, home, expect, earlier, seen)


def _replay_remote(url: str, expect: str | None, earlier: Sequence[Path], seen: Seen) -> Checked:
    from archipel.cli.ledger_reader import reader_of
    from archipel.ledger.verification import entries_under

    with reader_of(url) as lab:
        did = expected(lab.did(), expect)
        known, head = _earlier_heads(earlier, did), lab.head(did)
        for each in known:
            each.check_size(head.size, f"the ledger that {url} shows")
        entries = entries_under(head, lab.entries(head.size))
        return Checked(did, head, 1, _fold(did, head.size, entries, known, seen))


def stored_state(
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    earlier: Sequence[Path] = (),
    seen: Seen = lambda entry: None,
) -> Checked:
    """A ledger on disk or in a database, all of it checked; arguments as of `read_ledger`."""
    from archipel.ledger.location import read_log
    from archipel.ledger.verification import lab_key

    head_file = None
    if ledger is not None and "://" not in ledger and (Path(ledger) / CHECKPOINT).is_file():
        return _mirrored(Path(ledger), expect, earlier, seen)
    if ledger is not None and "://" not in ledger and (inside := collected(Path(ledger))):
        return _mirrored(inside, expect, earlier, seen)
    if ledger is not None and "://" not in ledger and Path(ledger).is_dir():
        ledger = str(Path(ledger) / LEDGER_FILE)
    if ledger is None or home is not None:
        head_file = home_folder("lab", home, make=False) / HEAD_FILE
    elif "://" not in ledger and (Path(ledger).parent / HEAD_FILE).exists():
        head_file = Path(ledger).parent / HEAD_FILE
    place = ledger or home_folder("lab", home, make=False) / LEDGER_FILE
    did = expected(lab_of(place), expect)
    known = _earlier_heads(earlier, did)
    log = read_log(place, lab_key(did), head_file)
    try:
        for each in known:
            each.check_size(log.size, f"the ledger at {place}")
        heads = log.verify()
        return Checked(did, log.head, heads, _fold(did, log.size, log.entries(), known, seen))
    finally:
        log.close()


def _mirrored(folder: Path, expect: str | None, earlier: Sequence[Path], seen: Seen) -> Checked:
    from archipel.ledger.mirror import verified

    mirror, did = mirror_in(folder)
    expected(did, expect)
    if mirror.head is None:
        raise Mendable(f"{folder / CHECKPOINT} went away while it was read")
    known = _earlier_heads(earlier, did)
    for each in known:
        each.check_size(mirror.size, f"the mirror in {folder}")
    for _ in verified(mirror):
        pass  # what is damaged is named by its file, before any statement in it is read
    return Checked(did, mirror.head, 1, _fold(did, mirror.size, verified(mirror), known, seen))


def collected(folder: Path) -> Path | None:
    """The mirror in a folder that holds blobs beside it; None: there is none."""
    inside = folder / COLLECTED
    return inside if (inside / CHECKPOINT).is_file() else None


def mirror_in(folder: Path) -> "tuple[Mirror, str]":
    """The mirror in a folder, and the lab whose ledger its checkpoint says it is.

    Raises:
        LedgerError: there is none, or its checkpoint is not by that lab.
    """
    from archipel.cli.ledger_reader import did_of
    from archipel.ledger.mirror import Mirror
    from archipel.ledger.storage import LedgerMissing
    from archipel.ledger.verification import lab_key

    path = folder / CHECKPOINT
    try:
        with path.open("rb") as file:
            origin = file.readline(MAX_ORIGIN_BYTES).decode("utf-8", "replace").rstrip("\n")
    except FileNotFoundError:
        raise LedgerMissing(
            f"{folder} holds no checkpoint, so it is no mirror; make one with `archipel ledger mirror`"
        ) from None
    did = did_of(origin, str(path))
    return Mirror(folder, lab_key(did)), did


def _earlier_heads(paths: Sequence[Path], did: str) -> "list[EarlierHead]":
    from archipel.cli.heads import EarlierHead
    from archipel.ledger.verification import lab_key

    return [EarlierHead(path, lab_key(did)) for path in paths]


def opened_by(entry: bytes) -> str:
    """The lab whose ledger begins with this entry."""
    from archipel.lab.entry import read_entry
    from archipel.records.statements import LabOpened

    statement = read_entry(entry).statement
    if not isinstance(statement, LabOpened):
        raise Mendable(f"entry 0 is {statement.kind}, expected lab.opened: this is no lab's ledger")
    return statement.author


def lab_of(place: str | Path) -> str:
    """The lab that the ledger at `place` says it is of now: its newest head's, which has to be shown by folding it; where
    that is no lab's, the one that opened it. Raises LedgerError, Mendable: there is no lab's ledger.
    """
    from archipel.cli.ledger_reader import did_of
    from archipel.ledger.location import read_first_entry, read_origin
    from archipel.ledger.storage import LedgerError

    first = opened_by(read_first_entry(place))
    try:
        return did_of(read_origin(place), str(place))
    except LedgerError:
        return first


def expected(did: str, expect: str | None) -> str:
    if expect is not None and did != expect:
        raise Mendable(f"this is the ledger of {did}; expected {expect}")
    return did


def _fold(
    did: str, size: int, entries: Iterable[bytes], earlier: "list[EarlierHead]", seen: Seen
) -> "Replayed":
    """What the entries amount to; the first must be the lab's own opening."""
    from archipel.lab.apply import Contradiction
    from archipel.lab.recovery import replayed

    told = counting(size, entries)
    for each in earlier:
        told = each.compared(told)
    first = next(told, None)
    if first is None:
        raise Mendable("this ledger has no entries yet")
    opened_by(first)
    try:
        found = replayed(did, chain([first], told), seen)
    except Contradiction as error:
        raise Mendable(
            f"these entries are signed, but do not follow from one another: {error}; "
            "no lab of this release wrote them"
        ) from None
    for each in earlier:
        each.check_former({past.predecessor: past.entry for past in found.state.succeeded})
    return found


def counting(size: int, entries: Iterable[bytes], start: int = 0) -> Iterator[bytes]:
    """The same entries; says how far it is when that takes long."""
    tell = seldom()
    for number, entry in enumerate(entries, start):
        tell(f"{number} of {size} entries")
        yield entry
