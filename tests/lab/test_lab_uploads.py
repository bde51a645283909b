"""Uploads: how much an open lease may bring, what is given back to the disk, what nobody needs."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs.writer import BlobWriter
from archipel.lab import blob_routes, refusals
from archipel.lab.admission import admit_upload, check_size, is_trusted
from archipel.lab.garbage import needed
from archipel.lab.kinds.evaluate import MAX_REPORT_BYTES
from archipel.lab.programmes import rl
from archipel.lab.uploads import Uploads
from archipel.records.fields import MAX_BLOB_BYTES, BlobRef
from archipel.records.rollouts import bounds_of, max_rollout_bytes
from archipel.records.statements import BlobOffered, LeaseGranted
from door import Door, problem
from people import Provider, identity, ref
from world import World


@pytest.fixture
def disk_world(quick_folder: Path) -> Iterator[World]:
    made = World(quick_folder)
    yield made
    made.close()


def uploads(*here: str) -> Uploads:
    """Of a store that has these blobs."""
    return Uploads(lambda digest: digest in here)


def test_what_a_lease_offered_besides_a_blob_counts_by_its_newest_size() -> None:
    notes = uploads()
    assert notes.others("w", "a") == 0
    notes.note("w", "a", 5)
    notes.note("w", "b", 7)
    notes.note("v", "c", 100)
    assert (notes.others("w", "a"), notes.others("w", "b"), notes.others("w", "x")) == (7, 5, 12)
    notes.note("w", "b", 9)
    assert notes.others("w", "a") == 9
    assert notes.digests() == {"a", "b", "c"}


def test_what_is_not_kept_goes_when_the_lease_ends_and_is_told_once() -> None:
    notes = uploads()
    notes.note("w", "a", 1)
    notes.note("w", "b", 1)
    notes.named(["b"])
    assert notes.ended("w") == ["a"]
    assert notes.ended("w") == []
    assert notes.digests() == set()
    assert notes.ended("unheard of") == []


def test_what_was_here_before_stays() -> None:
    notes = uploads("a")
    notes.note("w", "a", 1)
    assert notes.ended("w") == []


def test_what_two_leases_offered_goes_with_the_last_of_them() -> None:
    here: set[str] = set()
    notes = Uploads(here.__contains__)
    notes.note("w", "a", 1)
    here.add("a")
    notes.note("v", "a", 1)
    notes.note("v", "a", 1)
    assert notes.ended("w") == []
    assert notes.digests() == {"a"}
    assert notes.ended("v") == ["a"]


def test_a_blob_that_was_given_back_can_come_again() -> None:
    notes = uploads()
    notes.note("w", "a", 1)
    assert notes.ended("w") == ["a"]
    notes.note("v", "a", 1)
    assert notes.ended("v") == ["a"]


def held(world: World) -> tuple[Provider, LeaseGranted]:
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    return node, granted


def offer(world: World, author: Any, work: str | None, size: int) -> BlobOffered:
    blob = BlobRef(digest="sha256:" + "0" * 64, size=size)
    made = world.statement(author, BlobOffered, blob=blob, work=work)
    assert isinstance(made, BlobOffered)
    return made


def test_a_lease_may_bring_what_an_honest_answer_needs_and_not_a_byte_more(world: World) -> None:
    world.started(max_groups_per_lease=2)
    node, granted = held(world)
    spec: Any = granted.spec
    bounds = bounds_of(
        rl.pace(world.run()), work=granted.work, policy=spec.policy, num_groups=len(spec.groups)
    )
    most = max_rollout_bytes(bounds)
    lease = world.state.leases[granted.work]
    check_size(world.state, lease, most)
    with pytest.raises(refusals.TooLarge, match=f"at most {most}"):
        check_size(world.state, lease, most + 1)
    admit_upload(world.state, offer(world, node.identity, granted.work, most), 0)
    admit_upload(world.state, offer(world, node.identity, granted.work, most - 1), 1)
    with pytest.raises(refusals.TooLarge):
        admit_upload(world.state, offer(world, node.identity, granted.work, most), 1)


def test_trusted_work_has_its_own_bounds_and_its_bytes_are_trusted(world: World) -> None:
    world.open_run(max_groups_per_lease=2)
    learner = world.learner()
    update = learner.ask()
    assert update is not None
    lease = world.state.leases[update.work]
    check_size(world.state, lease, MAX_BLOB_BYTES)
    with pytest.raises(refusals.TooLarge):
        check_size(world.state, lease, MAX_BLOB_BYTES + 1)
    assert is_trusted(world.state, offer(world, learner.identity, update.work, 1))
    learner.answer(update)
    exam = learner.ask()
    assert exam is not None
    lease = world.state.leases[exam.work]
    check_size(world.state, lease, MAX_REPORT_BYTES)
    with pytest.raises(refusals.TooLarge):
        check_size(world.state, lease, MAX_REPORT_BYTES + 1)
    assert MAX_REPORT_BYTES == 16 * 1024 * 1024
    node, granted = held(world)
    assert not is_trusted(world.state, offer(world, node.identity, granted.work, 1))
    assert is_trusted(world.state, offer(world, world.operator, None, 1))


def test_only_an_operator_uploads_without_a_lease_and_only_a_holder_with_one(world: World) -> None:
    world.started()
    node, granted = held(world)
    admit_upload(world.state, offer(world, world.operator, None, 10**9), 0)
    with pytest.raises(refusals.NotAllowed, match="operator"):
        admit_upload(world.state, offer(world, node.identity, None, 1), 0)
    other = world.provider("other")
    with pytest.raises(refusals.NotYours, match=node.did):
        admit_upload(world.state, offer(world, other.identity, granted.work, 1), 0)
    with pytest.raises(refusals.NotJoined):
        admit_upload(world.state, offer(world, identity("stranger"), granted.work, 1), 0)


@pytest.mark.parametrize("end", ["answered", "returned", "expired", "joined", "left"])
def test_only_an_accepted_answer_keeps_what_was_uploaded(disk_world: World, end: str) -> None:
    world = disk_world
    world.started(max_groups_per_lease=1)
    node, granted = held(world)
    door = Door(world)
    result = node.answer_fields(granted)["answer"].result
    data = world.blobs.read_bytes(result.digest, result.size)
    world.blobs.discard(result.digest)
    assert door.upload(node.identity, data, granted.work).status_code == 201
    stray = b"not named"
    assert door.upload(node.identity, stray, granted.work).status_code == 201
    if end == "answered":
        node.answer(granted)
    elif end == "returned":
        node.give_back(granted.work)
    elif end == "joined":
        node.join()
    elif end == "left":
        node.leave()
    else:
        world.tick(10**9)
    assert world.blobs.exists(result.digest) == (end == "answered")
    assert not world.blobs.exists(ref(stray).digest)
    assert not world.lab.uploads.digests(), "of no open lease: a sweep may take them"
    door.close()


def test_an_upload_that_is_here_already_is_complete_at_once(disk_world: World) -> None:
    door = Door(disk_world)
    data = b"here"
    disk_world.put(data)
    headers = door.offer(disk_world.operator, data, None)
    path = f"/blobs/{ref(data).digest}"
    assert door.get(path + "/state", headers=headers).json() == {"complete": True, "offset": 4}
    answer = door.request("PUT", path, headers=headers, content=b"")
    assert (answer.status_code, answer.json()) == (201, {"complete": True, "offset": 4})
    door.close()


def test_an_upload_is_hashed_and_written_beside_the_event_loop_much_at_a_time(
    disk_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_routes, "WRITE_AT_ONCE_BYTES", 10)
    written: list[tuple[int, bytes]] = []
    write = BlobWriter.write

    def watched(writer: BlobWriter, data: bytes) -> None:
        written.append((threading.get_ident(), data))
        write(writer, data)

    monkeypatch.setattr(BlobWriter, "write", watched)
    data, parts = b"0123456789abcdefghij!", [b"0123", b"4567", b"89ab", b"cdefghij", b"!"]

    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    door = Door(disk_world)
    headers = door.offer(disk_world.operator, data, None)
    path = f"/blobs/{ref(data).digest}"
    assert door.request("PUT", path, headers=headers, content=body()).status_code == 201
    assert [part for _, part in written] == [b"0123456789ab", b"cdefghij!"]
    assert threading.get_ident() not in {thread for thread, _ in written}
    assert door.get(path).content == data
    door.close()


def test_who_hangs_up_waits_for_the_disk_before_the_file_is_closed() -> None:
    may_go_on, ended = threading.Event(), []

    def write() -> None:
        assert may_go_on.wait(10.0)
        ended.append(True)

    async def story() -> None:
        writing = asyncio.create_task(blob_routes.to_its_end(write))
        await asyncio.sleep(0)
        for _ in range(2):
            writing.cancel()
            await asyncio.sleep(0.01)
            assert not writing.done()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert ended == [True]

    asyncio.run(story())


def test_an_offer_is_for_this_lab_and_in_base64(disk_world: World) -> None:
    door = Door(disk_world)
    digest = ref(b"data").digest
    elsewhere = door.offer(disk_world.operator, b"data", None, lab=identity("elsewhere").did)
    for headers, name in ((elsewhere, "wrong-lab"), ({"Archipel-Offer": "é"}, "malformed-record")):
        encoded = {key: value.encode() for key, value in headers.items()}
        answer = door.request("PUT", f"/blobs/{digest}", headers=encoded, content=b"data")
        assert problem(answer) == name
    statement = Provider(disk_world, disk_world.operator).request()
    header = {"Archipel-Offer": base64.b64encode(statement).decode()}
    answer = door.request("PUT", f"/blobs/{digest}", headers=header, content=b"data")
    assert problem(answer) == "malformed-record"
    assert "lease.requested" in answer.text
    door.close()


def test_a_download_says_what_it_is_and_that_it_never_changes(disk_world: World) -> None:
    door = Door(disk_world)
    path = f"/blobs/{disk_world.put(b'bytes').digest}"
    whole, part, head = door.get(path), door.get(path, headers={"Range": "bytes=1-2"}), None
    head = door.request("HEAD", path)
    assert (whole.content, part.content, head.content) == (b"bytes", b"yt", b"")
    for answer in (whole, part, head):
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "immutable" in answer.headers["cache-control"]
    assert head.headers["content-length"] == "5"
    door.close()


def test_a_large_file_is_streamed_whole(disk_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.blob_routes.READ_AT_ONCE_BYTES", 4)
    door = Door(disk_world)
    for data in (b"1234", b"12345" * 1000):
        assert door.get(f"/blobs/{disk_world.put(data).digest}").content == data
    door.close()


def test_what_a_run_needs_is_its_opening_its_chain_its_prompts_its_results_and_its_memory(
    world: World,
) -> None:
    learner = world.started(versions=3, groups_per_update=1, checkpoint_every=2, evaluate_every=1)
    node = world.provider("node")
    opened = world.run().opened
    expected = {opened.recipe.digest, opened.model[0].blob.digest}
    first = world.run().chain[0]
    assert first.anchor is not None
    expected |= {first.manifest.digest, first.anchor.digest}
    expected |= {blob.digest for blob in rl.course(world.run()).prompts.values()}
    assert needed(world.state) == expected
    granted = node.ask()
    assert granted is not None
    result = node.answer_fields(granted)["answer"].result
    node.answer(granted)
    assert needed(world.state) == expected | {result.digest}
    exam = learner.work()
    assert exam is not None
    report = ref(exam.work.encode())
    if exam.spec.kind == "update":
        exam = learner.work()
        assert exam is not None
        report = ref(exam.work.encode())
    assert report.digest in needed(world.state)
    assert result.digest in needed(world.state), "a learner without memory would replay it"
    while (memory := rl.course(world.run()).memory) is None:
        sampled = node.ask()
        if sampled is not None:
            node.answer(sampled)
        learner.work()
    assert memory.blob.digest in needed(world.state)
    assert result.digest not in needed(world.state), "the checkpoint of version 2 came after it"


def test_a_delta_is_needed_as_an_anchor_is(world: World) -> None:
    learner = world.started(groups_per_update=1)
    node, delta = world.provider("node"), world.put(b"change")
    sampled = node.ask()
    assert sampled is not None
    node.answer(sampled)
    while (granted := learner.ask()) is not None:
        lies = {"anchor": None, "delta": delta} if granted.spec.kind == "update" else {}
        learner.answer(granted, **lies)
    assert world.run().chain[-1].delta == delta
    assert delta.digest in needed(world.state)
