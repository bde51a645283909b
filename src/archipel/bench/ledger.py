"""What a ledger bears: signed records appended, entries verified, proofs, on SQLite and PostgreSQL, and how each grows.

Parts: `ledger_append`, `ledger_growth`, `ledger_server`; `ledger_report` (tables and curves). Every step is kept as it
ends (`tasks`). What it does not show: records over HTTP, which `bench lab` measures.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipel.bench.kept import Asked, Kept
from archipel.bench.lab_filler import grown
from archipel.bench.ledger_append import WAYS, Crowd, append, crowd_of
from archipel.bench.ledger_growth import copied, proofs, verified
from archipel.bench.ledger_server import NoServer, empty_schema, postgres_server
from archipel.bench.tasks import Task, Tell, carry_out, rows_of
from archipel.lab.examining import num_cores

SQLITE, POSTGRES = "sqlite", "postgres"
STORAGES = (SQLITE, POSTGRES)
NODES = 1000
"""Of the lab whose ledger grows; fewer in a small one."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    entries: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Sizes at which a ledger is verified and shown in part."""
    records: int = 12_000
    """Of one flow."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Flows of each way, one after the other; the first draws what proofs are made of."""
    proofs: int = 300
    """Of each kind, at each size."""
    storages: tuple[str, ...] = STORAGES
    postgres_entries: int = 100_000
    """Larger ledgers are verified on SQLite alone: copying a million takes longer than it tells."""


QUICK = Plan(entries=(1_000, 5_000), records=6_000, seeds=(0, 1), proofs=50, postgres_entries=1_000)


class Bench:
    """One plan in one folder."""

    def __init__(self, plan: Plan, folder: Path, tell: Tell) -> None:
        """Raises NotOurs where the folder holds another's steps."""
        self._plan, self._folder, self._tell = plan, folder, tell
        self._kept = Kept(folder)
        self._server: str | None = None
        self.limits: list[str] = []
        """What could not be measured here, and why."""

    def measure(self) -> None:
        """Every step that is missing."""
        with ExitStack() as stack:
            if POSTGRES in self._plan.storages:
                try:
                    self._server = stack.enter_context(postgres_server(durable=True))
                except NoServer as error:
                    self.limits.append(f"PostgreSQL: {error}")
                    self._tell(f"without PostgreSQL: {error}")
            try:
                carry_out(self._tasks(), self._kept, self._tell)
            finally:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def rows(self) -> list[dict[str, Any]]:
        """What was found so far."""
        return rows_of(self._tasks(every=True), self._kept)

    @property
    def _scratch(self) -> Path:
        return self._folder / "scratch"

    def _tasks(self, *, every: bool = False) -> list[Task]:
        """every: also those of a server that is not here, which another time was."""
        is_here = every or self._server is not None
        storages = [each for each in self._plan.storages if each == SQLITE or is_here]
        flows = [self._flow(seed, storages) for seed in self._plan.seeds] if storages else []
        sizes = tuple(
            self._size(kind, size, POSTGRES in storages)
            for size in sorted(self._plan.entries)
            for kind in ("proofs", SQLITE, POSTGRES)
        )
        found = tuple(step for step in sizes if step is not None)
        growth = Task("a ledger grows", found, self._grow)
        return [*flows, growth] if found else flows

    def _flow(self, seed: int, storages: Sequence[str]) -> Task:
        steps = tuple(
            {
                "kind": "append", "way": way, "storage": storage, "seed": seed,
                "records": self._plan.records, "cores": num_cores(),
            }
            for storage in storages
            for way in WAYS
        )  # fmt: skip
        return Task(f"{self._plan.records} signed records", steps, self._pour)

    def _size(self, kind: str, size: int, with_postgres: bool) -> dict[str, Any] | None:
        if kind == "proofs":
            return {
                "kind": kind, "entries": size, "count": self._plan.proofs, "seed": self._plan.seeds[0],
            }  # fmt: skip
        is_left_out = kind == POSTGRES and not (
            with_postgres and size <= self._plan.postgres_entries
        )
        if is_left_out or kind not in self._plan.storages:
            return None
        return {"kind": "verify", "storage": kind, "entries": size, "cores": num_cores()}

    def _pour(self, steps: Sequence[Asked]) -> Iterator[list[dict[str, Any]]]:
        crowd: Crowd | None = None
        for number, step in enumerate(steps):
            if crowd is None:
                self._tell(f"{step['records']} records are signed")
                crowd = crowd_of(step["records"])
            with self._place(
                step["storage"], f"flow{os.getpid()}x{step['seed']}x{number}"
            ) as where:
                found = append(crowd, step["way"], where)
            yield [{**step, **asdict(found), **_load()}]

    @contextmanager
    def _place(self, storage: str, name: str) -> Iterator[str]:
        """Where a new log has room while the block lasts."""
        folder = self._scratch / name
        folder.mkdir(parents=True)
        try:
            is_file = storage == SQLITE
            yield (
                str(folder / "ledger.sqlite") if is_file else empty_schema(str(self._server), name)
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _grow(self, steps: Sequence[Asked]) -> Iterable[list[dict[str, Any]]]:
        home = self._scratch / "lab"
        shutil.rmtree(home, ignore_errors=True)
        sizes = sorted({step["entries"] for step in steps})
        growing = grown(home, sizes, max(1, min(NODES, sizes[0] // 8)), self._tell)
        for size, num_entries in zip(sizes, growing, strict=True):
            for step in (each for each in steps if each["entries"] == size):
                self._tell(f"{size} entries: {step['kind']} {step.get('storage', '')}")
                yield [{**step, **self._of_size(step, home, num_entries), **_load()}]

    def _of_size(self, step: Asked, home: Path, size: int) -> dict[str, Any]:
        if step["kind"] == "proofs":
            return proofs(home, step["count"], step["seed"], self._tell)
        if step["storage"] == SQLITE:
            return verified(str(home / "ledger.sqlite"), size)
        name = f"grown{os.getpid()}x{size}"
        return verified(copied(home, str(self._server), name, size), size)


def _load() -> dict[str, float]:
    return {"machine_load": os.getloadavg()[0]}
