"""Who is sent to whom: whatever nodes say, everybody has a way to the lab, and nobody waits for itself."""

import random
from pathlib import Path

import pytest

from archipel.lab.handouts import Outgoing
from archipel.lab.mesh import Heard, Mesh, address_seen
from archipel.lab.spread import ACCUSERS, FORGIVEN_MS, LAB, Member, Spread
from archipel.market.dissemination import MAX_HOPS, plan
from archipel.records.documents import Have
from archipel.records.sources import Fetched, Serving, chunk_bytes, num_chunks
from archipel.records.statements import LeaseRequested
from door import Door
from people import Provider, identity, ref
from world import World

SIZE = 8 * 2**20
NOW_MS = 1_800_000_000_000
DIGEST = ref(b"version").digest


def spread_among(members: dict[str, Member], lab_uplink: int = 10**6) -> Spread:
    uplinks = [member.uplink for member in members.values() if member.offered]
    made = plan(SIZE, chunk_bytes(SIZE), lab_uplink, uplinks, len(members))
    return Spread(made, lab_uplink, len(members), members)


def key(name: str) -> str:
    return identity(name).did


def asking(name: str, *kinds: str) -> LeaseRequested:
    return LeaseRequested(
        lab=key("lab"), author=key(name), seq=1, kinds=kinds or ("rollout",), holding=()
    )


def said(source: str, ms: int = 1000, *, is_whole: bool = True, is_bad: bool = False) -> Fetched:
    return Fetched(
        digest=DIGEST, source=key(source), bytes=SIZE, ms=ms, is_whole=is_whole, is_bad=is_bad
    )


@pytest.mark.parametrize("seed", range(6))
def test_everybody_has_a_way_to_the_lab_whatever_is_said(seed: int) -> None:
    chance = random.Random(seed)
    dids = [key(f"node {number}") for number in range(chance.randint(2, 40))]
    members = {
        did: Member(f"192.0.2.1:{2000 + number}", offered=chance.choice([0, 10**5, 10**6, 10**7]))
        for number, did in enumerate(dids)
    }
    spread, now_ms = spread_among(members), NOW_MS
    for _ in range(4 * len(dids)):
        did, now_ms = chance.choice(dids), now_ms + chance.randint(0, 3000)
        peers = spread.place(did, now_ms)
        assert did not in peers
        assert len(set(peers)) == len(peers) <= 4
        for peer in peers:
            assert members[peer].serves(now_ms)
            assert peer not in spread.places[did].refused
        above, seen = spread.places[did].parent, {did}
        while above != LAB and not spread.places[above].is_whole:
            assert above not in seen, "they wait for one another"
            seen.add(above)
            above = spread.places[above].parent
        assert spread.places[did].depth <= MAX_HOPS
        for source in chance.sample(dids, 2):
            word = said("a", chance.randint(1, 10**5), is_bad=chance.random() < 0.2)
            word = word.model_copy(update={"source": source})
            spread.heard(chance.choice(dids), word, now_ms)


