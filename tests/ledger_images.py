"""A lab's ledger as its disk holds it, for tests that damage it."""

import random
import shutil
from pathlib import Path

from archipel.identity import Identity
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.signed_note import NoteKey

LAB = Identity.from_seed(bytes(31) + b"\x01")
ORIGIN = "lab.example/archipel"
KEY = NoteKey(ORIGIN, LAB.public_key)
NAME = "ledger.sqlite"
PARTS = {"database": NAME, "write-ahead file": f"{NAME}-wal", "head file": f"{NAME}.head"}
_random = random.Random(20251125)
ENTRIES = [_random.randbytes(_random.randint(1, 1500)) for _ in range(60)]


def open_at(folder: Path) -> Log:
    return open_log(folder / NAME, ORIGIN, LAB)


def fill(log: Log, entries: list[bytes]) -> None:
    for start in range(0, len(entries), 3):
        log.append(entries[start : start + 3])


def properly_ended(folder: Path) -> Path:
    """A ledger of ENTRIES whose lab was closed."""
    folder.mkdir()
    log = open_at(folder)
    fill(log, ENTRIES)
    log.close()
    return folder


def abruptly_ended(folder: Path) -> Path:
    """The same, copied while the lab was at work: half of it is in the write-ahead file."""
    live = folder.with_name(folder.name + " live")
    live.mkdir()
    log = open_at(live)
    fill(log, ENTRIES[:30])
    log.close()
    log = open_at(live)
    fill(log, ENTRIES[30:])
    copy(live, folder)
    log.close()
    return folder


def copy(source: Path, target: Path) -> None:
    """What a backup takes: the database, its write-ahead file, the head file."""
    target.mkdir()
    for name in PARTS.values():
        if (source / name).exists():
            shutil.copy(source / name, target / name)


def contents(folder: Path) -> dict[str, bytes]:
    """What is in the files; an empty write-ahead file says nothing."""
    found = {
        name: (folder / name).read_bytes() for name in PARTS.values() if (folder / name).exists()
    }
    return {name: data for name, data in found.items() if data or not name.endswith("-wal")}


def flip(path: Path, rng: random.Random) -> str:
    """Change one bit; says which."""
    data = bytearray(path.read_bytes())
    offset, bit = rng.randrange(len(data)), rng.randrange(8)
    data[offset] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {offset} of {path.name}"
