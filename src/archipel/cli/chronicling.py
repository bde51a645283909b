"""A lab's chronicle, written by a process of its own: the lab begins it, begins it again when it dies, and ends it.

The child reads the ledger beside its writer, folds it once more at low priority and tells the chronicle; it is told what to do
in one line on standard input, and ends when that closes. Law: it reads the lab's home and writes the chronicle alone.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from archipel.blobs import BlobStore
    from archipel.blobs.s3_reading import BucketReader
    from archipel.dashboard.chronicle.writing import ChronicleWriter
    from archipel.dashboard.told import Told
    from archipel.lab.retelling import Retold
    from archipel.lab.state import LabState

logger = logging.getLogger("archipel.lab")

CHRONICLE_FILE = "chronicle.sqlite"
"""In a lab's home."""
PROGRAM = "archipel.cli.chronicling"
RESTART_S = 10.0
"""Between two starts."""
LOOK_S = 0.5
"""Between two looks for new entries."""
BATCH = 2048
"""Entries told at once."""
NICE = 10
END_S = 5.0
MAX_TOLD_BYTES = 65_536
"""Of the line that says what to do, and of what a child says at its end."""


class Chronicling:
    """The child, from outside; a context manager."""

    def __init__(self, ledger: str, blobs: Path | str, chronicle: Path, lab: str) -> None:
        """ledger: a file, or an address with its password, which is shown to no other process. blobs: a folder or a bucket."""
        told = {"ledger": ledger, "blobs": str(blobs), "chronicle": str(chronicle), "lab": lab}
        self._told = json.dumps(told).encode() + b"\n"
        self._over = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._go_on, name="chronicle", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
        self._thread.join(END_S)

    def _go_on(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            reason = self._once()
            if self._over.is_set():
                return
            logger.warning("chronicle stopped", extra={"reason": reason})
            self._over.wait(max(0.0, began_s + RESTART_S - time.monotonic()))

    def _once(self) -> str:
        """From a start to the end of one child; what it said then."""
        try:
            child = subprocess.Popen(  # noqa: S603  this interpreter, a module of this package
                [sys.executable, "-P", "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the lab, which then ends this one
            )
            self._child = child
            assert child.stdin is not None  # noqa: S101  a pipe, as asked
            assert child.stdout is not None  # noqa: S101
            child.stdin.write(self._told)
            child.stdin.flush()
            if self._over.is_set():  # the block ended while this one began
                child.stdin.close()
            with child.stdout:
                said = child.stdout.read(MAX_TOLD_BYTES)
        except OSError as error:
            return str(error)
        code = child.wait()
        with contextlib.suppress(OSError):  # the line of one that died before it read it
            child.stdin.close()
        return said.decode("utf-8", "replace").strip() or f"it ended with {code}"


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


def serve() -> int:
    """The child: until standard input closes, or it cannot go on, which it says on standard output."""
    from archipel.ledger.storage import LedgerError

    os.nice(NICE)
    over = threading.Event()
    told = json.loads(sys.stdin.buffer.readline(MAX_TOLD_BYTES))

    def until_closed() -> None:
        sys.stdin.buffer.read(1)
        over.set()

    threading.Thread(target=until_closed, daemon=True).start()
    try:
        keep(told, over)
    except (LedgerError, RuntimeError, ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}"[:1000], flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(serve())
