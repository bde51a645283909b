"""Kind `model's door`: a served model is asked the same questions; its answers and its receipts bear everything."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from archipel.market.receipts import BadReceipt, Chain
from archipel.serve.meter_file import RECEIPTS
from faults.doors import SLOW_TO_START, DoorProcess, calm_answers, patiently
from faults.watching import heir_of_orphans, orphans_but
from faults.worlds import Bench, Told
from serve.served_models import tiny_model

QUESTIONS = 150
ASKERS = 3
REQUEST_S = 15.0
START_S = 240.0


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """Up to 50 faults over the process, and 20 spoilt connections."""
    calm = bench.folder / "calm-model-door"
    expected = calm_answers(calm, lambda: lived(calm, "", beset=False)[:2])
    told, wrong, door = lived(folder, f"model's door {seed}", beset=True)
    if told and told != expected:
        differing = sum(a != b for a, b in zip(told, expected, strict=True))
        wrong = [*wrong, f"{differing} of its answers are other than an undisturbed door's"]
    hits = door.all_hits()
    notes = ", ".join(f"{count} {what}" for what, count in sorted(hits.items()))
    return Told([*wrong, *receipts(folder / "meter")], sum(hits.values()), notes, hits)


def receipts(meter: Path) -> list[str]:
    """The chain of receipts is one, each after the one before."""
    chain = Chain()
    try:
        for line in (meter / RECEIPTS).read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                chain.take(line[:-1])
    except BadReceipt as error:
        return [f"its receipts are no chain: {error}"]
    return [] if chain.newest is not None else ["it wrote no receipt"]


def lived(folder: Path, seed: str, *, beset: bool) -> tuple[list[str], list[str], DoorProcess]:
    """(its answers, what is wrong, the door that was)."""
    with heir_of_orphans() as known:
        door = DoorProcess("model's door", folder, seed, SLOW_TO_START)
        told: list[str] = []
        try:
            door.network.open()
            if not beset:
                door.network.calm()
            told = asyncio.run(_story(door, beset=beset))
        except (TimeoutError, AssertionError) as error:
            door.wrong.append(f"an asker gave up: {type(error).__name__} {error!s:.300}")
        finally:
            door.close()
        left = [f"left behind: {each}" for each in orphans_but(known)]
    return told, [*door.wrong, *door.traceback(), *left], door


async def _story(door: DoorProcess, *, beset: bool) -> list[str]:
    model = tiny_model(door.folder / "tiny")
    words = ("-m", "archipel.cli.archipel", "serve", str(model), "--port", str(door.port))
    meter = ("--meter", str(door.folder / "meter"), "--window", "0.5", "--threads", "1")
    door.start(*words, *meter)
    async with asyncio.timeout(START_S):
        while not _listens(door.port):  # noqa: ASYNC110  a process of its own loads its model
            await asyncio.sleep(0.1)
    answers = asyncio.gather(*(_asker(door, number) for number in range(ASKERS)))
    if beset:
        await door.beset(answers.done)
    watching = asyncio.create_task(door.revived_until(answers.done))
    try:
        told = [each for one in await answers for each in one]
    finally:
        watching.cancel()
    await door.end("term")
    return told


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


async def _asker(door: DoorProcess, number: int) -> list[str]:
    told = []
    async with httpx.AsyncClient(base_url=door.network.url, timeout=REQUEST_S) as http:
        for question in range(number, QUESTIONS, ASKERS):
            body = _question(question)
            answer = await patiently(
                lambda body=body: http.post("/v1/chat/completions", json=body), door.wrong.append
            )
            assert answer.status_code == 200, (answer.status_code, answer.text[:200])
            told.append(str(answer.json()["choices"][0]["message"]["content"]))
    return told


def _question(number: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"question {number}"}]
    return {"model": "tiny", "messages": said, "max_tokens": 12, "seed": number, "temperature": 1.0}
