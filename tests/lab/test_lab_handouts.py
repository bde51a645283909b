"""What goes out with a lease: the news that its node lacks, as far as it says so and as far as it fits."""

import dataclasses
from typing import Any

import pytest

from archipel.identity import Envelope
from archipel.lab import handouts
from archipel.lab.chain import since, version_of
from archipel.lab.handouts import Outgoing, publications
from archipel.lab.programmes import rl
from archipel.records.canonical import sha256_digest
from archipel.records.documents import BLOB_MARK_DIGITS, Have, HeldRun, inputs_digest
from archipel.records.fields import BlobRef
from archipel.records.statements import Statement, decode
from people import Learner, Provider
from world import World, granted_in


def asked(world: World, node: Provider, have: Have | None = None) -> Outgoing:
    """The lease that `node` gets now, with what comes along."""
    out = world.await_(world.lab.lease(node.request(), 0.0, have))
    assert out is not None
    granted = granted_in(out)
    node.leases[granted.work] = granted
    return out


def said(sealed: str) -> Statement:
    return decode(Envelope.from_json(sealed.encode()).payload)


def versions(out: Outgoing) -> list[int]:
    """Versions whose publications came."""
    return [said(sealed).answer.version for sealed in out.handout.versions]  # type: ignore[attr-defined]  # publications


def held(opening: bool = True, version: int = -1, weights: int = -1) -> Have:
    return Have(runs={"run": HeldRun(opening=opening, version=version, weights=weights)})


def mark(digest: str) -> str:
    return digest.removeprefix("sha256:")[:BLOB_MARK_DIGITS]


def at_version(world: World, number: int, **pace: Any) -> tuple[Learner, Provider]:
    """A run at this version; from version 1 on each brings a delta beside an anchor at 0 and 2."""
    learner, node = world.started(groups_per_update=1, versions=6, **pace), world.provider("node")
    while world.run().version < number:
        sampled = node.ask()
        if sampled is not None:
            node.answer(sampled)
        granted = learner.ask()
        if granted is None:
            continue
        if granted.spec.kind != "update":
            learner.answer(granted)
            continue
        lies: dict[str, Any] = {"delta": world.put(f"delta {granted.work}".encode())}
        if granted.spec.version != 2:  # type: ignore[union-attr]  # an update
            lies["anchor"] = None
        learner.answer(granted, **lies)
    for granted in list(node.leases.values()):
        node.answer(granted)
    return learner, node


def test_who_has_nothing_gets_the_opening_the_publication_the_weights_and_the_prompts(
    world: World,
) -> None:
    world.started()
    out = asked(world, world.provider("node"))
    run, grant = world.run(), granted_in(out)
    assert out.handout.opening is not None
    assert said(out.handout.opening) == run.opened
    assert versions(out) == [0]
    assert out.handout.inputs is None
    manifest, anchor = run.chain[0].manifest, run.chain[0].anchor
    assert anchor is not None
    spec: Any = grant.spec
    wanted = [*spec.prompts, manifest, anchor]
    assert [sha256_digest(blob) for blob in out.blobs] == [blob.digest for blob in wanted]
    recipe = run.opened.recipe.digest
    assert recipe not in {sha256_digest(blob) for blob in out.blobs}, "it is for trusted keys"


def test_who_has_the_opening_and_the_version_gets_neither_again(world: World) -> None:
    world.started()
    node = world.provider("node")
    out = asked(world, node, held(version=0, weights=0))
    assert out.handout.opening is None
    assert out.handout.versions == ()
    spec: Any = granted_in(out).spec
    assert [sha256_digest(blob) for blob in out.blobs] == [blob.digest for blob in spec.prompts]


def test_what_a_node_says_of_another_run_is_not_of_this_one(world: World) -> None:
    world.started()
    have = Have(runs={"other": HeldRun(opening=True, version=9, weights=9)})
    out = asked(world, world.provider("node"), have)
    assert out.handout.opening is not None
    assert versions(out) == [0]


