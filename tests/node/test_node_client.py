"""The client: transfers that survive a bad network, and a lab that is not believed blindly."""

import asyncio
import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from archipel.blobs import BlobStore
from archipel.identity import sign
from archipel.node import exchange
from archipel.node.client import LabClient
from archipel.node.documents import Opening, VersionEntry
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.patience import Interrupt, NodeFailed, Patience
from archipel.records.fields import MAX_SEQ
from archipel.records.statements import RECORD_TYPE, LeaseReturned, NodeLeft, encode
from live import BadNetwork, live
from people import identity, ref
from specimens import SMALL
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
                await client.upload(path, ref(DATA), None)
                await client.close()
        return network

    network = world.await_(story())
    assert world.blobs.read_bytes(ref(DATA).digest, SIZE) == DATA
    assert network.bytes_up < 1.5 * len(DATA)


def test_an_absent_lab_is_unreachable_and_patience_outlasts_it(world: World) -> None:
    async def story() -> None:
        async with live(world) as url:
            pass
        client = LabClient(url, world.operator)
        with pytest.raises(LabUnreachable):
            await client.greet()
        patience = Patience(url, Interrupt(), None)
        waiting = asyncio.create_task(patience.patiently(client.greet))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        async with live(world, int(url.rsplit(":", 1)[1])):
            await asyncio.wait_for(waiting, 20.0)
            assert client.lab == world.state.lab
        await client.close()

    world.await_(story())


def test_patience_ends_at_its_limit_with_one_clear_sentence(world: World) -> None:
    async def story() -> None:
        async def absent() -> None:
            raise LabUnreachable("connection refused")

        with pytest.raises(NodeFailed, match=r"no lab at http://lab for .* \(connection refused\)"):
            await Patience("http://lab", Interrupt(), 0.2).patiently(absent)
        interrupt = Interrupt()
        interrupt.press()
        with pytest.raises(LabUnreachable):
            await Patience("http://lab", interrupt, None).patiently(absent)

    world.await_(story())


def test_an_answer_that_comes_as_the_operator_stops_the_node_is_kept(world: World) -> None:
    async def story() -> None:
        interrupt = Interrupt()

        async def lease() -> str:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return "lease"
            return "too late"

        asyncio.get_running_loop().call_later(0.02, interrupt.press)
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


def test_a_clock_that_was_set_back_does_not_silence_a_node(world: World) -> None:
    async def story() -> None:
        async with live(world) as url:
            node = world.provider("node")
            for clock in (5_000_000_000, 1_000):
                client = LabClient(url, node.identity, clock_ns=lambda clock=clock: clock)
                await client.greet()
                node.join()
                world._seqs[node.did] = client.next_seq() + 5
                await client.greet()
                await client.submit(NodeLeft)
                world._seqs[node.did] = client.next_seq() + 5
                await client.close()

    world.await_(story())


Answer = Callable[[httpx.Request], httpx.Response]


def asked(world: World, answer: Answer, what: Callable) -> None:
    """Let a client do `what` at a lab that answers like this."""

    async def story() -> None:
        client = LabClient("http://lab.test", identity("node"))
        await client.close()
        client.lab = LAB.did
        transport = httpx.MockTransport(answer)
        client._http = httpx.AsyncClient(transport=transport, base_url=client.url)
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


@pytest.mark.parametrize("status", [502, 503, 504, 507])
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


def test_an_answer_without_end_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_JSON_BYTES", 1000)
    with pytest.raises(LabRefused, match="oversized-answer"):
        asked(world, said(b"[" + b"1," * 600 + b"1]"), lambda c: c.get("/x"))


def test_a_small_answer_never_swells(world: World) -> None:
    bomb = said(gzip.compress(b"1" * 10**6), **{"content-encoding": "gzip"})
    with pytest.raises(LabUnreachable):
        asked(world, bomb, lambda c: c.get("/x"))


