"""A withdrawn contribution is a word in the ledger; what was made from it is listed, downstream too."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.lab import refusals
from archipel.lab.entry import Entry, read_entry
from archipel.lab.recovery import pages, replay
from archipel.lab.snapshots import encode_state
from archipel.records.membership import KeyRevoked
from archipel.records.withdrawal import ContributionWithdrawn
from archipel.release.affected import Known, affected, downstream
from archipel.release.gathering import Ledger
from archipel.release.hearing import Hearing, rollouts
from archipel.release.index import Parent, Released, read_index
from mirrors import small_release
from people import identity
from releases import said
from releasing import LabHome, told
from tiny import NAME


def heard(world: LabHome) -> Ledger:
    hearing = Hearing(NAME)
    for data in pages(world.lab.log):
        hearing.hear(read_entry(data))
    return Ledger(world.state.lab, None, world.state, hearing)  # type: ignore[arg-type]  # no head is looked at


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHome]:
    made = told(tmp_path_factory.mktemp("withdrawn") / "lab")
    yield made
    made.close()


def test_who_gave_a_contribution_takes_it_back_and_nobody_else(world: LabHome) -> None:
    quick, stranger = identity("quick"), identity("stranger")
    data = f"sha256:{'5' * 64}"
    for author, words in (
        (quick, {"data": data}),
        (quick, {"party": identity("slow").did}),
        (quick, {"key": identity("slow").did}),
        (stranger, {"party": stranger.did}),
        (stranger, {"data": data}),
    ):
        with pytest.raises(refusals.NotAllowed, match="what is not its own"):
            world.speak(author, ContributionWithdrawn, run=NAME, reason="", **words)
    with pytest.raises(refusals.Unknown):
        world.speak(world.operator, ContributionWithdrawn, run="none", reason="", data=data)
    before = world.state
    world.speak(quick, ContributionWithdrawn, run=NAME, reason="mine", party=quick.did)
    world.speak(world.operator, ContributionWithdrawn, run=NAME, reason="", data=data)
    assert dict(world.state.book) == dict(before.book)
    assert world.state.runs == before.runs
    assert encode_state(replay(world.state.lab, pages(world.lab.log))) == encode_state(world.state)


def test_a_withdrawal_names_one_thing() -> None:
    by = {
        "lab": identity("lab").did,
        "author": identity("a").did,
        "seq": 1,
        "run": "r",
        "reason": "",
    }
    for words in ({}, {"party": by["author"], "key": by["author"]}):
        with pytest.raises(ValueError, match="one of data, party and key"):
            ContributionWithdrawn(**by, **words)


def test_a_party_affects_every_version_from_the_first_that_its_work_went_into(
    world: LabHome,
) -> None:
    ledger = heard(world)
    story = ledger.hearing.story
    (one,) = [each for each in affected(ledger) if each.what == "party"]
    authors = {work: each.author for work, each in ledger.hearing.answered.items()}
    quick = identity("quick").did
    went_in = [
        number
        for number in range(1, len(story.updates))
        if any(authors[each.work] == quick for each in story.inputs(number))
    ]
    assert went_in, "the story has it work"
    assert (one.first, one.last) == (went_in[0], len(story.updates) - 1)
    assert set(one.works) == {work for work, author in authors.items() if author == quick}


def test_a_revoked_key_is_listed_like_a_withdrawn_one(world: LabHome) -> None:
    ledger = heard(world)
    by_key = ContributionWithdrawn(
        **author_of(world), run=NAME, key=identity("quick").did, reason="stolen"
    )
    revoked = KeyRevoked(**author_of(world), node=identity("quick").did, reason="stolen")
    ledger.hearing.taken_back.clear()
    for statement in (by_key, revoked):
        ledger.hearing.hear(Entry(world.now_ms, None, statement))  # type: ignore[arg-type]  # nobody signs here
    one, two = affected(ledger)
    assert (one.what, two.what) == ("key", "revoked key")
    assert one.first is not None
    assert (one.first, one.works, one.how) == (two.first, two.works, two.how)


def author_of(world: LabHome) -> dict[str, object]:
    return {"lab": world.state.lab, "author": world.operator.did, "seq": 10**9}


def test_data_is_found_wherever_the_ledger_names_it(world: LabHome) -> None:
    story = heard(world).hearing.story
    work, _, answer = next(iter(rollouts(story)))
    used = next(
        number
        for number in range(1, len(story.updates))
        if work in {each.work for each in story.inputs(number)}
    )
    assert story.opened is not None
    config = next(file.blob.digest for file in story.opened.model if file.name == "config.json")
    manifest = story.updates[2].answer.manifest.digest
    expected = {answer.result.digest: used, config: 0, manifest: 2, f"sha256:{'6' * 64}": None}
    for digest in expected:
        world.speak(world.operator, ContributionWithdrawn, run=NAME, reason="", data=digest)
    found = {each.name: each.first for each in affected(heard(world)) if each.what == "data"}
    assert expected.items() <= found.items()


def test_a_release_is_reached_by_its_version_and_a_derivative_through_its_parents(
    world: LabHome, tmp_path: Path
) -> None:
    ledger = heard(world)
    policies = [each.answer.policy for each in ledger.hearing.story.updates]
    plain = read_index((small_release(tmp_path / "plain") / "release.json").read_bytes())

    def released(title: str, **fields: object) -> Released:
        return plain.model_copy(update={"title": title, **fields})

    def child(title: str, **parent: str | None) -> Released:
        link = Parent(relation="merged from", name="p", **parent)  # type: ignore[arg-type]  # its fields
        return released(title, parents=(link,), weights=f"sha256:{title.encode().hex():0>64}")

    own = {"lab": ledger.lab, "run": NAME}
    other = f"sha256:{'e' * 64}"
    indices = {
        "grandchild": child("b", weights=f"sha256:{b'a'.hex():0>64}"),
        "child": child("a", weights=policies[2]),
        "old": released("old", version=1, weights=policies[1], **own),
        "new": released("new", version=3, weights=policies[3], **own),
        "by release": child("c", weights=other, release="sha256:" + "3" * 64),
        "of the old one": child("d", weights=policies[1]),
        "unrelated": child("e", weights=other),
        "another lab's": released("x", version=3, run=NAME, lab=identity("another").did),
    }
    digests = {"new": "sha256:" + "3" * 64}
    known = [
        Known(place, digests.get(place, f"sha256:{number:064x}"), index)
        for number, (place, index) in enumerate(indices.items(), 100)
    ]
    reached = {each.place: each.why for each in downstream(ledger.hearing, ledger.lab, 2, known)}
    assert reached.keys() == {"new", "child", "grandchild", "by release"}
    assert reached["new"] == f"it holds version 3 of {NAME}"


def test_the_command_lists_what_is_affected_and_where_it_lies(site: Path, tmp_path: Path) -> None:
    assert f"nothing of {NAME} was withdrawn" in said("affected", str(site / "bundle"))
    home = tmp_path / "lab"
    world = told(home)
    world.speak(
        world.operator, ContributionWithdrawn, run=NAME, reason="left", key=identity("quick").did
    )
    world.speak(
        world.operator, ContributionWithdrawn, run=NAME, reason="", data=f"sha256:{'7' * 64}"
    )
    world.close()
    words = ["affected", NAME, "--home", str(home), "--also", str(site / "bundle")]
    text = said(*words)
    assert ": left" in text
    assert "no version that this ledger knows was made from it" in text
    shown = said(*words, "--json")
    found, _ = json.JSONDecoder().raw_decode(shown[shown.index("{") :])
    (release,) = found["affected"][0]["releases"]
    assert release["place"] == str(site / "bundle")
    refused = said("affected", NAME, "--home", str(home), "--also", str(tmp_path), code=1)
    assert "does not hold" in refused
