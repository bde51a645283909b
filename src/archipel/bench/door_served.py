"""The door of `bench door`, inside: served on loopback, and its hands called directly when the parent says so.

A line of JSON in, a line of JSON out: `steps` 0 asks alone for the process's own clock, and for the passes that it has made.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from archipel.bench.door_http import NAME
from archipel.bench.door_side import SideFailed, say
from archipel.bench.door_work import Step, Work, config_of, form_of, operations_of
from archipel.door.accounts import Accounts
from archipel.door.door import Door, wall_ms
from archipel.door.hands import ModelForm, Turn
from archipel.door.http.app import make_app
from archipel.door.keys import USUAL
from archipel.door.local.fitting import Limits
from archipel.door.local.hands import LocalHands
from archipel.door.local.opening import open_hands
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.serve.server import DoorServer, Ending, listening
from archipel.training.tenants.operations import Refused

LIMITS = Limits(max_cache_bytes=2**28, max_adapter_bytes=2**26)
"""Nobody samples here."""


def main(said: str) -> None:
    """Load, then serve until there are no more lines."""
    asked = json.loads(said)
    folder, work = Path(asked["folder"]), Work(**asked["work"])
    torch.set_num_threads(work.threads)
    config = config_of(work.model)
    write_model(folder / "model", random_weights(config, 0), config)
    hands = open_hands(folder / "model", (NAME,), LIMITS)
    try:
        asyncio.run(_served(hands, folder, work))
    finally:
        hands.close()


async def _served(hands: LocalHands, folder: Path, work: Work) -> None:
    place = folder / "door"
    place.mkdir()
    accounts, listener = Accounts(place), listening("127.0.0.1", 0)
    numbers = range(work.tenants)
    keys = [accounts.keys.make(f"tenant-{each}", USUAL, wall_ms(), None) for each in numbers]
    door = Door(hands, place, accounts)
    await door.start()
    server = DoorServer(make_app(door), Ending(within_s=1.0, cut=door.cut), is_loopback=True)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        for number in numbers:
            await hands.create(_own(number), ModelForm(NAME, form_of(work.rank), number))
        await _direct(hands, work, {"tenants": work.tenants, "first": 0, "steps": 1, "length": 32})
        say({"address": f"http://127.0.0.1:{listener.getsockname()[1]}", "keys": keys})
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(await _direct(hands, work, json.loads(line)))
    finally:
        server.should_exit = True
        await serving
        await door.stop(5.0)
        accounts.close()
        listener.close()


def _own(number: int) -> str:
    """A model that the door knows nothing of."""
    return f"direct-{number}"


async def _direct(hands: LocalHands, work: Work, asked: Mapping[str, Any]) -> dict[str, float]:
    """So many steps of so many tenants, each waiting for its own alone."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    if asked["steps"]:
        numbers = range(asked["first"], asked["first"] + asked["steps"])
        steps = [Step(number, asked["length"]) for number in numbers]
        tenants = range(asked["tenants"])
        await asyncio.gather(*(_trained(hands, work, tenant, steps) for tenant in tenants))
    cpu_s = time.process_time()
    return {
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": cpu_s - began_cpu_s,
        "clock_s": cpu_s,
        "passes": hands.counts["passes"],
    }


async def _trained(hands: LocalHands, work: Work, tenant: int, steps: Sequence[Step]) -> None:
    for step in steps:
        operations = operations_of(work, tenant, step)
        done = await hands.train(Turn(_own(tenant), f"direct-{tenant}", 1, operations))
        for outcome in done.outcomes:
            if isinstance(outcome, Refused):
                raise SideFailed(f"a turn was refused: {outcome.reason}")


if __name__ == "__main__":
    main(sys.argv[1])
