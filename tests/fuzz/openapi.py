"""`make fuzz`, its HTTP side: schemathesis drives every operation that a lab describes, against a lab at work.

The lab is a real one behind a real socket, with a run in every state, nodes, leases, versions and blobs.
Every method, parameter, header and body is drawn from the lab's own description, sound and unsound; half
of the time what is sent is really signed, and names what is really there (`fuzz.signing`). An answer fails
that is a 5xx, or has a status, type, shape or header that the description does not name; a method that a
path does not know must be told by 405 what it does know. The same seed draws the same requests.
"""

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from archipel.lab.doorman import DoorLimits, Rate
from archipel.records.statements import NodeLeft
from fuzz.signing import THERE
from live import live
from world import World

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "negative_data_rejection"),
    *("missing_required_header", "unsupported_method", "allow_header_conformance"),
)
"""Left out: those of logins and of things that are made and removed by name, which a lab does not have;
and that sound data is accepted, which no schema can say of a signed statement."""
BODIES = (
    "--mode",
    "positive",
    "--phases",
    "fuzzing",
    "--include-path-regex",
    "^/(records|leases|blobs)",
)
"""A second pass: what is sent is signed, and comes further than the door."""
REQUEST_LIMIT_S = 20
"""An answer that is not here by then is a hang."""
SESSION_LIMIT_S = 3600
OPEN_DOOR = DoorLimits(
    per_key=Rate(1e9, 1e9),
    idle_per_key=Rate(1e9, 1e9),
    idle_per_address=Rate(1e9, 1e9),
    joins_per_address=Rate(1e9, 1e9),
)
"""Who is turned away at the door meets nothing behind it; the doorman has tests of his own."""


@dataclass(frozen=True)
class Outcome:
    """What a campaign gave."""

    num_requests: int
    num_entries: int
    """Statements of which the ledger took a record."""
    num_blobs: int
    """That were taken in."""
    is_clean: bool
    told: str
    """By the tool."""


def world_at_work(folder: Path) -> World:
    """Runs that go on, are complete and are stopped; nodes that work, wait and have left."""
    world = World(folder)
    learner = world.started(versions=3)
    nodes = [world.provider(f"node {number}") for number in range(3)]
    for _ in range(6):
        for node in nodes:
            granted = node.ask()
            if granted is not None:
                node.answer(granted)
        learner.work()
    world.open_run("stopped")
    world.stop_run("stopped")
    world.open_run("open")
    for _ in range(2):
        learner.work()
    for node in nodes[:2]:
        node.ask()
    world.provider("gone").leave()
    return world


def campaign(folder: Path, seed: int, examples: int, *options: str) -> Outcome:
    """Drive a lab in `folder` with so many requests per operation and phase."""
    world = world_at_work(folder / "lab")
    try:
        return world.await_(
            _driven(world, folder, ("--seed", str(seed), "-n", str(examples), *options))
        )
    finally:
        world.close()


async def _driven(world: World, folder: Path, options: tuple[str, ...]) -> Outcome:
    report = folder / "report.json"
    entries, blobs = world.state.size, len(world.blobs.digests())
    there = {
        "lab": world.state.lab,
        "runs": list(world.state.runs),
        "nodes": list(world.state.nodes),
        "blobs": world.blobs.digests(),
        "works": list(world.state.leases),
        "seq": world.statement(world.operator, NodeLeft).seq,
    }
    (folder / THERE).write_text(json.dumps(there))
    async with live(world, limits=OPEN_DOOR) as url:
        command = (
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--request-timeout", str(REQUEST_LIMIT_S)),
            *("--report", "json", "--report-json-path", str(report), "--no-color"),
            *("--warnings", "off", "--continue-on-failure", *options),
        )
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=_environment(folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(SESSION_LIMIT_S):
                told, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        is_up = world.lab.failure is None
    world.check_replay()
    known = json.loads(report.read_bytes()) if report.is_file() else {}
    num = known.get("test_cases", {}).get("generated", 0)
    return Outcome(
        num_requests=num,
        num_entries=world.state.size - entries,
        num_blobs=len(world.blobs.digests()) - blobs,
        is_clean=process.returncode == 0 and is_up,
        told=told.decode("utf-8", "replace"),
    )


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of whoever calls: no proxy, no settings."""
    path = os.pathsep.join(each for each in sys.path if each)
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": path,
        "SCHEMATHESIS_HOOKS": "fuzz.signing",
    }


@click.command()
@click.option(
    "--requests",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Drawn per operation and phase; 0: none at all.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def session(requests: int, seed: int) -> None:
    """Drive a lab by its own description: first all of it, then what takes signed bodies."""
    failed = False
    for name, options in (("all", ()), ("signed", BODIES)) if requests else ():
        with tempfile.TemporaryDirectory() as folder:
            outcome = campaign(Path(folder), seed, requests, *options)
        click.echo(
            f"the lab's description, {name}, seed {seed}: {outcome.num_requests} requests, "
            f"{outcome.num_entries} entries and {outcome.num_blobs} blobs taken in, "
            f"{'no failure' if outcome.is_clean else 'failures:'}"
        )
        if not outcome.is_clean:
            failed = True
            click.echo(outcome.told)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    session()
