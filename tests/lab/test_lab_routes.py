"""What the routes answer: parcels in and out, receipts that can be checked, pages, and proper refusals."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from archipel.identity import MAX_ENVELOPE_BYTES, Envelope
from archipel.lab.api import make_api
from archipel.lab.doorman import DoorLimits, Rate
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.tree_head import verify_tree_head
from archipel.records.parcel import MAX_PARCEL_BYTES, MEDIA_TYPE, pack_parcel, unpack_parcel
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    NodeLeft,
    RunStopped,
    WorkAnswered,
    decode,
)
from door import Door, problem
from people import Provider, envelope, identity, ref
from world import World


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    made = Door(world)
    yield made
    made.close()


def limited(world: World, **limits: Any) -> Door:
    """A door with other limits."""
    made = Door(world)
    made.close()
    api = make_api(world.lab, limits=DoorLimits(**limits))
    made._http = httpx.AsyncClient(
        transport=httpx.ASGITransport(api, raise_app_exceptions=True), base_url="http://lab.test"
    )
    return made


def parcel(door: Door, path: str, document: object, blobs: tuple[bytes, ...] = ()) -> Any:
    return door.request(
        "POST",
        path,
        content=pack_parcel(json.dumps(document).encode(), blobs),
        headers={"content-type": MEDIA_TYPE},
        params={"wait_s": 0.0} if path == "/leases" else {},
    )


def opened(answer: httpx.Response) -> tuple[dict[str, Any], list[bytes]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    document, blobs = unpack_parcel(answer.content)
    return json.loads(document), blobs


def granted(document: dict[str, Any]) -> LeaseGranted:
    statement = decode(Envelope.from_json(document["grant"].encode()).payload)
    assert isinstance(statement, LeaseGranted)
    return statement


def answer_to(world: World, node: Provider, grant: LeaseGranted) -> tuple[str, bytes]:
    """(sealed answer, its result), which is not in the store."""
    fields = node.answer_fields(grant)
    node.leases.pop(grant.work, None)
    result = fields["answer"].result
    data = world.blobs.read_bytes(result.digest, result.size)
    world.blobs.discard(result.digest)
    statement = world.statement(node.identity, WorkAnswered, **fields)
    return envelope(node.identity, statement).decode(), data


def test_a_receipt_says_where_the_statement_stands_and_brings_a_head_that_covers_it(
    world: World, door: Door
) -> None:
    world.started()
    node = world.provider("node")
    said = node.request()
    assert door.ask(said).status_code == 200
    grant = next(iter(world.state.leases.values()))
    statement = world.statement(node.identity, LeaseReturned, work=grant.work, reason="no")
    receipt = door.say(envelope(node.identity, statement))
    assert receipt.status_code == 200
    assert receipt.headers["content-type"] == "application/json"
    document = receipt.json()
    assert document["index"] == world.lab.log.size - 1
    assert document["handout"] is None
    head = verify_tree_head(
        document["head"].encode(), NoteKey.from_text(world.lab.log.key.to_text())
    )
    assert head.size == world.lab.log.size
    assert world.statements()[document["index"]] == statement


def test_an_answer_its_result_and_the_next_request_go_in_one_message(
    world: World, door: Door
) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    out, blobs = opened(parcel(door, "/leases", {"request": node.request().decode()}))
    assert blobs
    grant = granted(out)
    record, data = answer_to(world, node, grant)
    asked = {"request": node.request().decode(), "have": {"runs": {}, "blobs": []}}
    document, blobs = opened(parcel(door, "/records", {"record": record, "next": asked}, (data,)))
    assert document["index"] == world.lab.log.size - 2, "the grant stands after the answer"
    following = granted(document["handout"])
    assert following.node == node.did
    assert following.work in world.state.leases
    assert grant.work not in world.state.leases
    assert blobs
    assert world.blobs.exists(ref(data).digest)


def test_an_answer_without_a_next_lease_gets_its_receipt_alone(world: World, door: Door) -> None:
    world.started(max_groups_per_lease=64, groups_per_update=3, max_staleness=0)
    node = world.provider("node")
    node.prove(1)
    first = node.ask()
    assert first is not None
    record, data = answer_to(world, node, first)
    asked = {"request": node.request().decode()}
    answer = parcel(door, "/records", {"record": record, "next": asked}, (data,))
    assert answer.status_code == 200
    assert answer.json()["handout"] is None


@pytest.mark.parametrize("fault", ["no record", "old number", "another's"])
def test_a_bad_next_request_takes_nothing_from_the_answer(
    world: World, door: Door, fault: str
) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    record, data = answer_to(world, node, first)
    following = {
        "no record": "noise",
        "old number": node.request(seq=1).decode(),
        "another's": Provider(world, identity("stranger")).request().decode(),
    }[fault]
    answer = parcel(door, "/records", {"record": record, "next": {"request": following}}, (data,))
    assert answer.status_code == 200
    assert answer.json()["handout"] is None
    assert dict(world.state.nodes[node.did].ends)[first.work] == "accepted"


def test_a_blob_that_the_answer_does_not_name_is_refused_with_it(world: World, door: Door) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    record, data = answer_to(world, node, first)
    stray = parcel(door, "/records", {"record": record}, (data, b"stray"))
    assert problem(stray) == "malformed-record"
    assert not world.blobs.exists(ref(b"stray").digest)
    assert first.work in world.state.leases
    assert parcel(door, "/records", {"record": record}, (data,)).status_code == 200


def test_other_statements_bring_no_blobs(world: World, door: Door) -> None:
    world.started()
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    statement = world.statement(node.identity, LeaseReturned, work=first.work, reason="")
    record = envelope(node.identity, statement).decode()
    assert problem(parcel(door, "/records", {"record": record}, (b"x",))) == "malformed-record"
    assert parcel(door, "/records", {"record": record}).status_code == 200


@pytest.mark.parametrize("path", ["/records", "/leases"])
def test_a_parcel_of_noise_or_of_another_document_is_malformed(
    world: World, door: Door, path: str
) -> None:
    headers = {"content-type": MEDIA_TYPE}
    noise = door.request("POST", path, content=b"noise", headers=headers)
    assert problem(noise) == "malformed-record"
    assert problem(parcel(door, path, {"other": 1})) == "malformed-record"
    assert problem(parcel(door, path, [])) == "malformed-record"


@pytest.mark.parametrize("path", ["/records", "/leases"])
def test_a_body_has_its_bound_and_a_parcel_a_larger_one(door: Door, path: str) -> None:
    headers = {"content-type": MEDIA_TYPE}
    for size, kind, name in (
        (MAX_ENVELOPE_BYTES, {}, "malformed-record"),
        (MAX_ENVELOPE_BYTES + 1, {}, "too-large"),
        (MAX_PARCEL_BYTES, headers, "malformed-record"),
        (MAX_PARCEL_BYTES + 1, headers, "too-large"),
    ):
        answer = door.request("POST", path, content=b"x" * size, headers=kind)
        assert problem(answer) == name, size
    assert answer.status_code == 413


def test_who_asks_for_nothing_to_do_gets_an_empty_answer(world: World, door: Door) -> None:
    world.open_run()
    answer = door.ask(world.provider("node").request())
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("wait_s", ["-1", "61", "nan", "x"])
def test_a_wait_is_between_nothing_and_a_minute(door: Door, wait_s: str) -> None:
    answer = door.request("POST", "/leases", content=b"", params={"wait_s": wait_s})
    assert problem(answer) == "invalid-request"
    assert answer.status_code == 422
    assert "wait_s" in answer.json()["detail"]


def test_a_key_that_speaks_too_often_gets_429_and_is_told_when_to_come_again(world: World) -> None:
    world.started()
    nodes = [world.provider("a"), world.provider("b")]
    door = limited(world, per_key=Rate(burst=2, per_s=1))
    answers = [door.ask(nodes[0].request()) for _ in range(3)]
    assert [each.status_code for each in answers[:2]] != [429, 429]
    assert answers[2].status_code == 429
    assert problem(answers[2]) == "too-many-requests"
    assert answers[2].headers["retry-after"] == "2"
    assert door.ask(nodes[1].request()).status_code != 429
    world.now_ms += 1000
    assert door.ask(nodes[0].request()).status_code != 429
    door.close()


def test_strangers_use_up_their_address_and_not_the_keys_that_they_name(world: World) -> None:
    world.started()
    node = world.provider("node")
    door = limited(world, joins_per_address=Rate(burst=2, per_s=0), per_key=Rate(burst=9, per_s=0))
    strangers = [Provider(world, identity(f"stranger {n}")) for n in range(3)]
    names = [problem(door.ask(each.request())) for each in strangers]
    assert names == ["not-joined", "not-joined", "too-many-requests"]
    assert door.ask(node.request()).status_code == 200
    operator = Provider(world, world.operator)
    assert problem(door.ask(operator.request())) == "not-joined", "an operator is no stranger"
    door.close()


def test_no_more_may_wait_from_one_address_than_are_let_in(world: World) -> None:
    world.started()
    door = limited(world, waiting_per_address=0)
    answer = door.ask(world.provider("node").request())
    assert problem(answer) == "too-many-requests"
    door.close()
    door = limited(world, waiting_per_address=1)
    for name in "abc":
        assert door.ask(world.provider(name).request()).status_code in (200, 204)
    door.close()


def test_one_key_cannot_fill_the_ledger_with_words_and_its_work_is_taken_all_the_same(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1)
    door, node = limited(world, idle_per_key=Rate(2, 0)), world.provider("node")

    def returned() -> httpx.Response:
        grant = node.ask()
        assert grant is not None
        node.leases.clear()
        said = world.statement(node.identity, LeaseReturned, work=grant.work, reason="x")
        return door.say(envelope(node.identity, said))

    assert [returned().status_code for _ in range(2)] == [200, 200]
    size = world.lab.log.size
    held = node.ask()
    assert held is not None
    left = envelope(node.identity, world.statement(node.identity, NodeLeft))
    assert problem(door.say(left)) == "too-many-requests"
    assert world.lab.log.size == size + 1, "the grant alone"
    answer = world.statement(node.identity, WorkAnswered, **node.answer_fields(held))
    assert door.say(envelope(node.identity, answer)).status_code == 200
    for number in range(3):
        opened = world.statement(world.operator, RunStopped, run=f"no-{number}", reason="")
        assert problem(door.say(envelope(world.operator, opened))) == "not-found"
    door.close()


def test_whoever_loses_lease_after_lease_has_to_wait_for_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.lab.LOSSES_PER_KEY", Rate(2, 0))
    world.restart()
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = []
    for _ in range(4):
        node.leases.clear()
        granted.append(node.ask())
    assert [each is not None for each in granted] == [True, True, True, False]
    lost = [each for each in world.statements() if isinstance(each, LeaseExpired)]
    assert [each.cause for each in lost] == ["lost", "lost"]
    world.tick(10**9)
    assert node.ask() is not None
    world.check_replay()
