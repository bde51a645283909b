"""What strangers, careless operators and failing disks tried on a lab, and must not get."""

import asyncio
import json
import shutil
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from archipel.lab import refusals
from archipel.lab.answers import Answers
from archipel.lab.company import crowds
from archipel.lab.handouts import MAX_DOCUMENT_CHARACTERS, _fitting
from archipel.lab.requests import Arriving
from archipel.lab.upkeep import Upkeep
from archipel.lab.uploads import MAX_OFFERS_PER_LEASE, MAX_STREAMS_PER_LEASE, Uploads
from archipel.ledger.storage import LedgerUnavailable
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork, Submitted
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.parcel import MEDIA_TYPE, pack_parcel
from archipel.records.rollouts import pack_rollouts
from archipel.records.statements import BlobOffered, LeaseGranted, LeaseRequested, WorkAnswered
from door import Door, problem
from people import Provider, envelope, identity, ref
from world import World


@pytest.fixture
def kept(quick_folder: Path) -> Iterator[World]:
    """A lab whose blobs lie on a disk."""
    made = World(quick_folder, ledger_on_disk=False)
    yield made
    made.close()


def proven(world: World, name: str = "node") -> Provider:
    """A node that may hold several leases."""
    node = world.provider(name)
    granted = node.ask()
    assert granted is not None
    node.answer(granted)
    return node


def granted_to(node: Provider) -> LeaseGranted:
    granted = node.ask()
    assert granted is not None
    return granted


def test_a_result_stays_when_another_lease_that_offered_its_bytes_first_comes_back(
    kept: World,
) -> None:
    kept.started(max_groups_per_lease=1)
    node, door = proven(kept), Door(kept)
    first, second = granted_to(node), granted_to(node)
    data = pack_rollouts(node.sampled(first), work=first.work, policy=first.spec.policy)
    offer = door.offer(node.identity, data, second.work)
    assert door.get(f"/blobs/{ref(data).digest}/state", headers=offer).json()["complete"] is False
    answer = RolloutAnswer(
        policy=first.spec.policy,
        result=ref(data),
        num_tokens=sum(len(each.tokens) for group in node.sampled(first) for each in group),
        busy_ms=1,
    )
    said = kept.statement(node.identity, WorkAnswered, work=first.work, answer=answer)
    document = Submitted(record=envelope(node.identity, said).decode()).model_dump_json()
    brought = door.request(
        "POST",
        "/records",
        content=pack_parcel(document.encode(), [data]),
        headers={"content-type": MEDIA_TYPE},
    )
    assert brought.status_code == httpx.codes.OK
    node.leases.pop(first.work)
    node.give_back(second.work)
    assert kept.blobs.read_bytes(ref(data).digest, len(data)) == data
    door.close()


def test_an_operators_upload_stays_when_a_stranger_offered_the_same_bytes_first(
    kept: World,
) -> None:
    kept.started(max_groups_per_lease=1)
    node, door, data = kept.provider("node"), Door(kept), b"the tokenizer of a public model"
    granted = granted_to(node)
    offer = door.offer(node.identity, data, granted.work)
    door.get(f"/blobs/{ref(data).digest}/state", headers=offer)
    assert door.upload(kept.operator, data, None).status_code == httpx.codes.CREATED
    door.get(f"/blobs/{ref(data).digest}/state", headers=offer)
    node.give_back(granted.work)
    assert kept.blobs.exists(ref(data).digest)
    assert kept.await_(Upkeep(kept.lab).sweep(-1.0)) == 0, "a run is yet to be opened with it"
    door.close()


@pytest.mark.parametrize("order", ["lease first", "operator first"])
def test_what_an_operator_offers_belongs_to_no_lease(order: str) -> None:
    uploads = Uploads(lambda digest: False)
    if order == "lease first":
        uploads.note("run.1", "a", 1)
    uploads.note_lasting("a")
    uploads.note("run.1", "a", 1)
    uploads.note("run.1", "b", 1)
    assert uploads.ended("run.1") == ["b"]


