"""The crowds of a load, from outside: processes that are started, waited for and asked what they saw.

Law: what a crowd counted is looked up in the ledger; a receipt for nothing is an error, not a figure.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from archipel.bench.lab_crowd import CrowdJob
from archipel.bench.site import Site
from archipel.identity import Identity
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key

END_LIMIT_S = 120.0


@dataclass(frozen=True)
class LoadPlan:
    """How hard a lab is pressed."""

    entries_per_s: int = 300
    """Aim; half of them are grants, half are answers. Few nodes cannot reach it."""
    idle_s: float = 15.0
    warm_s: float = 10.0
    measured_s: float = 60.0
    wait_s: float = 30.0
    """Of a long poll."""
    work_s: float = 1.0
    crowds: int = 2
    is_next_asked: bool = True


class Lost(RuntimeError):
    """The lab gave a receipt for what its ledger does not hold."""


def check_counted(home: Path, indices: list[int]) -> None:
    """Every index is that of an answer in the ledger, and none was given twice."""
    if len(set(indices)) != len(indices):
        raise Lost("two answers have the same place in the ledger")
    key = lab_key(Identity.load(home / "lab.key").did)
    log = read_log(home / "ledger.sqlite", key, home / "ledger.head")
    try:
        wanted = set(indices)
        for index, entry in enumerate(log.entries()):
            if index in wanted and _kind(entry) == "work.answered":
                wanted.discard(index)
    finally:
        log.close()
    if wanted:
        raise Lost(f"{len(wanted)} receipts name no answer, for instance entry {min(wanted)}")


def _source(number: int) -> str:
    """An address of its own for each crowd, where the loopback network has more than one."""
    return f"127.0.0.{2 + number}" if sys.platform.startswith("linux") else ""


def _kind(entry: bytes) -> str:
    return str(json.loads(base64.b64decode(json.loads(entry)["record"]["payload"]))["kind"])


class Crowds:
    """The processes that stand for the nodes."""

    def __init__(
        self, site: Site, nodes: int, plan: LoadPlan, environment: Mapping[str, str]
    ) -> None:
        place, lab = urlsplit(site.url), site.get("/lab")["lab"]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._outs: list[Path] = []
        for number in range(min(plan.crowds, nodes)):
            out = site.folder / f"crowd-{number}.json"
            share = len(range(number, nodes, min(plan.crowds, nodes)))
            job = CrowdJob(
                str(place.hostname), int(place.port or 0), lab, share, number, plan.wait_s,
                plan.work_s, plan.is_next_asked, str(out), _source(number),
            )  # fmt: skip
            path = out.with_suffix(".job.json")
            path.write_text(json.dumps(asdict(job)))
            self._outs.append(out)
            self._processes.append(
                subprocess.Popen(  # noqa: S603  our own program, no shell
                    [sys.executable, "-m", "archipel.bench.lab_crowd", str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=dict(environment),
                )
            )

    def wait(self) -> None:
        """Until every node waits for work."""
        for process in self._processes:
            if process.stdout is None or process.stdout.readline() != b"waiting\n":
                raise Lost("a crowd ended before its nodes had joined")

    def end(self) -> list[dict[str, Any]]:
        """What each crowd saw."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            process.wait(END_LIMIT_S)
        return [json.loads(out.read_bytes()) for out in self._outs]

    def kill(self) -> None:
        """Whatever is left of them."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
