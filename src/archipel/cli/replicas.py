"""A ledger that lies elsewhere as a replica: at a lab's address, in a mirror, in a file or a database."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.doors import home_folder, mending
from archipel.cli.ledger_checked import CHECKPOINT, LEDGER_FILE, expected, lab_of, mirror_in

if TYPE_CHECKING:
    from archipel.cli.ledger_reader import LedgerReader
    from archipel.lab.replica import Replica, Tell
    from archipel.ledger.growing import Growing
    from archipel.ledger.tree_head import TreeHead


class RemoteLedger:
    """The ledger that a lab, or a mirror behind a web server, shows of the lab `did`."""

    def __init__(self, reader: "LedgerReader", did: str) -> None:
        self._reader, self._did = reader, did

    def head(self) -> "TreeHead":
        """The newest head, signed by that lab; raises LedgerError."""
        return self._reader.head(self._did)

    def entries(self, size: int, start: int) -> Iterator[bytes]:
        """Entries `start` to `size`, as they are shown; raises LedgerError."""
        return self._reader.entries(size, start)


@contextlib.contextmanager
def replica_at(
    url: str | None, ledger: str | None, expect: str | None, tell: "Tell"
) -> "Iterator[Replica]":
    """A replica of what lies at a URL or a place, to be used as a block; nothing is folded yet.

    tell: is told every entry in order.

    Raises:
        Mendable: there is no ledger, or not the one that is expected.
    """
    from archipel.identity import IdentityError
    from archipel.lab.replica import Replica
    from archipel.ledger.storage import LedgerError

    with contextlib.ExitStack() as ending:
        with mending(IdentityError, LedgerError, OSError, ValueError):
            did, place = _place(url, ledger, ending)
            replica = Replica(expected(did, expect), place, tell)
        ending.callback(replica.close)
        yield replica


def _place(
    url: str | None, ledger: str | None, ending: contextlib.ExitStack
) -> "tuple[str, Growing]":
    """Whose ledger it is, and how it is read."""
    from archipel.cli.ledger_reader import reader_of
    from archipel.ledger.growing import GrowingMirror
    from archipel.ledger.location import follow_log
    from archipel.ledger.verification import lab_key

    if url is not None:
        reader = ending.enter_context(reader_of(url))
        did = reader.did()
        return did, RemoteLedger(reader, did)
    is_folder = ledger is not None and "://" not in ledger and Path(ledger).is_dir()
    if ledger is not None and is_folder and (Path(ledger) / CHECKPOINT).is_file():
        mirror, did = mirror_in(Path(ledger))
        return did, GrowingMirror(mirror.folder, mirror.key)
    place = ledger or str(home_folder("lab", None, make=False) / LEDGER_FILE)
    place = str(Path(place) / LEDGER_FILE) if is_folder else place
    did = lab_of(place)
    log = follow_log(place, lab_key(did))
    ending.callback(log.close)
    return did, log