def test_slots_are_filled_from_the_top_and_whoever_serves_stands_above() -> None:
    members = {f"s{n}": Member("192.0.2.1:2000", offered=10**6) for n in range(6)}
    members |= {f"f{n}": Member() for n in range(2)}
    spread = spread_among(members)
    rate = spread.plan.chosen.rate
    for did in members:
        spread.place(did, NOW_MS)
    children: dict[str, int] = {}
    for place in spread.places.values():
        children[place.parent] = children.get(place.parent, 0) + 1
    assert all(10**6 // rate >= num for num in children.values())
    assert {spread.places[f"f{n}"].parent for n in range(2)}.isdisjoint({LAB, "f0", "f1"})


def test_a_slot_is_free_again_when_its_node_has_the_blob_or_is_gone() -> None:
    members = {did: Member("192.0.2.1:2000", offered=10**6) for did in map(key, "abcd")}
    spread = spread_among(members)
    spread.place(key("a"), NOW_MS)
    first = spread.place(key("b"), NOW_MS)
    spread.heard(key("b"), said("a"), NOW_MS)
    late = NOW_MS + 10 * spread.plan.chosen.tail_ms
    assert first == [key("a")]
    assert spread.places[key("b")].is_whole
    for did in map(key, "cd"):
        spread.place(did, late)
    assert all(spread.places[did].depth <= 3 for did in map(key, "abcd"))


def test_a_source_that_two_nodes_dropped_is_told_of_to_nobody_for_a_while() -> None:
    members = {did: Member("192.0.2.1:2000", offered=10**6) for did in map(key, "abcdef")}
    spread = spread_among(members)
    for did in map(key, "abcde"):
        spread.place(did, NOW_MS)
    told_of_a = [did for did in map(key, "bcde") if key("a") in spread.places[did].told]
    for did in told_of_a[:1] * 3:
        spread.heard(did, said("a", is_bad=True, is_whole=False), NOW_MS)
    assert members[key("a")].serves(NOW_MS), "one alone may lie"
    assert key("a") not in spread.place(told_of_a[0], NOW_MS), "but it is not sent there again"
    for did in told_of_a[1:ACCUSERS]:
        spread.heard(did, said("a", is_bad=True, is_whole=False), NOW_MS)
    assert not members[key("a")].serves(NOW_MS)
    assert key("a") not in spread.place(key("f"), NOW_MS)
    assert members[key("a")].serves(NOW_MS + FORGIVEN_MS + 1)


def test_nobody_can_accuse_or_praise_a_source_that_it_was_not_sent_to() -> None:
    members = {did: Member("192.0.2.1:2000", offered=10**6) for did in map(key, "abcdefg")}
    spread = spread_among(members)
    for did in map(key, "abcdef"):
        spread.place(did, NOW_MS)
    for did in map(key, "abcdeg"):  # none of them stands below f, and g has no place
        spread.heard(did, said("f", is_bad=True), NOW_MS)
        spread.heard(did, said("f", ms=10**6), NOW_MS)
    assert members[key("f")].serves(NOW_MS)
    assert members[key("f")].uplink == 10**6


def test_a_line_that_holds_its_children_back_is_measured_as_narrow() -> None:
    members = {did: Member("192.0.2.1:2000", offered=10**7) for did in map(key, "ab")}
    spread = spread_among(members, 10**6)
    spread.place(key("a"), NOW_MS)
    assert spread.place(key("b"), NOW_MS) == [key("a")]
    spread.heard(key("a"), said("the lab", ms=8000), NOW_MS)
    spread.heard(key("b"), said("a", ms=80_000), NOW_MS)
    assert members[key("a")].uplink == SIZE // 80
    spread.heard(key("b"), said("a", ms=8000), NOW_MS)
    assert members[key("a")].uplink > SIZE // 10


def test_children_of_who_waited_itself_say_nothing_of_its_line() -> None:
    members = {did: Member("192.0.2.1:2000", offered=10**7) for did in map(key, "ab")}
    spread = spread_among(members, 10**6)
    for did in map(key, "ab"):
        spread.place(did, NOW_MS)
    spread.heard(key("a"), said("the lab", ms=80_000), NOW_MS)
    spread.heard(key("b"), said("a", ms=80_000), NOW_MS)
    assert members[key("a")].uplink == 10**7


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7:8441"),
        ("::ffff:192.0.2.7", "192.0.2.7:8441"),
        ("2001:db8::1", "[2001:db8::1]:8441"),
        ("", None),
        ("a.name", None),
        ("0.0.0.0", None),
        ("224.0.0.1", None),
        ("fe80::1%eth0", None),
    ],
)
def test_a_node_is_told_of_at_the_address_that_the_lab_sees(host: str, address: str | None) -> None:
    assert address_seen(host, Serving(port=8441, rate=1)) == address