@pytest.mark.parametrize(
    ("have", "news", "roles"),
    [
        (held(), [2, 3], ["m2", "a2", "m3", "d3"]),
        (held(version=2, weights=-1), [3], ["m2", "a2", "m3", "d3"]),
        (held(version=3, weights=2), [], ["m3", "d3"]),
        (held(version=0, weights=1), [2, 3], ["m2", "d2", "m3", "d3"]),
        (held(version=0, weights=0), [1, 2, 3], ["m1", "d1", "m2", "d2", "m3", "d3"]),
        (held(version=3, weights=3), [], []),
        (held(version=3, weights=9), [], ["m2", "a2", "m3", "d3"]),
    ],
)
def test_the_way_from_the_weights_at_hand_comes_along_and_no_more_of_it_than_is_new(
    world: World, have: Have, news: list[int], roles: list[str]
) -> None:
    _, node = at_version(world, 3)
    out = asked(world, node, have)
    assert versions(out) == news
    chain = {each.version: each for each in world.run().chain}
    fields = {"m": "manifest", "a": "anchor", "d": "delta"}
    expected = [getattr(chain[int(role[1])], fields[role[0]]).digest for role in roles]
    spec: Any = granted_in(out).spec
    came = [sha256_digest(blob) for blob in out.blobs]
    assert came == [*(blob.digest for blob in spec.prompts), *expected]


def test_a_blob_whose_mark_the_node_names_stays_away(world: World) -> None:
    world.started()
    whole = {mark(sha256_digest(blob)) for blob in asked(world, world.provider("a")).blobs}
    known = sorted(whole)[0]
    out = asked(world, world.provider("b"), Have(blobs=(known, "0" * 16)))
    came = {mark(sha256_digest(blob)) for blob in out.blobs}
    assert known not in came
    assert len(came) == len(whole) - 1


def test_blobs_go_along_as_far_as_they_fit_and_the_rest_is_fetched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started(groups_per_update=16, max_groups_per_lease=1)
    sizes = [len(blob) for blob in asked(world, world.provider("a")).blobs]
    assert len(sizes) == 3
    for room, number in ((sum(sizes), 3), (sum(sizes) - 1, 2), (0, 0)):
        monkeypatch.setattr(handouts, "MAX_NEWS_BYTES", room)
        out = asked(world, world.provider(f"room {room}"))
        assert len(out.blobs) == number
    monkeypatch.setattr(handouts, "MAX_NEWS_BYTES", 10**6)
    monkeypatch.setattr(handouts, "MAX_PARCEL_BLOBS", 2)
    assert len(asked(world, world.provider("b")).blobs) == 2


def test_a_blob_that_is_not_here_any_more_stays_away_and_the_lease_goes_out(world: World) -> None:
    world.started()
    run = world.run()
    world.blobs.discard(run.chain[0].manifest.digest)
    out = asked(world, world.provider("node"))
    assert run.chain[0].manifest.digest not in {sha256_digest(blob) for blob in out.blobs}
    assert len(out.blobs) == 2


def test_publications_go_along_as_far_as_they_fit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, node = at_version(world, 3)
    whole = asked(world, node, held(version=0, weights=0)).handout.versions
    assert len(whole) == 3
    for granted in list(node.leases.values()):
        node.give_back(granted.work)
    room = len(whole[0]) + len(whole[1])
    for characters, number in ((room, 2), (room - 1, 1), (room + len(whole[2]), 3)):
        monkeypatch.setattr(handouts, "MAX_DOCUMENT_CHARACTERS", characters)
        out = asked(world, node, held(version=0, weights=0))
        assert out.handout.versions == whole[:number]
        node.give_back(granted_in(out).work)