def test_one_lease_offers_no_more_blobs_than_an_answer_can_name(world: World) -> None:
    world.started()
    node = world.provider("node")
    granted = granted_to(node)
    for number in range(MAX_OFFERS_PER_LEASE + 1):
        blob = BlobRef(digest=sha256_digest(str(number).encode()), size=0)
        offer = world.statement(node.identity, BlobOffered, blob=blob, work=granted.work)
        if number < MAX_OFFERS_PER_LEASE:
            world.lab.permit_upload(offer)  # type: ignore[arg-type]  # an offer
            continue
        with pytest.raises(refusals.TooLarge, match="blobs were offered"):
            world.lab.permit_upload(offer)  # type: ignore[arg-type]  # an offer
    assert len(world.lab.uploads.digests()) == MAX_OFFERS_PER_LEASE


def test_a_lease_keeps_room_for_few_uploads_at_a_time() -> None:
    uploads = Uploads(lambda digest: False)
    streams = [uploads.streaming("run.1") for _ in range(MAX_STREAMS_PER_LEASE)]
    for stream in streams:
        stream.__enter__()
    with pytest.raises(refusals.Busy), uploads.streaming("run.1"):
        pass
    with uploads.streaming("run.2"):
        streams[0].__exit__(None, None, None)
    with uploads.streaming("run.1"):
        pass


def test_an_upload_may_last_as_long_as_its_lease(world: World) -> None:
    world.started()
    node = world.provider("node")
    granted = granted_to(node)
    for passed_ms in (0, 5000):
        world.now_ms += passed_ms
        left_s = (granted.deadline_ms - world.now_ms) / 1000
        offer = world.statement(node.identity, BlobOffered, blob=ref(b"x"), work=granted.work)
        assert world.lab.permit_upload(offer).left_s == left_s  # type: ignore[arg-type]
    offer = world.statement(world.operator, BlobOffered, blob=ref(b"x"), work=None)
    assert world.lab.permit_upload(offer).left_s is None  # type: ignore[arg-type]


def test_what_a_node_says_of_its_kinds_proves_nothing(world: World) -> None:
    world.started(max_groups_per_lease=1)
    liar = world.provider("liar", join=False)
    liar.kinds = ("rollout", "update", "evaluate")
    liar.join()
    assert granted_to(liar)
    assert liar.ask() is None


def test_a_kind_that_is_named_sixteen_times_counts_once(world: World) -> None:
    world.started()
    liar = world.provider("liar", speed_milli=1000, join=False)
    liar.kinds = ("rollout",) * 16
    liar.join()
    crowd = crowds(world.state, world.now_ms)["rollout"]
    assert (crowd.count, crowd.claimed_milli) == (1, 1000)


@pytest.mark.parametrize("room_comes_back_after", [0, 3])
def test_a_lease_whose_end_could_not_be_written_ends_when_the_disk_has_room(
    world: World, room_comes_back_after: int
) -> None:
    world.started()
    granted = granted_to(world.provider("node"))
    world.storage.room = world.storage.num_entries()
    for _ in range(room_comes_back_after + 1):
        world.tick(10**7)
        assert granted.work in world.state.leases
    world.storage.room = None
    world.tick(1)
    assert granted.work not in world.state.leases
    world.check()


def test_a_deadline_that_passed_while_a_failing_answer_was_written_is_looked_at_again(
    world: World,
) -> None:
    world.started()
    node = world.provider("node")
    granted = granted_to(node)
    world.storage.room = world.storage.num_entries()
    with pytest.raises(refusals.StorageExhausted):
        node.answer(granted)
    world.tick(10**7)
    world.storage.room = None
    world.tick(1)
    assert not world.state.leases


def test_whatever_an_append_fails_of_nothing_stays_that_is_not_in_the_ledger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started()
    with monkeypatch.context() as broken:
        broken.setattr(world.storage, "append", lambda rows, head: 1 / 0)
        with pytest.raises(refusals.StorageExhausted):
            world.provider("lost")
    assert world.lab.ahead is world.state
    world.provider("kept")
    world.check_replay()


@pytest.mark.parametrize("field", ["trusted_deadline_ms", "min_deadline_ms", "price_micro"])
def test_no_run_can_be_opened_whose_leases_would_not_fit_a_record(world: World, field: str) -> None:
    with pytest.raises(ValidationError, match="less than or equal"):
        world.open_run(**{field: 2**53 - 1})


