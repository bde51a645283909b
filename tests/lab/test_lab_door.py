"""The HTTP door: its description, its long polls, its blobs, and a disk that is full."""

import asyncio
import base64
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from archipel.blobs import BlobStore
from archipel.lab.entry import read_entry
from archipel.lab.handouts import Outgoing
from archipel.lab.state import Phase
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.tree_head import verify_tree_head
from door import Door, problem
from people import identity, ref
from world import TERMS, World, finish, granted_in


@pytest.fixture
def disk_world(quick_folder: Path) -> Iterator[World]:
    made = World(quick_folder)
    yield made
    made.close()


@pytest.fixture
def door(disk_world: World) -> Iterator[Door]:
    made = Door(disk_world)
    yield made
    made.close()


def test_the_description_lists_every_route_and_every_reference_in_it_leads_somewhere(
    door: Door,
) -> None:
    description = door.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    assert set(description["paths"]) == {
        "/compute",
        "/blobs/{digest}/landing",
        "/blobs/{digest}/landing/{name}",
        "/card",
        "/labs",
        "/ledger/cosignatures",
        "/ledger/witnesses",
        "/mirrors",
        "/mirrors/{name}/blobs/{digest}",
        "/mirrors/{name}/{path}",
        "/leader",
        "/turns",
        "/runs/{name}/market",
        "/runs/{name}/ownership",
        "/runs/{name}/questions",
        "/runs/{name}/questions/{number}",
        "/grants",
        "/turns/next",
        "/turns/told",
        "/records",
        "/leases",
        "/runs",
        "/runs/{name}",
        "/runs/{name}/opening",
        "/runs/{name}/versions",
        "/runs/{name}/updates/{version}",
        "/ledger/head",
        "/ledger/entries",
        "/lab",
        "/keys/{did}",
        "/nodes",
        "/nodes/{did}",
        "/waits",
        "/healthz",
        "/metrics",
        "/blobs/{digest}",
        "/blobs/{digest}/state",
    }
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["responses"]
            named = {
                each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"
            }
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    _follow_references(description, description)


def _follow_references(whole: dict, part: object) -> None:
    if isinstance(part, dict):
        if isinstance(reference := part.get("$ref"), str):
            target: object = whole
            for step in reference.removeprefix("#/").split("/"):
                assert isinstance(target, dict)
                target = target[step]
        for value in part.values():
            _follow_references(whole, value)
    elif isinstance(part, list):
        for value in part:
            _follow_references(whole, value)


def test_what_a_lab_shows_of_itself_can_be_checked_by_anyone(disk_world: World, door: Door) -> None:
    disk_world.started()
    key = NoteKey.from_text(door.get("/lab").json()["ledger_key"])
    head = verify_tree_head(door.get("/ledger/head").content, key)
    entries = door.get("/ledger/entries").json()
    assert head.size == len(entries)
    shown = [read_entry(base64.b64decode(entry)).statement.kind for entry in entries]
    assert shown[:2] == ["lab.opened", "run.opened"]
    assert door.get("/ledger/entries", params={"start": 10**30}).status_code in (200, 422)
    metrics = door.get("/metrics").text
    assert 'archipel_run_version{run="run"} 0.0' in metrics
    seq = disk_world.state.sequences[identity("learner").did]
    assert door.get(f"/keys/{identity('learner').did}").json()["last_seq"] >= seq


@pytest.fixture
def polls(world: World) -> World:
    world.started(groups_per_update=1, max_staleness=0)
    return world


def test_a_waiting_request_is_answered_the_moment_there_is_work(polls: World) -> None:
    first, waiter = polls.provider("first"), polls.provider("waiter")
    granted = first.ask()
    assert granted is not None
    request = waiter.request()

    async def story() -> Outgoing | None:
        asking = asyncio.create_task(polls.lab.lease(request, 30.0))
        await asyncio.sleep(0.01)
        assert not asking.done()
        polls.now_ms += 10 * TERMS["trusted_deadline_ms"]
        polls.lab.expire_leases()
        return await asyncio.wait_for(asking, 5.0)

    answer = polls.await_(story())
    assert answer is not None
    assert granted_in(answer).node == waiter.did


def test_many_waiters_and_one_piece_of_work_make_one_grant(polls: World) -> None:
    holder = polls.provider("holder")
    granted = holder.ask()
    assert granted is not None
    waiters = [polls.provider(f"waiter {n}") for n in range(8)]
    requests = [each.request() for each in waiters]

    async def story() -> list[Outgoing | None]:
        asking = [asyncio.create_task(polls.lab.lease(each, 0.3)) for each in requests]
        await asyncio.sleep(0.01)
        polls.now_ms += 10 * TERMS["trusted_deadline_ms"]
        polls.lab.expire_leases()
        return await asyncio.gather(*asking)

    answers = polls.await_(story())
    assert sum(answer is not None for answer in answers) == 1
    assert len(polls.state.leases) == 1