def test_an_update_brings_its_inputs_their_results_and_the_recipe(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, node = world.started(), world.provider("node")
    while learner.work() is not None:
        pass
    while (sampled := node.ask()) is not None:
        node.answer(sampled)
    out = asked(world, learner)
    spec: Any = granted_in(out).spec
    assert spec.kind == "update"
    inputs = out.handout.inputs
    assert inputs is not None
    assert inputs == rl.batch_results(world.run())
    assert inputs_digest(inputs) == spec.inputs
    came = {sha256_digest(blob) for blob in out.blobs}
    results: list[BlobRef] = [each.answer.result for each in inputs]  # type: ignore[attr-defined]  # rollouts
    assert {blob.digest for blob in results} <= came
    assert world.run().opened.recipe.digest in came
    assert out.handout.versions == ()
    learner.give_back(granted_in(out).work)
    monkeypatch.setattr(handouts, "MAX_INPUTS_BESIDE", len(inputs))
    out = asked(world, learner, held())
    assert out.handout.inputs == inputs
    came = {sha256_digest(blob) for blob in out.blobs}
    assert world.run().opened.recipe.digest not in came, "who has the opening has the recipe"
    learner.give_back(granted_in(out).work)
    monkeypatch.setattr(handouts, "MAX_INPUTS_BESIDE", len(inputs) - 1)
    out = asked(world, learner)
    assert out.handout.inputs is None
    came = {sha256_digest(blob) for blob in out.blobs}
    assert not {blob.digest for blob in results} & came


def test_the_first_update_brings_its_recipe_and_no_inputs(world: World) -> None:
    world.open_run()
    out = asked(world, world.learner())
    assert out.handout.inputs is None
    assert [sha256_digest(blob) for blob in out.blobs] == [world.run().opened.recipe.digest]


def test_an_exam_brings_the_weights_and_the_recipe(world: World) -> None:
    learner = world.started()
    out = asked(world, learner)
    chain = world.run().chain
    assert chain[0].anchor is not None
    expected = [chain[0].manifest, chain[0].anchor, world.run().opened.recipe]
    assert [sha256_digest(blob) for blob in out.blobs] == [blob.digest for blob in expected]
    assert out.handout.inputs is None


def test_records_are_found_again_after_a_restart_and_when_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, node = at_version(world, 3)
    before = asked(world, node, held(opening=False, version=0, weights=0))
    node.give_back(granted_in(before).work)
    world.restart()
    again = asked(world, node, held(opening=False, version=0, weights=0))
    node.give_back(granted_in(again).work)
    monkeypatch.setattr(handouts, "MAX_SEALED_REMEMBERED", 1)
    few = asked(world, node, held(opening=False, version=0, weights=0))
    for out in (again, few):
        assert out.handout.opening == before.handout.opening
        assert out.handout.versions == before.handout.versions


def test_publications_come_by_pages_from_the_one_that_was_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_version(world, 3)

    def page(first: int) -> list[int]:
        sealed = world.await_(publications(world.lab.records, world.run(), first))
        return [said(each).answer.version for each in sealed]  # type: ignore[attr-defined]  # publications

    assert [page(0), page(2), page(3), page(4)] == [[0, 1, 2, 3], [2, 3], [3], []]
    monkeypatch.setattr(handouts, "MAX_VERSIONS_PER_PAGE", 2)
    assert [page(0), page(1), page(3)] == [[0, 1], [1, 2], [3]]


def test_the_chain_keeps_what_the_newest_versions_are_reached_from(world: World) -> None:
    at_version(world, 3, keep_versions=2)
    run = world.run()
    assert [each.version for each in run.chain] == [2, 3], "2 is an anchor, and 2 is wanted"
    assert [each.version for each in since(run, 0)] == [2, 3]
    assert [each.version for each in since(run, 3)] == [3]
    assert since(run, 4) == ()
    assert [version_of(run, number) is not None for number in (1, 2, 3, 4)] == [
        False,
        True,
        True,
        False,
    ]
    found = version_of(run, 3)
    assert found is not None
    assert found.version == 3
    empty = dataclasses.replace(run, chain=())
    assert since(empty, 0) == ()
    assert version_of(empty, 0) is None


def test_an_anchor_before_the_wanted_versions_stays_until_a_newer_one_serves_all(
    world: World,
) -> None:
    at_version(world, 4, keep_versions=4)
    assert [each.version for each in world.run().chain] == [0, 1, 2, 3, 4], "1 hangs on 0"
