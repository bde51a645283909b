"""The client: transfers that survive a bad network, and a lab that is not believed blindly."""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agents import until
from archipel.blobs import BlobStore
from archipel.identity import sign
from archipel.node import exchange
from archipel.node.client import NOBODY_S, LabClient, LabReader
from archipel.node.clock import STALE_S, LabClock
from archipel.node.exchange import Bounds, LabRefused, LabUnreachable
from archipel.node.lease import Wanted
from archipel.node.patience import Interrupt, Patience
from archipel.node.sealed import Founding
from archipel.node.uploads import send_file
from archipel.records.documents import (
    MAX_SEALED_CHARACTERS,
    MAX_VERSIONS_PER_PAGE,
    Handout,
    RunView,
)
from archipel.records.fields import MAX_SEQ
from archipel.records.parcel import unpack_parcel
from archipel.records.statements import (
    RECORD_TYPE,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    encode,
)
from live import BadNetwork, live
from people import identity, ref
from specimens import CAPABILITIES, SMALL, SPECS
from world import World

SIZE = 2_000_000
DATA = bytes(range(251)) * (SIZE // 251)
LAB = identity("lab")


def test_a_download_cut_again_and_again_resumes_where_it_stopped(
    world: World, folder: Path
) -> None:
    world.blobs.put_bytes(DATA)
    store = BlobStore(folder / "node")

    async def story() -> BadNetwork:
        async with live(world) as url:
            network = BadNetwork(url, [300_000, 500_000, 700_000], upwards=False)
            async with network.open() as bad:
                client = LabClient(bad, identity("node"))
                path = await client.fetch(ref(DATA), store)
                assert path.read_bytes() == DATA
                await client.close()
        return network

    network = world.await_(story())
    assert network.connections == 4
    assert network.bytes_down < 1.2 * len(DATA)


def test_an_upload_cut_again_and_again_resumes_where_it_stopped(world: World, folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(DATA)

    async def story() -> BadNetwork:
        async with live(world) as url:
            network = BadNetwork(url, [700_000, 900_000], upwards=True)
            async with network.open() as bad:
                client = LabClient(bad, world.operator)
                await client.greet()
                await send_file(client, path, ref(DATA))
                await client.close()
        return network

    network = world.await_(story())
    assert world.blobs.read_bytes(ref(DATA).digest, SIZE) == DATA
    assert network.bytes_up < 1.5 * len(DATA)


def test_an_absent_lab_is_unreachable_and_patience_outlasts_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with live(world) as url:
            pass
        client = LabClient(url, world.operator)
        with pytest.raises(LabUnreachable):
            await client.greet()
        patience = Patience(url, Interrupt(), None)
        waiting = asyncio.create_task(patience.patiently(client.greet))
        await until(lambda: caplog.messages.count("lab unreachable") >= 2)
        assert not waiting.done()
        async with live(world, int(url.rsplit(":", 1)[1])):
            await asyncio.wait_for(waiting, 20.0)
            assert client.lab == world.state.lab
        await client.close()

    with caplog.at_level("WARNING", "archipel.node"):
        world.await_(story())


def test_an_answer_that_comes_as_the_operator_stops_the_node_is_kept(world: World) -> None:
    async def story() -> None:
        interrupt = Interrupt()

        async def lease() -> str:
            asyncio.get_running_loop().call_soon(interrupt.press)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return "lease"
            return "too late"

        assert await interrupt.unless_stopping(lease()) == "lease"
        assert await interrupt.unless_hurrying(asyncio.sleep(0, "done")) == "done"
        assert interrupt.stopping
        assert not interrupt.hurrying

    world.await_(story())


def test_every_refusal_arrives_with_its_problem_and_status(world: World) -> None:
    async def story() -> None:
        async with live(world) as url:
            client = LabClient(url, identity("stranger"))
            await client.greet()
            with pytest.raises(LabRefused, match="not-joined") as caught:
                await client.submit(LeaseReturned, work="run.1", reason="")
            assert (caught.value.problem, caught.value.status) == ("not-joined", 403)
            await client.close()

    world.await_(story())


def test_a_lab_whose_clock_was_set_back_still_hears_a_node(world: World) -> None:
    async def story() -> None:
        async with live(world) as url, LabClient(url, identity("node")) as client:
            for skew_ms in (3_600_000, 0, -3_600_000):
                world.lab.clock_ms = lambda skew_ms=skew_ms: real_ms() + skew_ms
                await client.greet()
                await client.submit(NodeJoined, capabilities=CAPABILITIES)
                await client.submit(NodeLeft)

    world.await_(story())


def test_a_key_used_on_another_machine_before_goes_on_counting_there(world: World) -> None:
    async def story() -> None:
        async with live(world) as url:
            for ticks in (lambda: 10**18, lambda: 0):
                async with LabClient(url, identity("node"), LabClock(ticks)) as client:
                    await client.greet()
                    await client.submit(NodeJoined, capabilities=CAPABILITIES)
                    await client.submit(NodeLeft)

    world.await_(story())


def real_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("skew_ms", [-7_200_000, 0, 7_200_000])
def test_deadlines_go_by_the_labs_clock_whatever_the_nodes_own_says(skew_ms: int) -> None:
    now = [5_000_000_000]
    clock = LabClock(lambda: now[0])
    assert clock.is_stale
    lab_ms = 1_800_000_000_000 + skew_ms
    clock.set(lab_ms, now[0], now[0] + 2_000_000)
    now[0] += 2_000_000
    assert not clock.is_stale
    assert clock.left_s(lab_ms + 60_001) == pytest.approx(60.0, abs=1e-6)
    now[0] += 61_000_000_000
    assert clock.left_s(lab_ms + 60_001) == pytest.approx(-1.0, abs=1e-6)
    assert clock.now_us() == (lab_ms + 61_001) * 1000
    now[0] += int(STALE_S * 1e9)
    assert clock.is_stale


Answer = Callable[[httpx.Request], httpx.Response]


def asked(world: World, answer: Answer, what: Callable) -> None:
    """Let a client do `what` at a lab that answers like this."""

    async def story() -> None:
        client = LabClient("http://lab.test", identity("node"))
        await client.close()
        client.founding = Founding(LAB.did, frozenset({identity("operator").did}))
        transport = httpx.MockTransport(answer)
        client.http = httpx.AsyncClient(transport=transport, base_url=client.url)
        try:
            await what(client)
        finally:
            await client.close()

    world.await_(story())


def reply(data: bytes, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(data), headers=headers)


def said(data: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda _: reply(data, status, **headers)


def problem_of(kind: str) -> bytes:
    return json.dumps({"type": f"x/{kind}", "title": "", "detail": "why"}).encode()


@pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
def test_a_lab_in_trouble_counts_as_unreachable(world: World, status: int) -> None:
    with pytest.raises(LabUnreachable):
        asked(world, said(problem_of("storage-full"), status), lambda c: c.get("/x"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(b"<html>log in here</html>"), LabUnreachable),
        (said(b"oops", 500), LabUnreachable),
        (said(b"[" * 100_000), LabUnreachable),
        (said(b"oops", 404), LabRefused),
        (said(problem_of("conflict"), 409), LabRefused),
    ],
)
def test_whatever_answers_the_error_has_one_of_two_names(
    world: World, answer: Answer, error: type[Exception]
) -> None:
    with pytest.raises(error):
        asked(world, answer, lambda c: c.get("/x"))


def test_an_answer_without_end_is_cut_off(world: World) -> None:
    few = Bounds(max_bytes=1000)
    asked(world, said(b"x" * 1000), lambda c: c.get_bytes("/x", few))
    with pytest.raises(LabRefused, match="oversized-answer"):
        asked(world, said(b"x" * 1001), lambda c: c.get_bytes("/x", few))


def test_a_document_that_is_asked_for_without_bounds_has_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    async def body(answer: httpx.Response, max_bytes: int) -> bytes:
        told.append(max_bytes)
        return b"[]"

    monkeypatch.setattr("archipel.node.turning.bounded_body", body)
    asked(world, said(b"[]"), lambda c: c.get("/x"))
    assert told[-1] == exchange.MAX_JSON_BYTES
    assert exchange.DOCUMENT.limit_s == exchange.ANSWER_LIMIT_S


def test_the_largest_page_of_a_lab_is_read_whole(world: World) -> None:
    page = [b"x" * MAX_SEALED_CHARACTERS] * MAX_VERSIONS_PER_PAGE
    data = b'["' + b'","'.join(page) + b'"]'

    async def get(client: LabClient) -> None:
        assert len(await client.get("/x")) == MAX_VERSIONS_PER_PAGE

    asked(world, said(data), get)


def test_a_small_answer_never_swells(world: World) -> None:
    bomb = said(gzip.compress(b"1" * 10**6), **{"content-encoding": "gzip"})
    with pytest.raises(LabUnreachable):
        asked(world, bomb, lambda c: c.get("/x"))


def test_an_answer_that_drips_without_end_is_cut_off_and_may_be_asked_for_again(
    world: World,
) -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                yield b" "
                await asyncio.sleep(0.001)

    async def ask(client: LabClient) -> None:
        await client.get_bytes("/x", Bounds(limit_s=0.05))

    with pytest.raises(LabUnreachable, match="no whole answer in"):
        asked(world, lambda _: httpx.Response(200, stream=Drip()), ask)


def granted(signer, **changed) -> Answer:
    """A grant in answer to whatever was asked, signed by `signer`."""

    def answer(request: httpx.Request) -> httpx.Response:
        document, _ = unpack_parcel(request.content)
        sealed = json.loads(document)["request"]
        asked_for = json.loads(base64.b64decode(json.loads(sealed)["payload"]))
        fields = {"node": identity("node").did, "request_seq": asked_for["seq"]} | changed
        statement = SMALL["lease.granted (rollout)"].model_copy(update=fields)
        return reply(handout(sign(signer, encode(statement), RECORD_TYPE).to_json()))

    return answer


def handout(grant: bytes) -> bytes:
    return Handout(grant=grant.decode()).model_dump_json().encode()


def test_a_grant_counts_only_from_the_lab_for_this_node_and_this_request(world: World) -> None:
    async def lease(client: LabClient) -> None:
        assert await client.lease(Wanted(("rollout",)), 0.0) is not None

    asked(world, granted(LAB), lease)
    for answer in (
        granted(identity("node")),
        granted(LAB, author=identity("node").did),
        granted(LAB, node=identity("other").did),
        granted(LAB, request_seq=1),
        granted(LAB, lab=identity("other").did),
        granted(LAB, work="other.1"),
        granted(LAB, spec=SPECS["update"]),
        said(handout(b"{}")),
        said(handout(sign(LAB, encode(SMALL["lease.expired"]), RECORD_TYPE).to_json())),
    ):
        with pytest.raises(LabRefused, match="bad-grant"):
            asked(world, answer, lease)
    for data in (b"{}", b"APCL1\n", b"[]", b"null"):
        with pytest.raises(LabRefused, match="unexpected-answer"):
            asked(world, said(data), lease)


@pytest.mark.parametrize("data", [b"[1]", b"[{}]", b"null", b"7"])
def test_a_list_of_other_things_is_refused(world: World, data: bytes) -> None:
    with pytest.raises(LabRefused, match="unexpected-answer"):
        asked(world, said(data), lambda c: c.read_all(RunView, "/runs"))


def test_a_list_of_nothing_is_one(world: World) -> None:
    asked(world, said(b"[]"), lambda c: c.read_all(RunView, "/runs"))


def test_bytes_that_do_not_hash_to_their_name_are_refused_and_not_kept(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.lab_reader.FIRST_PAUSE_S", 0.001)
    store = BlobStore(folder / "node")
    for lie in (b"other bytes", b"longer than what was announced"):
        with pytest.raises(LabRefused, match="wrong-digest"):
            asked(world, said(lie), lambda c: c.fetch(ref(b"honest data"), store))
    assert store.digests() == []


def of_a_lab(**changed) -> Answer:
    """`/lab` and `/keys` as an honest lab answers them, but for `changed`."""
    founded = SMALL["lab.opened"]
    facts = {
        "lab": LAB.did,
        "software": "archipel",
        "operators": [],
        "ledger_key": "",
        "ledger_size": 1,
        "founding": sign(LAB, encode(founded), RECORD_TYPE).to_json().decode(),
    }
    key = {"did": identity("node").did, "last_seq": 0, "now_ms": 1_800_000_000_000}

    def answer(request: httpx.Request) -> httpx.Response:
        shown = key if "keys" in str(request.url) else facts
        return reply(json.dumps(shown | {k: v for k, v in changed.items() if k in shown}).encode())

    return answer


def test_a_lab_is_who_its_key_says_and_its_operators_are_those_it_was_founded_with(
    world: World,
) -> None:
    async def greet(client: LabClient) -> None:
        client.founding = NOBODY_S
        await client.greet()
        assert client.lab == LAB.did
        assert client.operators == {identity("operator").did}

    asked(world, of_a_lab(operators=[identity("other").did]), greet)
    other = sign(identity("other"), encode(SMALL["lab.opened"]), RECORD_TYPE).to_json().decode()
    for changed in ({"lab": identity("other").did}, {"lab": "did:key:z6Mk"}, {"founding": other}):
        with pytest.raises(LabRefused, match="bad-founding"):
            asked(world, of_a_lab(**changed), greet)
    for changed in ({"lab": 3}, {"founding": None}):
        with pytest.raises(LabRefused, match="unexpected-answer"):
            asked(world, of_a_lab(**changed), greet)


@pytest.mark.parametrize(
    "changed", [{"last_seq": MAX_SEQ}, {"now_ms": MAX_SEQ}, {"now_ms": MAX_SEQ // 1000}]
)
def test_a_lab_that_claims_the_last_number_was_used_is_refused_not_crashed_on(
    world: World, changed: dict
) -> None:
    async def leave(client: LabClient) -> None:
        await client.greet()
        await client.submit(NodeLeft)

    with pytest.raises(LabRefused, match="unexpected-answer"):
        asked(world, of_a_lab(**changed), leave)


def test_a_reader_needs_no_key_and_says_nothing(world: World) -> None:
    world.started()

    async def story() -> None:
        async with live(world) as url, LabReader(url) as lab:
            await lab.meet()
            assert lab.lab == world.state.lab
            assert (await lab.get("/runs/run"))["version"] == 0
            assert not hasattr(lab, "submit")

    world.await_(story())
