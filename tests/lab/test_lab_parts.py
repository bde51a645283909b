"""A lab takes in a version in parts only with all of them, and keeps them as long as the version."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.garbage import needed, versions_in_parts
from archipel.lab.parted import Parted, all_needed
from archipel.lab.snapshots import decode_state, encode_state
from archipel.lab.upkeep import Upkeep
from archipel.lab.uploads import MAX_OFFERS_PER_LEASE, OFFERS, Uploads
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import TensorFact, part_manifest
from archipel.records.statements import LeaseGranted
from archipel.records.weight_parts import MAX_PARTS, InParts, Part, PartBlobs
from archipel.records.weight_state import state_of
from archipel.work.joining import Joined, Receipt, join
from people import Learner, ref
from world import World


@pytest.fixture
def disk_world(quick_folder: Path) -> Iterator[World]:
    made = World(quick_folder)
    yield made
    made.close()


class Made:
    """Version `number` in two parts, none of whose bytes are here yet."""

    def __init__(self, number: int, parent: str | None) -> None:
        self.files: dict[str, bytes] = {}
        receipts = [self._receipt(number, place) for place in range(2)]
        self.joined: Joined = join(receipts, lambda blob: self.files[blob.digest], number, parent)

    def _receipt(self, number: int, place: int) -> Receipt:
        fact = TensorFact(f"w{place}", (2,), ref(f"{number} {place}".encode()).digest)
        state = state_of([fact])
        manifest = self._kept(part_manifest([fact], state, number, None))
        part = Part(
            manifest=manifest, state=state, first=fact.name, last=fact.name, tensors=1, weights=2
        )
        anchor, delta = (
            self._kept(f"{word} {place} of {number}".encode()) for word in ("anchor", "delta")
        )
        return Receipt(number=place, part=part, anchor=anchor, delta=delta)

    def _kept(self, data: bytes) -> BlobRef:
        self.files[ref(data).digest] = data
        return ref(data)

    def words(self, learner: Learner, missing: int = 0) -> dict[str, Any]:
        """What the answer says, once all documents and all but so many parts are here."""
        for data in list(self.files.values())[missing:]:
            learner.put(data)
        index = self.joined.index.to_bytes()
        lists: dict[str, PartBlobs | None] = {
            "anchor": self.joined.anchor,
            "delta": self.joined.delta,
        }
        told = {
            role: learner.put(each.to_bytes()) for role, each in lists.items() if each is not None
        }
        named = learner.put(index)
        manifest = InParts(digest=named.digest, size=named.size, parts=2)
        return {"manifest": manifest, "policy": self.joined.index.state, **told}


def due(world: World) -> tuple[Learner, LeaseGranted]:
    """The learner's lease for version 1, version 0 made honestly."""
    learner, node = world.started(), world.provider("node")
    for _ in range(100):
        granted = learner.ask()
        if granted is None:
            sampled = node.ask()
            assert sampled is not None
            node.answer(sampled)
        elif granted.spec.kind == "update" and granted.spec.version == 1:
            return learner, granted
        else:
            learner.answer(granted)
    raise AssertionError("no update came")


def parent_of(grant: LeaseGranted) -> str | None:
    return grant.spec.parent  # type: ignore[union-attr,no-any-return]  # an update's


def test_a_version_whose_part_is_missing_is_refused_and_taken_in_when_it_comes(
    world: World,
) -> None:
    learner, grant = due(world)
    made, before = Made(1, parent_of(grant)), world.state
    with pytest.raises(refusals.MissingBlob):
        learner.answer(grant, **made.words(learner, missing=1))
    assert world.state == before
    words = made.words(learner)
    learner.answer(grant, **words)
    (version,) = versions_in_parts(world.state)
    assert version.manifest == words["manifest"]
    world.check_replay()
    assert decode_state(encode_state(world.state)) == world.state


def test_documents_of_another_version_are_refused(world: World) -> None:
    learner, grant = due(world)
    made, other = Made(1, parent_of(grant)), Made(2, parent_of(grant))
    words, others = made.words(learner), other.words(learner)
    lies: list[dict[str, Any]] = [
        others,
        {"delta": others["delta"]},
        {"anchor": words["delta"]},
        {"manifest": words["manifest"].model_copy(update={"parts": 3})},
        {"policy": others["policy"]},
        {"delta": ref(b"never sent")},
    ]
    for lie in lies:
        with pytest.raises((refusals.BadResult, refusals.MissingBlob)):
            learner.answer(grant, **(words | lie))
    learner.answer(grant, **words)


def test_parts_stay_as_long_as_their_version_is_kept(disk_world: World) -> None:
    world = disk_world
    learner, grant = due(world)
    made = Made(1, parent_of(grant))
    words = made.words(learner)
    stranger = learner.put(b"named by nobody")
    learner.answer(grant, **words)
    world.await_(Upkeep(world.lab).sweep(0.0))
    assert all(world.blobs.exists(digest) for digest in made.files)
    assert not world.blobs.exists(stranger.digest)
    named = Parted(world.blobs).digests(versions_in_parts(world.state))
    assert named == made.files.keys()
    assert not named & needed(world.state)
    assert all_needed(world.state, world.blobs) == named | needed(world.state)


def test_of_each_step_of_a_chain_the_blobs_that_it_takes_are_told(world: World) -> None:
    learner, grant = due(world)
    made = Made(1, parent_of(grant))
    learner.answer(grant, **made.words(learner))
    (version,) = versions_in_parts(world.state)
    manifests = tuple(part.manifest for part in made.joined.index.parts)
    for step, said in (("anchor", made.joined.anchor), ("delta", made.joined.delta)):
        assert said is not None
        assert Parted(world.blobs).weights_of(version, step) == (*manifests, *said.blobs)


def test_a_trusted_lease_may_offer_all_parts_of_a_version_and_no_more() -> None:
    uploads = Uploads(lambda digest: False)
    most = OFFERS[True]
    assert most >= 3 * MAX_PARTS > OFFERS[False] == MAX_OFFERS_PER_LEASE
    for number in range(most):
        uploads.note("run.1", str(number), 1, most)
    with pytest.raises(refusals.TooLarge):
        uploads.note("run.1", "one more", 1, most)
    for number in range(MAX_OFFERS_PER_LEASE):
        uploads.note("run.2", str(number), 1)
    with pytest.raises(refusals.TooLarge):
        uploads.note("run.2", "one more", 1)
