"""`archipel lab status`: how a lab of this machine stands, whether it runs or not."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LabUrl, Mendable, home_folder, mending, show
from archipel.cli.lab_backup import HOME, JSON
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.cli.mirror_words import mirror_lines
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.node.client import LabReader

PAGE = 1000
MAX_ROWS = 100_000
LEDGER = "ledger.sqlite"


@click.command()
@HOME
@click.option(
    "--lab", "url", metavar="URL", type=LabUrl(), help="Where it answers [as HOME/url says]."
)
@click.option(
    "--check",
    is_flag=True,
    help="Ask only whether it can go on, as the health check of a container does.",
)
@JSON
@click.pass_context
def status(
    context: click.Context, home: Path | None, url: str | None, check: bool, as_json: bool
) -> None:
    """How a lab stands: does it answer, does it lead, runs and what they wait for, nodes, disk, head, snapshot.

    Exit code 1: it does not answer, or cannot go on.

    \b
    Examples:
      archipel lab status
      archipel lab status --home /srv/lab --json
      archipel lab status --check
    """
    from archipel.node.exchange import LabRefused

    home = home_folder("lab", home, make=False)
    if not home.is_dir():
        raise Mendable(f"there is no lab at {home}; name another with --home")
    with mending(OSError, LabRefused):
        if url is None and (home / "url").is_file():
            url = (home / "url").read_text("utf-8").strip()
        live = asyncio.run(_asked(url, check)) if url else {"phase": "not running"}
        facts = {"home": os.fspath(home), "url": url, **live}
        if not check:
            facts |= {"disk": _disk(home), **_ledger(home), "mirrors": _mirrors(home)}
    show(facts, as_json, lambda: "\n".join(_lines(facts)))
    context.exit(0 if facts["phase"] in ("running", "follows") else 1)


async def _asked(url: str, is_check: bool) -> dict[str, Any]:
    """What the lab itself says; of a check, whether it can go on."""
    from archipel.cli.run_words import OVER
    from archipel.node.client import LabReader
    from archipel.node.exchange import DOCUMENT, LabUnreachable

    async with LabReader(url) as lab:
        try:
            leader = await _leader(lab)
            if not leader.get("leads", True) and leader["place"]:
                return {"phase": "follows", "leader": leader}
            await lab.get_bytes("/healthz", DOCUMENT)
            if is_check:
                return {"phase": "running"}
            facts = await lab.get("/lab")
            runs, nodes = await _all(lab, "/runs"), await _all(lab, "/nodes")
            everybody = await _all(lab, "/nodes", all="1")
            waits = await lab.get("/waits")
        except LabUnreachable as error:
            is_there = "status 503" in str(error)
            return {"phase": "cannot go on" if is_there else "not running", "failure": str(error)}
    phases = [run["phase"] for run in runs]
    return {
        "phase": "running",
        "leader": leader,
        "lab": facts["lab"],
        "software": facts["software"],
        "runs": {phase: phases.count(phase) for phase in sorted(set(phases))},
        "open_runs": [_run(run, waits) for run in runs if run["phase"] not in OVER],
        "nodes": {
            "present": len(nodes),
            "gone": max(len(everybody) - len(nodes), 0),
            "expired_leases": sum(node["expired"] for node in everybody),
        },
    }


async def _leader(lab: "LabReader") -> dict[str, Any]:
    """Who leads; empty at a lab of a release that does not say."""
    from archipel.node.exchange import LabRefused

    try:
        return dict(await lab.get("/leader"))
    except LabRefused:
        return {}


def _run(run: dict[str, Any], waits: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("run", "phase", "version", "versions", "reward")
    waiting = [wait["waiting_for"] for wait in waits if wait["run"] == run["run"]]
    return {key: run[key] for key in keys} | {"waiting_for": waiting}


async def _all(lab: "LabReader", path: str, **query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while len(rows) < MAX_ROWS:
        page = await lab.get(path, start=len(rows), limit=PAGE, **query)
        rows += page
        if len(page) < PAGE:
            break
    return rows


def _disk(home: Path) -> dict[str, int]:
    """Bytes: what the lab takes, and what is left for it."""
    ledger = sum(path.stat().st_size for path in home.glob(LEDGER + "*"))
    blobs = 0
    for folder, _, names in os.walk(home / "blobs"):
        for name in names:
            try:
                blobs += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # swept meanwhile
                continue
    return {"ledger_bytes": ledger, "blob_bytes": blobs, "free_bytes": shutil.disk_usage(home).free}


def _mirrors(home: Path) -> list[dict[str, Any]]:
    """Of other labs, and how those stand."""
    from archipel.cli.mirroring import Mirrors
    from archipel.lab.mirrors.seen_files import mirrors_in

    return [
        view.model_dump(exclude={"head", "cosigned"}) for view in mirrors_in(home / Mirrors.FOLDER)
    ]


def _ledger(home: Path) -> dict[str, Any]:
    """The newest head and snapshot, as the files of this machine say."""
    from archipel.cli.ledger_checked import lab_of
    from archipel.identity import IdentityError
    from archipel.lab.recovery import newest_snapshot
    from archipel.ledger.location import read_log
    from archipel.ledger.storage import LedgerError
    from archipel.ledger.verification import lab_key

    place = home / LEDGER
    try:
        log = read_log(place, lab_key(lab_of(place)), home / HEAD_FILE)
    except (LedgerError, IdentityError, ValueError) as error:
        return {"entries": None, "head": None, "snapshot_of": None, "ledger_fault": str(error)}
    try:
        taken = newest_snapshot(log)
        snapshot = None if taken is None else taken.size
        return {"entries": log.size, "head": log.head.note.decode(), "snapshot_of": snapshot}
    finally:
        log.close()


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"lab at {facts['url'] or 'no address'}: {facts['phase']}; home {facts['home']}"
    leader = facts.get("leader") or {}
    if leader.get("term") is not None:
        whose = "this lab" if leader["leads"] else f"the lab at {leader['place']}"
        yield f"leader: {whose}, under term {leader['term']}"
    if "failure" in facts:
        yield f"failure: {facts['failure']}"
    if "runs" in facts:
        told = ", ".join(f"{num} {phase}" for phase, num in facts["runs"].items())
        yield f"runs: {told or 'none'}"
    for run in facts.get("open_runs", ()):
        yield f"  {run['run']}: {run['phase']}, version {run['version']} of {run['versions']}"
        yield from (f"    waiting: {each}" for each in run["waiting_for"])
    if "nodes" in facts:
        nodes = facts["nodes"]
        yield (
            f"nodes: {nodes['present']} present, {nodes['gone']} gone, "
            f"{counted(nodes['expired_leases'], 'lease')} ran out"
        )
    if "disk" not in facts:
        return
    disk = {name: size / 2**20 for name, size in facts["disk"].items()}
    yield (
        f"disk: ledger {disk['ledger_bytes']:.1f} MiB, blobs {disk['blob_bytes']:.1f} MiB, "
        f"free {disk['free_bytes']:.0f} MiB"
    )
    yield from mirror_lines(facts.get("mirrors", ()))
    if "ledger_fault" in facts:
        yield f"ledger: {facts['ledger_fault']}"
        return
    since = "none yet" if facts["snapshot_of"] is None else f"of entry {facts['snapshot_of']}"
    yield f"ledger: {counted(facts['entries'], 'entry', 'entries')}, newest snapshot {since}; head as signed:"
    yield str(facts["head"]).rstrip()
