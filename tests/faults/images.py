"""A site as its disks hold it, half-way through a run: what bits are flipped in, and how.

Two images: `killed` (SIGKILL for all at once: the ledger lies in its write-ahead file) and `stopped` (SIGTERM).
"""

import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from faults.worlds import FAR, UPDATE, Bench, world
from stage import LIMIT_S

NODE = "node0"
HALF_WAY = 4
"""Version at which the site is stopped."""
PARTS = {
    "ledger": ("lab/ledger.sqlite",),
    "write-ahead file": ("lab/ledger.sqlite-wal",),
    "shared memory": ("lab/ledger.sqlite-shm",),
    "head file": ("lab/ledger.head",),
    "lab's blobs": ("lab/blobs/*/*",),
    "lab's keys": ("lab/*.key",),
    "agents' keys": (f"{NODE}/node.key", f"{UPDATE}/node.key"),
    "node's blobs": (f"{NODE}/blobs/*/*",),
    "node's models": (f"{NODE}/models/*/*",),
    "node's notes": (f"{NODE}/known_labs.json", f"{NODE}/labs/*.json"),
    "update's memory": (f"{UPDATE}/memory/*/*", f"{UPDATE}/memory/*/*/*", f"{UPDATE}/replay/*"),
    "update's grades": (f"{UPDATE}/memory/*/grades-*.json",),
    "update's blobs": (f"{UPDATE}/blobs/*/*", f"{UPDATE}/models/*/*"),
    "update's notes": (f"{UPDATE}/known_labs.json", f"{UPDATE}/labs/*.json", f"{UPDATE}/secrets/*"),
}
"""What a bit may lie in -> patterns of its files below the site's folder."""
OF_THE_LAB = (
    "ledger",
    "write-ahead file",
    "shared memory",
    "head file",
    "lab's blobs",
    "lab's keys",
)


@dataclass(frozen=True)
class Flip:
    """One bit."""

    part: str
    file: str
    offset: int
    bit: int

    def line(self) -> str:
        return f"bit {self.bit} of byte {self.offset} of {self.file}"

    def do(self, site: Path) -> None:
        """Flip it; file modes stay as they are."""
        path = site / self.file
        data = bytearray(path.read_bytes())
        data[self.offset] ^= 1 << self.bit
        mode = path.stat().st_mode
        path.chmod(0o600)
        path.write_bytes(data)
        path.chmod(mode)


def drawn(rng: random.Random, site: Path, parts: tuple[str, ...]) -> Flip:
    """A part, a file of it, a byte, a bit, each as likely as its like; empty files hold none."""
    while True:
        part = rng.choice(parts)
        files = sorted({path for pattern in PARTS[part] for path in site.glob(pattern)})
        files = [path for path in files if path.is_file() and path.stat().st_size]
        if files:
            path = rng.choice(files)
            name = str(path.relative_to(site))
            return Flip(part, name, rng.randrange(path.stat().st_size), rng.randrange(8))


def image(bench: Bench, how: str) -> Path:
    """The folder of the image; made at its first use, the same for all seeds of a campaign."""
    place = bench.folder / "images" / how
    if not place.exists():
        folder = bench.folder / "images" / f"{how} in the making"
        shutil.rmtree(folder, ignore_errors=True)
        _make(bench, folder, how)
        folder.rename(place)
    return place


def _make(bench: Bench, folder: Path, how: str) -> None:
    with world(bench, folder) as made:
        made.open()
        made.start_nodes([NODE], FAR)
        made.wait_while_it_moves(f"version {HALF_WAY}", LIMIT_S, HALF_WAY)
        for name in (NODE, UPDATE, "lab"):
            if how == "killed":
                made.kill(name)
            else:
                made.end(name, signal.SIGTERM)


def copied(site: Path, folder: Path) -> Path:
    """The image, somewhere else."""
    shutil.copytree(site, folder, symlinks=True)
    return folder