def asked(world: World, node: Provider, port: int | None = None, rate: int = 10**6) -> Outgoing:
    serving = None if port is None else Serving(port=port, rate=rate)
    heard = Heard.of(Have(serving=serving), "192.0.2.9")
    answer = world.await_(world.lab.lease(node.request(), 0.0, heard))
    assert answer is not None
    return answer


def test_a_lease_tells_where_its_version_lies_and_small_blobs_stay_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ledger_on_disk=False)
    try:
        world.started(groups_per_update=8)
        node = [world.provider(f"node {number}") for number in range(4)]
        world.lab.mesh.pacer.rate = 1000
        assert asked(world, node[0], 2000).handout.sources == (), "a megabyte travels beside"
        monkeypatch.setattr("archipel.lab.mesh.SMALL_BLOB_BYTES", 0)
        assert asked(world, node[1]).handout.sources == (), "nobody else is known to want it"
        (told,) = asked(world, node[2], 2001).handout.sources[-1:]
        assert told.peers == ()
        anchor = world.run().chain[0].anchor
        assert anchor is not None
        assert told.digest == anchor.digest
        assert len(told.chunks) == num_chunks(anchor.size)
        (told,) = asked(world, node[3]).handout.sources[-1:]
        assert [peer.address for peer in told.peers] == ["192.0.2.9:2001"]
        assert told.peers[0].node == identity("node 2").did
    finally:
        world.close()


def test_without_a_known_uplink_or_a_host_everything_comes_from_the_lab(tmp_path: Path) -> None:
    world = World(tmp_path, ledger_on_disk=False)
    try:
        mesh = Mesh(world.blobs, lambda: NOW_MS, in_thread=False)
        blob = world.put(bytes(3 * 2**20))
        mesh.heard(asking("a"), Heard.of(Have(serving=Serving(port=2000, rate=10**6)), "192.0.2.9"))
        mesh.heard(asking("b"), Heard.of(Have(), "192.0.2.8"))
        mesh.heard(asking("c", "update"), Heard.of(Have(), "192.0.2.8"))
        assert world.await_(mesh.sources(key("b"), [blob])) == ()
        mesh.pacer.rate = 10**5
        assert len(world.await_(mesh.sources(key("a"), [blob]))) == 1
        (told,) = world.await_(mesh.sources(key("b"), [blob]))
        assert [peer.node for peer in told.peers] == [key("a")]
        assert world.await_(mesh.sources(key("c"), [blob])) == (), (
            "it makes versions, and fetches none"
        )
    finally:
        world.close()


def test_metrics_say_who_serves_and_how_far_a_version_has_come(tmp_path: Path) -> None:
    world = World(tmp_path, ledger_on_disk=False)
    door = Door(world)
    try:
        blob, mesh = world.put(bytes(3 * 2**20)), world.lab.mesh
        mesh.pacer.rate = 10**5
        serving = Have(serving=Serving(port=2000, rate=10**6))
        mesh.heard(asking("a"), Heard.of(serving, "192.0.2.9"))
        mesh.heard(asking("b"), Heard.of(Have(), "192.0.2.8"))
        for did in map(key, "ab"):
            world.await_(mesh.sources(did, [blob]))
        fetched = said("lab").model_copy(update={"digest": blob.digest})
        mesh.heard(
            asking("a"), Heard.of(serving.model_copy(update={"fetched": (fetched,)}), "192.0.2.9")
        )
        shown = door.get("/metrics").text
        of_blob = f'digest="{blob.digest}",shape="mirrors"'
        assert "archipel_nodes_serving 1.0" in shown
        assert "archipel_uplink_bytes_per_second 100000.0" in shown
        assert f"archipel_spread_nodes{{{of_blob}}} 2.0" in shown
        assert f"archipel_spread_whole{{{of_blob}}} 1.0" in shown
    finally:
        door.close()
        world.close()
