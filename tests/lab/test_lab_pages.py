"""What anybody may read over HTTP: pages, documents, and problems with their names."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest

from archipel import __version__
from archipel.identity import Envelope
from archipel.lab import refusals
from archipel.lab.presence import GONE_MS
from archipel.records.statements import LeaseGranted, decode
from door import Door, problem
from people import identity
from world import World


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    made = Door(world)
    yield made
    made.close()


def granted(document: dict[str, Any]) -> LeaseGranted:
    statement = decode(Envelope.from_json(document["grant"].encode()).payload)
    assert isinstance(statement, LeaseGranted)
    return statement


STATUS = {
    "Malformed": 400,
    "WronglySigned": 401,
    "WrongLab": 400,
    "NotAllowed": 403,
    "NotYours": 403,
    "NotJoined": 403,
    "Unknown": 404,
    "Late": 409,
    "Duplicate": 409,
    "Replayed": 409,
    "Conflict": 409,
    "TooLarge": 413,
    "BadResult": 422,
    "WrongShape": 422,
    "OutOfRange": 422,
    "NotFinite": 422,
    "WrongLabel": 422,
    "WrongPolicy": 422,
    "WrongContract": 422,
    "MissingBlob": 422,
    "WrongDigest": 422,
    "Refused": 400,
    "Busy": 429,
    "StorageExhausted": 507,
}
"""HTTP status (RFC 9110, 6585, 4918) of each refusal."""


@pytest.mark.parametrize("name", STATUS)
def test_a_refusal_has_the_http_status_that_says_what_to_do(name: str) -> None:
    assert getattr(refusals, name).status == STATUS[name]


def test_another_method_is_told_which_are_allowed(door: Door) -> None:
    answer = door.request("DELETE", "/runs")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    missing = door.get("/nowhere")
    assert missing.status_code == 404
    assert "allow" not in missing.headers


def test_a_problem_is_named_and_titled(door: Door) -> None:
    body = door.get("/runs/none").json()
    assert body["type"] == "https://archipel.invalid/problems/not-found"
    assert (body["title"], body["status"]) == ("not found", 404)
    assert "'none'" in body["detail"]


def test_nodes_and_leases_come_by_pages_and_a_node_by_its_name(world: World, door: Door) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=8)
    nodes = []
    for name in "abc":
        world.now_ms += 1
        nodes.append(world.provider(name))
        nodes[-1].ask()
    everybody = [each["node"] for each in door.get("/nodes").json()]
    assert everybody == [identity("learner").did, *(each.did for each in nodes)]
    page = door.get("/nodes", params={"start": 1, "limit": 2}).json()
    assert [each["node"] for each in page] == everybody[1:3]
    leases = door.get("/leases").json()
    assert [each["node"] for each in leases] == everybody[1:]
    page = door.get("/leases", params={"start": 1, "limit": 1}).json()
    assert [each["node"] for each in page] == everybody[2:3]
    one = door.get(f"/nodes/{nodes[1].did}").json()
    assert one == door.get("/nodes").json()[2]
    assert problem(door.get(f"/nodes/{identity('nobody').did}")) == "not-found"
    for path in ("/nodes", "/leases"):
        for bad in ({"start": -1}, {"limit": 0}, {"limit": 10_001}):
            assert problem(door.get(path, params=bad)) == "invalid-request"
        assert door.get(path, params={"limit": 10_000}).status_code == 200
        assert door.get(path, params={"limit": 1}).status_code == 200


def test_nodes_that_left_or_were_silent_for_long_are_shown_only_if_all_are_asked_for(
    world: World, door: Door
) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=1, max_staleness=0)
    learner, busy = identity("learner").did, world.provider("busy")
    assert busy.ask() is not None
    left, silent, waiting = (world.provider(name) for name in ("left", "silent", "waiting"))
    left.leave()
    everybody = [learner, *(each.did for each in (busy, left, silent, waiting))]

    def shown(**query: object) -> list[str]:
        return [each["node"] for each in door.get("/nodes", params=query).json()]

    def series() -> set[str]:
        return set(re.findall(r'archipel_node_silent_s{node="([^"]*)"}', door.get("/metrics").text))

    assert shown() == [did for did in everybody if did != left.did]
    world.now_ms += GONE_MS
    assert shown() == [did for did in everybody if did != left.did]
    assert waiting.ask() is None, "there is nothing to do, and the ledger knows nothing of it"
    world.now_ms += 1
    here = [busy.did, waiting.did]
    assert shown() == here, "whoever holds work, and whoever asks, is here"
    assert series() == set(here)
    assert "archipel_nodes 2.0" in door.get("/metrics").text
    assert shown(start=1, limit=1) == here[1:]
    assert shown(all="1") == everybody
    assert shown(all="true", start=2, limit=2) == everybody[2:4]
    assert door.get(f"/nodes/{waiting.did}").json()["silent_s"] == 0.001
    assert door.get(f"/nodes/{silent.did}").json()["silent_s"] == (GONE_MS + 1) / 1000
    assert problem(door.get("/nodes", params={"all": "perhaps"})) == "invalid-request"
    silent.join()
    assert shown() == [busy.did, silent.did, waiting.did]


def test_the_ledger_comes_by_pages(world: World, door: Door) -> None:
    world.started()
    whole = door.get("/ledger/entries").json()
    assert [base64.b64decode(each) for each in whole] == world.lab.log.read(0, 100)
    assert door.get("/ledger/entries", params={"start": 2, "limit": 1}).json() == whole[2:3]
    for bad in ({"start": -1}, {"limit": 0}, {"limit": 1001}):
        assert problem(door.get("/ledger/entries", params=bad)) == "invalid-request"
    assert door.get("/ledger/entries", params={"limit": 1000}).json() == whole


def test_a_lab_says_who_it_is(world: World, door: Door) -> None:
    facts = door.get("/lab").json()
    assert facts["lab"] == world.state.lab
    assert facts["software"] == f"archipel {__version__}"
    assert facts["operators"] == [world.operator.did]
    assert facts["ledger_key"] == world.lab.log.key.to_text()
    assert facts["ledger_size"] == world.lab.log.size
    founding = decode(Envelope.from_json(facts["founding"].encode()).payload)
    assert founding == world.statements()[0]
    assert door.get("/healthz").text == "ok\n"
    assert door.get(f"/keys/{identity('nobody').did}").json()["last_seq"] == 0


def test_a_run_s_documents_are_the_records_themselves(world: World, door: Door) -> None:
    learner, node = world.started(versions=3, checkpoint_every=9), world.provider("node")
    while world.run().version < 2:
        sampled = node.ask()
        if sampled is not None:
            node.answer(sampled)
        learner.work()
    world.open_run("another")
    assert [each["run"] for each in door.get("/runs").json()] == ["run", "another"]
    assert door.get("/runs/run").json() == door.get("/runs").json()[0]
    assert door.get("/runs", params={"start": 1, "limit": 1}).json() == door.get("/runs").json()[1:]
    assert problem(door.get("/runs", params={"limit": 1001})) == "invalid-request"
    opening = door.get("/runs/run/opening").json()["opening"]
    assert decode(Envelope.from_json(opening.encode()).payload) == world.run().opened
    news = door.get("/runs/run/versions").json()
    assert len(news) == 3
    assert door.get("/runs/run/versions", params={"since": 2}).json() == news[2:]
    made = door.get("/runs/run/updates/1").json()
    assert granted(made).spec.kind == "update"
    assert sorted(group for each in made["inputs"] for group in each["spec"]["groups"]) >= [0, 1]
    for bad in ("/runs/run/updates/0", "/runs/run/updates/3", "/runs/none/versions"):
        assert problem(door.get(bad)) == "not-found"
    world.stop_run()
    assert problem(door.get("/runs/run/updates/1")) == "not-found", "nobody makes it again"
    assert {each["run"] for each in door.get("/waits").json()} == {"another"}


def test_the_description_says_what_a_page_is_when_nobody_says_so(door: Door) -> None:
    paths = door.get("/openapi.json").json()["paths"]
    found = {
        (path, each["name"]): each["schema"].get("default")
        for path, method in (
            ("/runs", "get"), ("/nodes", "get"), ("/leases", "get"), ("/ledger/entries", "get"),
            ("/runs/{name}/versions", "get"), ("/leases", "post"),
        )
        for each in paths[path][method]["parameters"]
    }  # fmt: skip
    assert found == {
        ("/runs", "start"): 0,
        ("/runs", "limit"): 1000,
        ("/nodes", "start"): 0,
        ("/nodes", "limit"): 1000,
        ("/nodes", "all"): False,
        ("/leases", "start"): 0,
        ("/leases", "limit"): 1000,
        ("/leases", "wait_s"): 20.0,
        ("/ledger/entries", "start"): 0,
        ("/ledger/entries", "limit"): 100,
        ("/runs/{name}/versions", "name"): None,
        ("/runs/{name}/versions", "since"): 0,
    }
