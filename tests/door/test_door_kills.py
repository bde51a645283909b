"""Whatever a door was doing when it was killed, everything it had promised comes out as if nothing had happened."""

import asyncio
import hashlib
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel.door.bounds import Bounds
from open_door import POLL_S, Client, run, sampling, step, training, world
from ports import free_port
from toy_hands import STATE

Asked = tuple[str, dict[str, Any]]
BOUNDS = Bounds(poll_s=POLL_S, keep_steps=2)
NUM_MODELS = 2
NUM_KILLS = 25


def operations(model: str, rounds: int) -> list[Asked]:
    """Steps, with saves between them and a load that goes back behind some."""
    asked: list[Asked] = []
    for number in range(rounds):
        rate = 0.1 + number / 100
        asked += [
            ("forward_backward", training(model, 0, [number, 2, 3, 4])),
            ("forward_backward", training(model, 0, [5, number])),
            ("optim_step", step(model, 0, rate)),
        ]
        if number % 3 == 1:
            name = f"at-{number}"
            path = f"tinker://{model}/weights/{name}"
            asked += [
                ("save_weights", {"path": name}),
                ("save_weights_for_sampler", {"path": name}),
                ("forward_backward", training(model, 0, [7, number])),
                ("optim_step", step(model, 0, rate)),
                ("load_weights", {"path": path, "optimizer": number % 2 == 0}),
            ]
    asked.append(("save_weights", {"path": "end"}))
    return [
        (path, {**body, "model_id": model, "seq_id": seq})
        for seq, (path, body) in enumerate(asked, start=1)
    ]


def without_ids(told: Any, model: str) -> str:
    """An answer with its model's name taken out."""
    return json.dumps(told, sort_keys=True).replace(model, "MODEL")


def state_at_end(folder: Path, model: str) -> str:
    """Digest of what was saved last."""
    with sqlite3.connect(folder / "door.sqlite") as db:
        row = db.execute(
            "SELECT folder FROM checkpoints WHERE model = ? AND name = 'end'", (model,)
        ).fetchone()
    return hashlib.sha256((folder / "states" / row[0] / STATE).read_bytes()).hexdigest()


async def told_of(client: Client, asked: Sequence[Asked], model: str) -> list[str]:
    ids: list[str] = []
    for path, body in asked:
        if path == "load_weights":  # a path is known when its save has ended
            await client.end_of(ids[-1])
        ids.append((await client.post(path, body))["request_id"])
    return [without_ids(await client.end_of(each), model) for each in ids]


def test_a_door_killed_after_any_commit_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """A kill leaves what was committed and perhaps folders that no row names: both are copied between two commits."""
    live, copies = tmp_path / "live", []
    live.mkdir()

    def copy_of(number: int, key: str) -> None:
        place = tmp_path / f"copy-{number}"
        shutil.copytree(live, place, ignore=shutil.ignore_patterns("door.sqlite*"))
        with (
            sqlite3.connect(live / "door.sqlite") as source,
            sqlite3.connect(place / "door.sqlite") as target,
        ):
            source.backup(target)
        copies.append((place, key))

    truth: dict[str, Any] = {}

    async def undisturbed() -> None:
        async with world(live, bounds=BOUNDS) as one:
            client = await one.client()
            model = await client.model()
            asked = operations(model, 3)
            do, seen = one.door.means.journal.do, [0]

            async def counted(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                result = await do(act, *args, **kwargs)
                seen[0] += 1
                if act.__name__ in ("made", "loaded") or (seen[0] % 8 == 0 and len(copies) < 4):
                    copy_of(seen[0], client.key)
                return result

            one.door.means.journal.do = counted  # type: ignore[method-assign]
            told = await told_of(client, asked, model)
            truth.update(model=model, asked=asked, told=told, session=client.session)
        truth["state"] = state_at_end(live, model)

    run(undisturbed)
    assert len(copies) >= 4

    async def again(place: Path, key: str) -> None:
        async with world(place, bounds=BOUNDS) as one:
            client = Client(one.http, key, truth["session"])
            told = await told_of(client, truth["asked"], truth["model"])
            assert told == truth["told"]
            assert "came_out_differently" not in one.door.means.counts
        assert state_at_end(place, truth["model"]) == truth["state"]

    for place, key in copies:
        run(lambda place=place, key=key: again(place, key))  # type: ignore[misc]


def started(folder: Path, port: int, delay_s: float) -> "subprocess.Popen[bytes]":
    script = Path(__file__).parents[1] / "door_process.py"
    return subprocess.Popen([sys.executable, str(script), str(folder), str(port), str(delay_s)])


async def patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """As clients do: who does not answer is asked again."""
    for _ in range(600):
        try:
            return await ask()
        except httpx.TransportError:
            await asyncio.sleep(0.1)
    raise AssertionError("the door never came back")


@pytest.mark.slow
def test_a_door_killed_at_random_moments_loses_nothing_and_does_nothing_twice(
    tmp_path: Path,
) -> None:
    """Real processes, SIGKILL at moments that nobody chose; compared with a door that nobody disturbed."""
    told = {}
    for name, kills in (("calm", 0), ("killed", NUM_KILLS)):
        folder = tmp_path / name
        folder.mkdir()
        told[name] = asyncio.run(lived(folder, kills))
    assert told["calm"] == told["killed"]


async def lived(folder: Path, kills: int) -> list[Any]:
    port, chance = free_port(), random.Random(7)
    process = started(folder, port, 0.02)
    while not (folder / "key").exists():  # noqa: ASYNC110  a process of its own makes it
        await asyncio.sleep(0.05)
    end_s = time.monotonic() + 240

    async def client(number: int) -> list[Any]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20.0) as http:
            one = Client(http, (folder / "key").read_text())
            await patiently(one.begin)
            model = await patiently(lambda: one.model(0, seed=number))
            ids = []
            for path, body in operations(model, 12):
                if path == "load_weights":
                    await patiently(lambda: one.end_of(ids[-1]))
                ids.append(
                    (await patiently(lambda path=path, body=body: one.post(path, body)))[
                        "request_id"
                    ]
                )
                await asyncio.sleep(0.02)
            told = [
                without_ids(await patiently(lambda each=each: one.end_of(each)), model)
                for each in ids
            ]
            sampler = await patiently(
                lambda: one.sampler(0, f"tinker://{model}/sampler_weights/at-10")
            )
            for seq in range(5):
                body = sampling(sampler, seq, [1, 2])
                given = await patiently(lambda body=body: one.post("asample", body))
                told.append(await patiently(lambda given=given: one.end_of(given["request_id"])))
            return [told, state_at_end(folder, model)]

    async def disturbed() -> "subprocess.Popen[bytes]":
        last = process
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.3, 1.6))
            last.send_signal(signal.SIGKILL)
            last.wait()
            last = started(folder, port, 0.02)
        return last

    try:
        killing = asyncio.create_task(disturbed())
        async with asyncio.timeout(end_s - time.monotonic()):
            found = await asyncio.gather(*(client(number) for number in range(NUM_MODELS)))
        process = await killing
    finally:
        process.terminate()
        process.wait(30)
    return list(found)