def test_a_newer_request_ends_the_wait_of_the_older_one(polls: World) -> None:
    holder, waiter = polls.provider("holder"), polls.provider("waiter")
    holder.ask()
    older, newer = waiter.request(), waiter.request()

    async def story() -> tuple[Outgoing | None, bool]:
        first = asyncio.create_task(polls.lab.lease(older, 30.0))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(polls.lab.lease(newer, 30.0))
        ended = await asyncio.wait_for(first, 5.0)
        waiting = not second.done()
        polls.lab.close()
        assert await asyncio.wait_for(second, 5.0) is None
        return ended, waiting

    assert polls.await_(story()) == (None, True)


def test_a_node_that_hangs_up_while_it_waits_is_granted_nothing(polls: World) -> None:
    holder, waiter = polls.provider("holder"), polls.provider("waiter")
    holder.ask()
    door, request = Door(polls), waiter.request()
    gone = asyncio.Event()
    sent: list[dict] = []

    async def receive() -> dict:
        if not sent:
            sent.append({})
            return {"type": "http.request", "body": request, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/leases",
        "raw_path": b"/leases",
        "root_path": "",
        "scheme": "http",
        "query_string": b"wait_s=30",
        "headers": [],
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "server": ("lab.test", 80),
        "client": ("node.test", 1),
    }

    async def story() -> None:
        asking = asyncio.create_task(door.api(scope, receive, send))
        await asyncio.sleep(0.05)
        gone.set()
        await asyncio.wait_for(asking, 5.0)
        polls.now_ms += 10 * TERMS["trusted_deadline_ms"]
        polls.lab.expire_leases()
        await asyncio.sleep(0.05)

    polls.await_(story())
    assert not polls.state.leases
    door.close()


def test_an_upload_cut_anywhere_resumes_and_a_download_answers_any_range(
    disk_world: World, door: Door
) -> None:
    data = bytes(range(256)) * 8
    operator, path = disk_world.operator, f"/blobs/{ref(data).digest}"
    headers = door.offer(operator, data, None)
    cut = door.request("PUT", path, headers=headers, content=data[:700])
    assert problem(cut) == "conflict"
    state = door.get(path + "/state", headers=headers).json()
    assert state == {"complete": False, "offset": 700}
    wrong = door.request("PUT", path, headers={**headers, "Upload-Offset": "600"}, content=b"x")
    assert problem(wrong) == "conflict"
    rest = {**headers, "Upload-Offset": "700"}
    assert door.request("PUT", path, headers=rest, content=data[700:]).status_code == 201
    assert door.get(path + "/state", headers=headers).json()["complete"]
    assert door.get(path).content == data
    part = door.get(path, headers={"Range": "bytes=700-"})
    assert part.status_code == httpx.codes.PARTIAL_CONTENT
    assert part.content == data[700:]
    assert door.request("HEAD", path).status_code == 200


def test_a_blob_store_that_is_full_says_507_and_recovers(quick_folder: Path) -> None:
    world = World(quick_folder)
    world.blobs = BlobStore(quick_folder / "small", quota_bytes=2000)
    world.lab.blobs = world.blobs
    door = Door(world)
    kept = world.put(b"a" * 1500)
    before = world.state
    refused = door.upload(world.operator, b"b" * 1000, None)
    assert problem(refused) == "storage-full"
    assert refused.status_code == 507
    assert world.state == before
    world.blobs.discard(kept.digest)
    assert door.upload(world.operator, b"b" * 1000, None).status_code == 201
    door.close()
    world.close()


def test_what_the_system_does_not_give_now_is_asked_for_again_and_no_riddle(
    door: Door, disk_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = [OSError(errno.EIO, "x"), OSError(errno.EMFILE, "x"), MemoryError()]

    def short(*_: object) -> None:
        raise lacks.pop()

    with monkeypatch.context() as patch:
        patch.setattr(disk_world.lab.log, "read", short)
        for what in ("memory", "files that it may open"):
            refused = door.get("/ledger/entries")
            assert (problem(refused), refused.status_code) == ("storage-full", 507)
            assert f"short of {what}" in refused.json()["detail"]
        with pytest.raises(OSError, match="x"):
            door.get("/ledger/entries")
    assert door.get("/ledger/entries").status_code == 200


def test_a_ledger_that_is_full_says_507_loses_nothing_and_recovers(quick_folder: Path) -> None:
    world = World(quick_folder)
    learner, door = world.started(), Door(world)
    node = world.provider("node")
    connection: sqlite3.Connection = world.lab.log._storage._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    answers = [door.ask(node.request()) for _ in range(40)]
    refused = [answer for answer in answers if answer.status_code == 507]
    assert refused
    assert {problem(answer) for answer in refused} == {"storage-full"}
    before = world.state
    world.check_replay()
    connection.execute("PRAGMA max_page_count = 100000")
    world.restart()
    assert world.state == before
    node.join()
    finish(world, learner, [node])
    assert world.run().phase is Phase.COMPLETE
    world.check_replay()
    assert world.lab.log.verify() > 10
    door.close()
    world.close()
