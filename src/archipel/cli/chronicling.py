"""A lab's chronicle, written by a process of its own: the lab begins it, begins it again when it dies, and ends it.

The child reads the ledger beside its writer, folds it once more at low priority and tells the chronicle; it is told what to do
in one line on standard input, and ends when that closes. Law: it reads the lab's home and writes the chronicle alone.
"""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.beside import Beside, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from archipel.blobs import BlobStore
    from archipel.blobs.s3_reading import BucketReader
    from archipel.dashboard.chronicle.writing import ChronicleWriter
    from archipel.dashboard.told import Told
    from archipel.lab.retelling import Retold
    from archipel.lab.state import LabState

CHRONICLE_FILE = "chronicle.sqlite"
"""In a lab's home."""
PROGRAM = "archipel.cli.chronicling"
LOOK_S = 0.5
"""Between two looks for new entries."""
BATCH = 2048
"""Entries told at once."""


class Chronicling(Beside):
    """The child, from outside; a context manager."""

    def __init__(self, ledger: str, blobs: Path | str, chronicle: Path, lab: str) -> None:
        """ledger: a file, or an address with its password, which is shown to no other process. blobs: a folder or a bucket."""
        told = {"ledger": ledger, "blobs": str(blobs), "chronicle": str(chronicle), "lab": lab}
        super().__init__(PROGRAM, "chronicle", told)


def as_told(each: "Retold") -> "Told":
    """What the fold tells, as a chronicle hears it."""
    from archipel.dashboard.told import Told

    return Told(each.number, each.at_ms, each.statement, each.postings)


def keep(told: dict[str, str], over: threading.Event) -> None:
    """Write the chronicle until `over`: from the newest snapshot at or before what it has, else from entry 0.

    Raises: LedgerError, Contradiction, ChronicleUnusable, ValueError, OSError: it cannot go on.
    """
    from archipel.dashboard.chronicle.file import make_sound
    from archipel.dashboard.chronicle.writing import ChronicleWriter
    from archipel.lab.entry import read_examined
    from archipel.lab.recovery import snapshot_before
    from archipel.lab.retelling import retelling
    from archipel.lab.state import LabState
    from archipel.ledger.location import follow_log
    from archipel.ledger.verification import lab_key

    did, path = told["lab"], Path(told["chronicle"])
    log = follow_log(told["ledger"], lab_key(did))
    try:
        head = log.head()
        make_sound(path)
        with ChronicleWriter(path, did) as writer:
            has = writer.size
            if has > head.size:
                raise ValueError(
                    f"{path} has {has} entries, the ledger {head.size}: it is another ledger's; delete it, and it is "
                    "made anew"
                )
            state = snapshot_before(log, _snapshots(told["blobs"]), has)
            state = state if state is not None and state.lab == did else LabState(lab=did)
            while not over.is_set():
                entries = map(read_examined, log.entries(log.head().size, state.size))
                state = _told(retelling(state, entries), state, writer, over)
                over.wait(LOOK_S)
    finally:
        log.close()


def _snapshots(place: str) -> "BlobStore | BucketReader":
    """Where they lie. Raises ValueError: nothing can be read there."""
    from archipel.blobs import BlobStore
    from archipel.cli.doors import Mendable
    from archipel.cli.lab_blobs import reader_at

    if "://" not in place:
        return BlobStore(Path(place))
    try:
        return reader_at(place)
    except Mendable as error:
        raise ValueError(str(error)) from None


def _told(
    folded: "Iterator[tuple[LabState, Retold]]",
    state: "LabState",
    writer: "ChronicleWriter",
    over: threading.Event,
) -> "LabState":
    """The state after these entries, of which the chronicle was told."""
    has, batch = writer.size, list["Told"]()
    for state, each in folded:
        if each.number >= has:
            batch.append(as_told(each))
        if len(batch) == BATCH:
            writer.take(batch)
            batch.clear()
        if over.is_set():
            return state
    if batch:
        writer.take(batch)
    return state


if __name__ == "__main__":
    sys.exit(serve(keep))
