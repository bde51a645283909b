"""Kind `training door`: two tenants train at a door whose hands are toys; every promise is kept, and kept once."""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from faults.doors import ODDS, DoorProcess, calm_answers, patiently
from faults.watching import heir_of_orphans, orphans_but
from faults.worlds import Bench, Told
from open_door import Client, sampling, step, training
from toy_hands import STATE

UNHEARING = {what: odds for what, odds in ODDS.items() if what != "int"}
"""The program of these tests hears no Ctrl-C while it loads."""
ROUNDS = 10
TENANTS = 2
TELLS = "door_process"
REQUEST_S = 6.0
DELAY_S = "0.02"
Asked = tuple[str, dict[str, Any]]


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """Up to 50 faults over the process, and 20 spoilt connections."""
    calm = bench.folder / "calm-training-door"
    expected = calm_answers(calm, lambda: lived(calm, "", beset=False)[:2])
    told, wrong, door = lived(folder, f"training door {seed}", beset=True)
    differing = sum(a != b for mine, other in zip(told, expected, strict=False) for a, b in zip(mine, other, strict=False))  # fmt: skip
    if told and told != expected:
        wrong = [*wrong, f"{differing} of its answers are other than an undisturbed door's"]
    hits = door.all_hits()
    notes = ", ".join(f"{count} {what}" for what, count in sorted(hits.items()))
    return Told(wrong, sum(hits.values()), notes, hits)


def lived(folder: Path, seed: str, *, beset: bool) -> tuple[list[Any], list[str], DoorProcess]:
    """(what the tenants were told, what is wrong, the door that was)."""
    with heir_of_orphans() as known:
        door = DoorProcess("training door", folder, seed, UNHEARING)
        told: list[Any] = []
        try:
            door.network.open()
            if not beset:
                door.network.calm()
            told = asyncio.run(_story(door, beset=beset))
        except (TimeoutError, AssertionError) as error:
            door.wrong.append(f"a tenant gave up: {type(error).__name__} {error!s:.300}")
        finally:
            door.close()
        left = [f"left behind: {each}" for each in orphans_but(known)]
    return told, [*door.wrong, *door.traceback(), *left], door


async def _story(door: DoorProcess, *, beset: bool) -> list[Any]:
    place = door.folder / "door"
    place.mkdir()
    door.start("-m", TELLS, str(place), str(door.port), DELAY_S)
    async with asyncio.timeout(60):
        while not (place / "key").exists():  # noqa: ASYNC110  a process of its own makes it
            await asyncio.sleep(0.05)
    key = (place / "key").read_text()
    tenants = asyncio.gather(*(_tenant(door, place, key, number) for number in range(TENANTS)))
    if beset:
        await door.beset(tenants.done)
    watching = asyncio.create_task(door.revived_until(tenants.done))
    try:
        told = list(await tenants)
    finally:
        watching.cancel()
    await door.end("term")
    return told


class Patient(Client):
    """A client that asks again."""

    tell: Callable[[str], None]

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        asked = super().ask
        return await patiently(lambda: asked(method, path, body, **headers), self.tell)


async def _tenant(door: DoorProcess, place: Path, key: str, number: int) -> list[str]:
    async with httpx.AsyncClient(base_url=door.network.url, timeout=REQUEST_S) as http:
        one = Patient(http, key)
        one.tell = door.wrong.append
        await one.begin()
        model = await one.model(0, seed=number)
        ids: list[str] = []
        for path, body in operations(model):
            if path == "load_weights":  # a path is known once its save has ended
                await one.end_of(ids[-1])
            ids.append((await one.post(path, body))["request_id"])
        told = [_plain(await one.end_of(each), model) for each in ids]
        sampler = await one.sampler(0, f"tinker://{model}/sampler_weights/at-1")
        for seq in range(5):
            given = await one.post("asample", sampling(sampler, seq, [1, 2]))
            told.append(_plain(await one.end_of(given["request_id"]), model))
        return [*told, _state_at_end(place, model)]


def operations(model: str) -> list[Asked]:
    """Steps, with saves between them and loads that go back behind some."""
    asked: list[Asked] = []
    for number in range(ROUNDS):
        asked += [
            ("forward_backward", training(model, 0, [number, 2, 3, 4])),
            ("optim_step", step(model, 0, 0.1 + number / 100)),
        ]
        if number % 3 == 1:
            name = f"at-{number}"
            asked += [
                ("save_weights", {"path": name}),
                ("save_weights_for_sampler", {"path": name}),
                ("forward_backward", training(model, 0, [7, number])),
                ("load_weights", {"path": f"tinker://{model}/weights/{name}", "optimizer": True}),
            ]
    asked.append(("save_weights", {"path": "end"}))
    return [
        (path, {**body, "model_id": model, "seq_id": seq})
        for seq, (path, body) in enumerate(asked, start=1)
    ]


def _plain(told: Any, model: str) -> str:
    return json.dumps(told, sort_keys=True).replace(model, "MODEL")


def _state_at_end(place: Path, model: str) -> str:
    """Digest of what was saved last."""
    with sqlite3.connect(place / "door.sqlite") as db:
        query = "SELECT folder FROM checkpoints WHERE model = ? AND name = 'end'"
        row = db.execute(query, (model,)).fetchone()
    return hashlib.sha256((place / "states" / row[0] / STATE).read_bytes()).hexdigest()
