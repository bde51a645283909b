"""What a ledger of so many entries costs whoever keeps, verifies or is shown a part of it.

Verifying is the command itself (`archipel ledger verify FILE`), started as a process of its own: imports,
signatures, tree, fold, balances. Proofs are made from a mirror's files and checked as `check-proof` does, the
signed head included. What it does not show: entries that come over a network.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from archipel.bench.ledger_server import empty_schema
from archipel.identity import Identity
from archipel.ledger.location import open_log, read_log
from archipel.ledger.log import Log
from archipel.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from archipel.ledger.mirror import Mirror
from archipel.ledger.proof_file import proof_text, shown
from archipel.ledger.verification import lab_key

LIMIT_S = 3_600.0
COPY_GROUP = 1024
HASH_BYTES = 32


class NotVerified(RuntimeError):
    """The command did not find what it had to; what it said is the message."""


def verified(location: str, size: int) -> dict[str, Any]:
    """Seconds of `archipel ledger verify` over a ledger at rest, by the clock and of processors.

    Raises:
        NotVerified: it failed, or found another number of entries.
    """
    program = [sys.executable, "-P", "-m", "archipel.cli.archipel", "ledger", "verify", location]
    began, cpu = time.monotonic(), _children_s()
    done = subprocess.run(  # noqa: S603  this package's own command, no shell
        [*program, "--json"], capture_output=True, timeout=LIMIT_S, check=False
    )
    took, cpu = time.monotonic() - began, _children_s() - cpu
    if done.returncode:
        raise NotVerified(done.stderr.decode("utf-8", "replace").strip()[-500:])
    found = json.loads(done.stdout)["entries"]
    if found != size:
        raise NotVerified(f"{found} entries were verified, expected {size}")
    return {"entries": size, "wall_s": took, "cpu_s": cpu, "per_s": size / took}


def copied(home: Path, server: str, name: str, size: int) -> str:
    """The first `size` entries of the ledger in `home`, appended to a schema of their own; its location."""
    identity, location = Identity.load(home / "lab.key"), empty_schema(server, name)
    source = log_in(home)
    try:
        target = open_log(location, lab_key(identity.did).name, identity)
        try:
            for start in range(0, size, COPY_GROUP):
                target.append(source.read(start, min(COPY_GROUP, size - start)))
        finally:
            target.close()
    finally:
        source.close()
    return location


def log_in(home: Path) -> Log:
    """The ledger of a home, for reading."""
    did = Identity.load(home / "lab.key").did
    return read_log(home / "ledger.sqlite", lab_key(did), home / "ledger.head")


def proofs(home: Path, count: int, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Of `count` entries and `count` earlier sizes, drawn by `seed`: bytes of proofs, and microseconds to make and
    check one. The mirror in `home` is brought up to the ledger's newest head first.
    """
    key = lab_key(Identity.load(home / "lab.key").did)
    mirror, log = Mirror(home / "mirror", key), log_in(home)
    try:
        tell(f"a mirror of {log.size} entries is made")
        began = time.monotonic()
        mirror.extend(log.entries(mirror.size), log.head)
        mirrored_s = time.monotonic() - began
        draw = random.Random(seed)  # noqa: S311  nobody's secret
        places = [draw.randrange(log.size) for _ in range(count)]
        earlier = sorted(draw.randrange(1, log.size + 1) for _ in range(count))
        roots = dict(_roots(log, earlier))
        timing = _Timing()
        for index in places:
            _one_inclusion(mirror, index, timing)
        for size in earlier:
            _one_consistency(mirror, size, roots[size], timing)
        return {
            "entries": log.size,
            "ledger_bytes": (home / "ledger.sqlite").stat().st_size,
            "mirrored_s": mirrored_s,
            **timing.summary(),
        }
    finally:
        log.close()


class _Timing:
    """What was taken, by name: microseconds, or bytes."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}

    def call(self, name: str, do: Callable[[], Any]) -> Any:
        """What `do` gives; how long it took is remembered."""
        began = time.perf_counter()
        found = do()
        self.note(name, (time.perf_counter() - began) * 1e6)
        return found

    def note(self, name: str, value: float) -> None:
        """One more value."""
        self._taken.setdefault(name, []).append(value)

    def summary(self) -> dict[str, Any]:
        """Median, 99th percentile and largest of each."""
        return {
            name: {
                "median": statistics.median(values),
                "p99": sorted(values)[max(0, -(-99 * len(values) // 100) - 1)],
                "max": max(values),
            }
            for name, values in self._taken.items()
        }


def _one_inclusion(mirror: Mirror, index: int, timing: _Timing) -> None:
    head, entry = mirror.head, mirror.entry(index)
    if head is None:
        raise NotVerified("a mirror without a checkpoint")
    path = timing.call(
        "make_inclusion_us", lambda: inclusion_proof(index, head.size, mirror.nodes())
    )
    text = proof_text(index, path, head.note)
    timing.note("inclusion_bytes", len(path) * HASH_BYTES)
    timing.note("proof_file_bytes", len(text))
    leaf = leaf_hash(entry)
    timing.call("check_path_us", lambda: verify_inclusion(leaf, index, head.size, path, head.root))
    timing.call("check_inclusion_us", lambda: shown(text, entry, mirror.key))


def _one_consistency(mirror: Mirror, size: int, root: bytes, timing: _Timing) -> None:
    head = mirror.head
    if head is None:
        raise NotVerified("a mirror without a checkpoint")
    proof = timing.call(
        "make_consistency_us", lambda: consistency_proof(size, head.size, mirror.nodes())
    )
    timing.note("consistency_bytes", len(proof) * HASH_BYTES)
    timing.call(
        "check_consistency_us",
        lambda: verify_consistency(size, head.size, root, head.root, proof),
    )


def _roots(log: Log, sizes: list[int]) -> Iterator[tuple[int, bytes]]:
    """Roots of the first so many entries, for ascending sizes."""
    leaves, frontier = log.leaf_hashes(), Frontier()
    for size in sizes:
        frontier = frontier.extended(leaves[frontier.size : size])
        yield size, frontier.root()


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
