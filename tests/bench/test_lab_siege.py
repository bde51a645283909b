"""What honest work keeps of its pace while a lab is attacked."""

import asyncio
import json
import math
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.bench import lab_report
from archipel.bench.lab import Measured
from archipel.bench.lab_attackers import WAYS, Attack, AttackJob
from archipel.bench.lab_siege import QUICK_SIEGE, Siege, measure_siege
from archipel.cli.doors import child_environment

JOB = AttackJob("127.0.0.1", 0, "did", "silence", 7, 50.0, "out")


def siege(peace: list[float], attack: list[float]) -> Siege:
    return Siege("joins", peace, attack, [0.01], [0.02], {"joins 200": 7}, 2**26, 1.0)


def test_a_window_of_attack_is_compared_with_the_peace_around_it() -> None:
    assert siege([10.0, 20.0], [12.0]).kept == 0.8
    assert siege([10.0, 10.0, 100.0, 100.0], [5.0, 55.0, 90.0]).kept == 0.9
    assert siege([0.0, 0.0], [5.0]).kept == 0.0


def test_a_siege_has_its_place_in_table_and_json() -> None:
    measured = Measured(sieges=[siege([10.0, 20.0], [12.0])])
    (values,) = json.loads(json.dumps(lab_report.to_json(measured)))["sieges"]
    assert values["kept"] == 0.8
    assert not math.isnan(values["attack_p99_ms"])
    assert "under joins: honest work keeps 80% of its pace" in lab_report.table(measured)
    assert "7 joins 200" in lab_report.table(measured)


async def _sent(way: str, seconds: float) -> list[bytes]:
    """What comes of this way of attacking to whoever listens, for a while."""
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            got.append(await reader.read(100))
        writer.transport.abort()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    job = replace(JOB, port=server.sockets[0].getsockname()[1], way=way)
    attack = Attack(job, random.Random(1))
    task = asyncio.create_task(attack.over_and_over(WAYS[way][1](attack)))
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()
    return got


def test_each_way_of_attacking_is_what_its_name_says() -> None:
    async def all_ways() -> list[list[bytes]]:
        return list(await asyncio.gather(*(_sent(way, 1.0) for way in WAYS)))

    heard = dict(zip(WAYS, asyncio.run(all_ways()), strict=True))
    assert all(each.startswith(b"POST /records HTTP/1.1") for each in heard["joins"] if each)
    assert heard["slow heads"][0].startswith(b"GET /healthz HTTP/1.1\r\n")
    assert b"\r\n\r\n" not in heard["slow heads"][0]
    assert b"".join(heard["silence"]) == b""
    assert any(
        each.startswith((b"POST /records", b"PUT /blobs")) for each in heard["giant uploads"]
    )


@pytest.mark.slow
def test_a_real_lab_is_attacked_in_every_way_and_its_receipts_hold(tmp_path: Path) -> None:
    plan = replace(QUICK_SIEGE, nodes=20, window_s=2.0)
    sieges = measure_siege(plan, tmp_path, child_environment())
    assert [each.way for each in sieges] == list(WAYS)
    assert all(each.came for each in sieges)
    assert all(sum(each.attack) > 0 for each in sieges), "honest work stood still"