def granted(signer, **changed) -> Answer:
    """A grant in answer to whatever was asked, signed by `signer`."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked_for = json.loads(base64.b64decode(json.loads(request.content)["payload"]))
        fields = {"node": identity("node").did, "request_seq": asked_for["seq"]} | changed
        statement = SMALL["lease.granted"].model_copy(update=fields)
        return reply(sign(signer, encode(statement), RECORD_TYPE).to_json())

    return answer


def test_a_grant_counts_only_from_the_lab_for_this_node_and_this_request(world: World) -> None:
    async def lease(client: LabClient) -> None:
        assert await client.lease(("rollout",), 0.0) is not None

    asked(world, granted(LAB), lease)
    for answer in (
        granted(identity("node")),
        granted(LAB, author=identity("node").did),
        granted(LAB, node=identity("other").did),
        granted(LAB, request_seq=1),
        granted(LAB, lab=identity("other").did),
        said(b"{}"),
        said(sign(LAB, encode(SMALL["lease.expired"]), RECORD_TYPE).to_json()),
    ):
        with pytest.raises(LabRefused, match="bad-grant"):
            asked(world, answer, lease)


OPENING = {
    "run": "run",
    "recipe": ref(b"r").model_dump(),
    "pace": SMALL["run.opened"].model_dump(mode="json")["pace"],
    "model": [{"name": "config.json", "blob": ref(b"{}").model_dump()}],
    "opened_at_ms": 1,
    "new in a later release": True,
}


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe": {"digest": "sha256:../../../etc", "size": 1}},
        {"model": [{"name": "../../key", "blob": ref(b"{}").model_dump()}]},
        {"model": [{"name": ".profile", "blob": ref(b"{}").model_dump()}]},
        {"pace": {}},
        {"opened_at_ms": "soon"},
    ],
)
def test_a_document_that_would_lead_astray_is_refused(world: World, changed: dict) -> None:
    good = said(json.dumps(OPENING).encode())
    asked(world, good, lambda c: c.read(Opening, "/runs/run/opening"))
    bad = said(json.dumps(OPENING | changed).encode())
    with pytest.raises(LabRefused, match="unexpected-answer"):
        asked(world, bad, lambda c: c.read(Opening, "/runs/run/opening"))


@pytest.mark.parametrize("data", [b"{}", b"[1]", b"[{}]", b"null", b"7"])
def test_a_list_of_other_things_is_refused(world: World, data: bytes) -> None:
    if data == b"{}":
        asked(world, said(b"[]"), lambda c: c.read_all(VersionEntry, "/x"))
        return
    with pytest.raises(LabRefused, match="unexpected-answer"):
        asked(world, said(data), lambda c: c.read_all(VersionEntry, "/x"))


def test_two_runs_of_one_name_never_share_a_folder() -> None:
    opening = Opening.model_validate_json(json.dumps(OPENING))
    later = opening.model_copy(update={"opened_at_ms": 2})
    folders = {opening.folder("a"), later.folder("a"), opening.folder("b")}
    assert len(folders) == 3
    assert opening.folder("a") == Opening.model_validate_json(json.dumps(OPENING)).folder("a")


def test_bytes_that_do_not_hash_to_their_name_are_refused_and_not_kept(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.client.FIRST_PAUSE_S", 0.001)
    store = BlobStore(folder / "node")
    for lie in (b"other bytes", b"longer than what was announced"):
        with pytest.raises(LabRefused, match="wrong-digest"):
            asked(world, said(lie), lambda c: c.fetch(ref(b"honest data"), store))
    assert store.digests() == []


@pytest.mark.parametrize("facts", [{"lab": "did:key:z6Mk"}, {"lab": 3}, {}])
def test_a_lab_without_a_name_is_not_spoken_to(world: World, facts: dict) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return reply(json.dumps({"last_seq": 0} if "keys" in str(request.url) else facts).encode())

    with pytest.raises(LabRefused):
        asked(world, answer, lambda c: c.greet())


def test_a_lab_that_claims_the_last_number_was_used_is_refused_not_crashed_on(
    world: World,
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_key = "keys" in str(request.url)
        return reply(json.dumps({"last_seq": MAX_SEQ} if is_key else {"lab": LAB.did}).encode())

    async def leave(client: LabClient) -> None:
        await client.greet()
        await client.submit(NodeLeft)

    with pytest.raises(LabRefused):
        asked(world, answer, leave)
