"""`make fuzz`, its HTTP side: schemathesis drives every operation that a door describes, against a door at work.

The lab is a real one behind a real socket, with a run in every state, nodes, leases, versions and blobs.
Every method, parameter, header and body is drawn from the lab's own description, sound and unsound; half
of the time what is sent is really signed, and names what is really there (`fuzz.signing`). An answer fails
that is a 5xx, or has a status, type, shape or header that the description does not name; a method that a
path does not know must be told by 405 what it does know. The same seed draws the same requests.

All other doors are driven alike (`fuzz.doors`); those that describe nothing, by descriptions of ours, where a
5xx, a hang and whatever they log of a defect are looked for.
"""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from archipel.lab.doorman import DoorLimits, Rate
from archipel.records.statements import NodeLeft
from fuzz.at_work import NO_DEFECT, OWN_FORM
from fuzz.doors import DOORS, Opened
from fuzz.driving import Drive, driven
from fuzz.logged import defects_logged
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
ENDED_EARLY = 130
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
    is_clean: bool
    told: str
    """By the tool, and by the door's log."""
    num_entries: int = 0
    """Statements of which a lab's ledger took a record."""
    num_blobs: int = 0
    """That a lab took in."""


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
    entries, blobs = world.state.size, len(world.blobs.digests())
    there = {
        "lab": world.state.lab,
        "runs": list(world.state.runs),
        "nodes": list(world.state.nodes),
        "blobs": world.blobs.digests(),
        "works": list(world.state.leases),
        "seq": world.statement(world.operator, NodeLeft).seq,
    }
    with defects_logged() as logged:
        async with live(world, limits=OPEN_DOOR) as url:
            drive = Drive(url, CHECKS, "fuzz.signing", there)
            found = await driven(drive, folder, options)
            is_up = world.lab.failure is None
    world.check_replay()
    return Outcome(
        num_requests=found.num_requests,
        is_clean=found.is_clean and is_up and not logged,
        told="\n".join([found.told, *logged]),
        num_entries=world.state.size - entries,
        num_blobs=len(world.blobs.digests()) - blobs,
    )


def door_campaign(name: str, folder: Path, seed: int, examples: int, *options: str) -> Outcome:
    """Drive another door in `folder` with so many requests per operation and phase."""
    words = ("--seed", str(seed), "-n", str(examples), *options)
    (folder / "door").mkdir()
    return asyncio.run(_driven_door(DOORS[name], folder, words))


async def _driven_door(opened: Opened, folder: Path, options: tuple[str, ...]) -> Outcome:
    with defects_logged() as logged:
        async with opened(folder / "door") as door:
            drive = Drive(
                door.url,
                OWN_FORM if door.describes_itself else NO_DEFECT,
                "fuzz.naming",
                door.there,
                None if door.describes_itself else door.description,
                door.headers,
                door.full,
            )
            found = await driven(drive, folder, options)
    wrong = [f"not described, so not fuzzed: {each}" for each in sorted(door.forgotten)]
    wrong += [f"in the door's log: {each}" for each in logged]
    is_clean = found.is_clean and not wrong
    return Outcome(found.num_requests, is_clean, "\n".join([found.told, *wrong]))


PASSES: Mapping[str, tuple[str, ...]] = {"lab": (), "lab, signed": BODIES}
"""Of the lab's own description: first all of it, then what takes signed bodies."""


def _campaign(name: str, folder: Path, seed: int, examples: int) -> Outcome:
    if name in PASSES:
        return campaign(folder, seed, examples, *PASSES[name])
    return door_campaign(name, folder, seed, examples)


def _line(name: str, seed: int, outcome: Outcome) -> str:
    taken = f", {outcome.num_entries} entries and {outcome.num_blobs} blobs taken in"
    return (
        f"{name}, seed {seed}: {outcome.num_requests} requests"
        f"{taken if name in PASSES else ''}, {'no failure' if outcome.is_clean else 'failures'}"
    )


@click.command()
@click.option(
    "--requests",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Drawn per operation and phase; 0: none at all.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="First seed.")
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="So many, one after the other.",
)
@click.option(
    "--door",
    "doors",
    multiple=True,
    type=click.Choice([*PASSES, *DOORS]),
    help="One door; repeatable. All, if none is named.",
)
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def session(requests: int, seed: int, seeds: int, doors: tuple[str, ...], is_json: bool) -> None:
    """Drive every door, or some, by its description."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    rows: list[dict[str, Any]] = []
    code = 0
    chosen = [
        (name, each) for each in range(seed, seed + seeds) for name in doors or (*PASSES, *DOORS)
    ]
    try:
        for name, each in chosen if requests else ():
            click.echo(f"{name}, seed {each} ...", err=True)
            with tempfile.TemporaryDirectory() as folder:
                outcome = _campaign(name, Path(folder), each, requests)
            rows.append({"door": name, "seed": each} | asdict(outcome))
            if not is_json:
                click.echo(_line(name, each, outcome))
                click.echo("" if outcome.is_clean else outcome.told, nl=not outcome.is_clean)
    except KeyboardInterrupt:
        code = ENDED_EARLY
        click.echo("stopped; what is known so far:" if is_json else "stopped", err=True)
    if is_json:
        click.echo(json.dumps(rows, indent=1))
    sys.exit(code or (0 if all(row["is_clean"] for row in rows) else 1))


if __name__ == "__main__":
    session()