def test_the_largest_run_can_be_leased(world: World) -> None:
    world.started(trusted_deadline_ms=86_400_000, min_deadline_ms=86_400_000, price_micro=10**12)
    node = world.provider("node")
    node.prove(1)
    assert granted_to(node).price_micro > 10**12


@pytest.mark.parametrize("keyid", [["a"], {"a": 1}, 5, None, True])
def test_a_signer_that_is_no_text_is_refused(world: World, keyid: object) -> None:
    signature = {"keyid": keyid, "sig": b64encode(b"s").decode()}
    value = {"payload": "", "payloadType": "t", "signatures": [signature]}
    door = Door(world)
    answer = door.say(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
    assert problem(answer) == "malformed-record"
    door.close()


@pytest.mark.parametrize("header", [b"\xe9", b"====", b"a", b""])
def test_an_offer_that_is_no_base64_is_refused(world: World, header: bytes) -> None:
    door = Door(world)
    answer = door.request(
        "PUT", f"/blobs/{ref(b'').digest}", headers={"Archipel-Offer": header}, content=b""
    )
    assert problem(answer) == "malformed-record"
    door.close()


def test_a_blob_store_that_is_gone_is_said_in_a_problem_and_stops_nothing_else(
    kept: World, quick_folder: Path
) -> None:
    kept.started(max_groups_per_lease=1)
    node, door = kept.provider("node"), Door(kept)
    granted = granted_to(node)
    data = pack_rollouts(node.sampled(granted), work=granted.work, policy=granted.spec.policy)
    offer, fields = door.offer(node.identity, data, granted.work), node.answer_fields(granted)
    answer = envelope(node.identity, kept.statement(node.identity, WorkAnswered, **fields))
    shutil.rmtree(quick_folder / "blobs")
    path = f"/blobs/{ref(data).digest}"
    for answered in (
        door.get(f"{path}/state", headers=offer),
        door.request("PUT", path, headers=offer, content=data),
        door.say(answer),
    ):
        assert problem(answered) == "storage-full"
    assert kept.await_(Upkeep(kept.lab).sweep()) == 0
    kept.tick(10**7)
    assert not kept.state.leases
    door.close()


def test_a_ledger_that_cannot_be_read_costs_an_accepted_answer_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(start: int, limit: int) -> None:
        raise LedgerUnavailable("the disk does not answer")

    world.started(max_groups_per_lease=1)
    node, door = world.provider("node"), Door(world)
    granted = granted_to(node)
    node.leases.clear()
    fields = node.answer_fields(granted)
    said = envelope(node.identity, world.statement(node.identity, WorkAnswered, **fields))
    document = Submitted.model_validate_json(
        json.dumps({"record": said.decode(), "next": {"request": node.request().decode()}})
    )
    world.lab.records._sealed.clear()
    monkeypatch.setattr(world.storage, "entries", fail)
    answer = door.request(
        "POST",
        "/records",
        content=pack_parcel(document.model_dump_json().encode(), []),
        headers={"content-type": MEDIA_TYPE},
    )
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["handout"] is None
    assert problem(door.get("/ledger/entries")) == "storage-full"
    door.close()


def test_balances_beyond_what_a_snapshot_can_hold_cost_the_snapshot_and_nothing_else(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1)
    book = world.state.book.put(identity("rich").did, 2**54)
    world.lab._committer.state = replace(world.state, book=book)
    assert world.await_(Upkeep(world.lab).take_snapshot()) is False


def test_inputs_that_would_outgrow_a_parcel_are_fetched_by_themselves() -> None:
    blob = ref(b"x")
    spec = RolloutSpec(
        run="r", version=0, policy=blob.digest, groups=tuple(range(2048)), prompts=(blob,) * 65
    )
    answer = RolloutAnswer(policy=blob.digest, result=blob, num_tokens=1, busy_ms=1)
    works = tuple(AcceptedWork(work=f"r.{n}", spec=spec, answer=answer) for n in range(256))
    assert sum(len(each.model_dump_json()) for each in works) > MAX_DOCUMENT_CHARACTERS
    assert _fitting(works, MAX_DOCUMENT_CHARACTERS) is None
    assert _fitting(works[:10], MAX_DOCUMENT_CHARACTERS) == works[:10]
    assert _fitting(works[:10], 1000) is None


def test_strangers_who_say_they_do_trusted_work_are_not_looked_at_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started()  # the evaluation of version 0 is due
    strangers = []
    for number in range(20):
        stranger = world.provider(f"stranger {number}", join=False)
        stranger.kinds = ("update", "evaluate")
        stranger.join()
        strangers.append(stranger)
    tried: list[str] = []
    leasing = world.lab._leasing
    grant = leasing._grant

    def trying(waiter, found):
        tried.append(waiter.request.author)
        return grant(waiter, found)

    monkeypatch.setattr(leasing, "_grant", trying)

    async def story() -> None:
        waiting = [asyncio.ensure_future(world.lab.lease(s.request(), 5.0)) for s in strangers]
        await asyncio.sleep(0)
        leasing.offer()
        learner = identity("learner")
        request = world.statement(learner, LeaseRequested, kinds=("update", "evaluate"), holding=())
        given = await world.lab.lease(envelope(learner, request), 5.0)
        assert given is not None
        world.lab.close()
        await asyncio.gather(*waiting)

    world.await_(story())
    assert set(tried) == {identity("learner").did}


def test_half_bodies_get_no_more_memory_than_their_address_may_have() -> None:
    arriving = Arriving(in_all=10, per_address=6)
    arriving.take("a", 6)
    for address, num_bytes in (("a", 1), ("b", 5)):
        with pytest.raises(refusals.Busy):
            arriving.take(address, num_bytes)
    arriving.take("b", 4)
    arriving.give_back("a", 6)
    arriving.take("c", 6)


def test_one_key_cannot_fill_all_threads_with_answers_to_be_checked(world: World) -> None:
    held = threading.Event()
    answers = Answers(world.blobs, in_thread=True)

    async def story() -> None:
        first = [asyncio.ensure_future(answers._beside("key", held.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(refusals.Busy):
            await answers._beside("key", held.wait)
        held.set()
        await asyncio.gather(*first)
        await answers._beside("key", held.wait)

    world.await_(story())


def test_a_lab_in_which_everybody_is_at_work_takes_nobody_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started(max_groups_per_lease=1)
    holders = [world.provider("one"), world.provider("two")]
    assert all(holder.ask() is not None for holder in holders)
    world.learner(join=False).leave()
    monkeypatch.setattr("archipel.lab.lab.MAX_NODES", 3)
    world.provider("takes the learner's place").ask()
    with pytest.raises(refusals.Busy):
        world.provider("finds no place")
    assert len(world.state.nodes) == 3
    world.check_replay()


def test_claims_of_many_strangers_leave_a_measured_node_half_of_its_share(world: World) -> None:
    world.started(groups_per_update=32, max_staleness=2, max_groups_per_lease=32)
    node = world.provider("node")
    first = granted_to(node)
    world.tick(100)
    node.answer(first)
    for number in range(20):
        world.provider(f"fast talker {number}", speed_milli=2**53 - 1)
    world.now_ms += 100
    second = granted_to(node)
    assert len(second.spec.groups) >= 16  # type: ignore[attr-defined]  # a rollout


def test_a_claim_gets_a_newcomer_no_more_than_the_slowest_measured_node_gets(world: World) -> None:
    world.started(groups_per_update=32, max_staleness=2, max_groups_per_lease=32)
    fast, slow = world.provider("fast"), world.provider("slow")
    for node, busy_ms in ((fast, 10), (slow, 1000)):
        granted = granted_to(node)
        world.tick(busy_ms)
        node.answer(granted)
    world.now_ms += 100
    liar = granted_to(world.provider("liar", speed_milli=2**53 - 1))
    assert len(liar.spec.groups) <= len(granted_to(slow).spec.groups)  # type: ignore[attr-defined]


def test_an_upload_that_never_ends_is_cut_when_its_lease_is_over(kept: World) -> None:
    kept.started()
    node, door = kept.provider("node"), Door(kept)
    granted = granted_to(node)
    offer = door.offer(node.identity, b"never whole", granted.work)
    kept.now_ms = granted.deadline_ms
    silent = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b"never"
        await silent.wait()

    path = f"/blobs/{ref(b'never whole').digest}"
    assert problem(door.request("PUT", path, headers=offer, content=drip())) == "refused"
    kept.tick(1)
    assert kept.blobs.used().partial_bytes == 0
    door.close()
