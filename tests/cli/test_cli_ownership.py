"""`archipel ownership` and `archipel vote` at a lab that runs, and from a copy of its ledger: who owns, who decided what."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.ledger.verification import lab_key
from archipel.records.recipe_charter import UNITS, CharterSection, charter_terms
from live import live
from people import Provider, identity
from world import World, finish

VOTING_MS = 60_000
TWO = identity("two")


class Hall:
    """Commands to one lab, by the owners of its run; the first owner's key is this machine's node's."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home, self.skew_ms = world, home, 0
        self.one, self.two = self.worked("run", charter=charter_terms(CharterSection(voting_s=60)))
        (home / "node").mkdir()
        self.one.identity.save(home / "node" / "node.key", b"", anew=True)
        self.key = home / "two.key"
        TWO.save(self.key, b"", anew=True)

    def worked(self, name: str, **pace: Any) -> list[Provider]:
        self.world.open_run(name, **pace)
        learner = self.world.learner()
        learner.work()
        nodes = [self.world.provider(each) for each in ("one", "two")]
        for each in nodes:
            each.prove()
        finish(self.world, learner, nodes)
        while learner.work() is not None:
            pass
        return nodes

    def does(self, deed: Callable[[str], Any]) -> Any:
        async def story() -> Any:
            async with live(self.world, skew_ms=self.skew_ms) as url:
                return await asyncio.to_thread(deed, url)

        return self.world.await_(story())

    def runs(self, *words: object, place: object = None) -> Result:
        told = [str(word) for word in words]
        where = ["--ledger", str(place)] if place else []
        if where:
            return CliRunner().invoke(command, [*told, *where])
        return self.does(lambda url: CliRunner().invoke(command, [*told, "--lab", url]))

    def says(self, *words: object, place: object = None) -> str:
        ended = self.runs(*words, place=place)
        assert ended.exit_code == 0, f"{ended.exception} {ended.output}"
        return ended.output

    def refused(self, *words: object) -> str:
        ended = self.runs(*words)
        assert ended.exit_code
        return f"{ended.exception} {ended.output}"


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    monkeypatch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
    world = World(tmp_path / "store", ledger_on_disk=False)
    yield Hall(world, tmp_path)
    world.check_replay()
    world.close()


@pytest.mark.slow
def test_owners_give_shares_on_decide_and_anybody_counts_the_same(hall: Hall) -> None:
    page = hall.says("ownership", "run")
    assert "not divided yet: the first statement of an owner does it" in page
    assert f"20.000000 %  {hall.world.operator.did}" in page
    given = hall.says("ownership", "transfer", "run", TWO.did, "2.5%")
    assert f"2.500000 % of run to {TWO.did}" in given
    assert "0.001000 credits to the treasury of run" in hall.says(
        "ownership", "give", "run", "0.001"
    )
    told = json.loads(hall.says("ownership", "run", "--json"))
    assert sum(each["units"] for each in told["holders"]) == UNITS
    assert told["is_divided"]
    assert told["treasury_micro"] == 1000

    spend = ("--spend-to", TWO.did, "--credits", "0.001", "--share", "1%")
    opened = json.loads(hall.says("vote", "open", "run", "Pay\x1b[2J two", *spend, "--json"))
    free = json.loads(hall.says("vote", "open", "run", "For nothing", "--price", "0", "--json"))
    vote = opened["entry"]
    assert (opened["about"], free["about"]) == ("spending", "price")
    assert f"yes to vote {vote} of run" in hall.says("vote", "cast", "run", vote, "yes")
    assert "votes for your shares" in hall.says(
        "vote", "delegate", "run", hall.one.did, "--key", hall.key
    )
    hall.skew_ms = VOTING_MS
    hall.says("ownership", "give", "run", "0.000001")
    shown = hall.says("vote", "show", "run", vote)
    assert "adopted" in shown
    assert f"0.001000 credits and 1.000000 % to {TWO.did}" in shown
    assert "\x1b" not in shown, "words of a stranger do not move the cursor"
    votes = json.loads(hall.says("vote", "list", "run", "--json"))["votes"]
    assert [(each["entry"], each["phase"]) for each in votes] == [
        (free["entry"], "rejected"),
        (vote, "adopted"),
    ]
    assert hall.world.state.book[TWO.did] >= 1000
    assert "you vote for your shares" in hall.says(
        "vote", "delegate", "run", "--back", "--key", hall.key
    )


def test_every_part_is_proved_by_entries_that_anybody_can_check_without_a_key(
    hall: Hall, tmp_path: Path
) -> None:
    hall.says("ownership", "transfer", "run", TWO.did, "2.5%")
    mirror, proofs = tmp_path / "mirror", tmp_path / "proofs"
    made = hall.does(
        lambda url: CliRunner().invoke(command, ["ledger", "mirror", url, str(mirror)])
    )
    assert made.exit_code == 0, made.output
    page = hall.says("ownership", "run", "--proofs", proofs, "--json", place=mirror)
    told = json.loads(page)
    live_told = json.loads(hall.says("ownership", "run", "--json"))
    assert told["holders"] == live_told["holders"], "a mirror says what the lab says"
    kept = json.loads((proofs / "ownership.json").read_text())
    indices = {kept["opening"], *(each for found in kept["entries"].values() for each in found)}
    assert kept["entries"][hall.one.did]
    assert {int(each.stem) for each in proofs.glob("*.entry")} == indices
    assert told["proofs"] == len(indices)
    for index in sorted(indices)[:3]:
        files = (proofs / f"{index}.tlog-proof", proofs / f"{index}.entry")
        ended = CliRunner().invoke(command, ["ledger", "check-proof", *map(str, files)])
        assert ended.exit_code == 0, ended.output
        assert f"is entry {index} of the {kept['size']}" in ended.output
    only = tmp_path / "only"
    hall.says("ownership", "run", "--proofs", only, "--holder", TWO.did, place=mirror)
    assert len([*only.glob("*.entry")]) == len({kept["opening"], *kept["entries"][TWO.did]})
    bundle = tmp_path / "release"
    bundle.mkdir()
    mirror.rename(bundle / "ledger")
    ended = CliRunner().invoke(command, ["ownership", "run", "--bundle", str(bundle), "--json"])
    assert json.loads(ended.output)["holders"] == told["holders"]


def test_a_run_without_a_charter_is_shown_as_the_default_would_have_it_and_has_no_votes(
    hall: Hall,
) -> None:
    hall.worked("old")
    page = hall.says("ownership", "old")
    assert "opened without [charter]: nobody in this ledger owns it" in page
    assert f"20.000000 %  {hall.world.operator.did}" in page
    assert not json.loads(hall.says("ownership", "old", "--json"))["agreed"]
    assert "it has no owners and no votes" in hall.refused("vote", "list", "old")
    assert "no-charter" in hall.refused("ownership", "transfer", "old", TWO.did, "1%")
    assert hall.world.state.owned.keys() == {"run"}


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("ownership", "nothing"), "no run 'nothing' in this ledger; it has ['run']"),
    (("ownership", "transfer", "run", TWO.did, "2,5%"), "expected a share like 2.5%"),
    (("ownership", "transfer", "run", TWO.did, "0%"), "more than 0% and at most 100%"),
    (("ownership", "transfer", "run", TWO.did, "100.1%"), "more than 0% and at most 100%"),
    (("ownership", "transfer", "run", TWO.did, "99%"), "too-few-shares"),
    (("vote", "show", "run", "7"), "no vote 7 of run is remembered; there are []"),
    (("vote", "cast", "run", "7", "yes"), "no vote of run was opened by entry 7"),
    (("vote", "delegate", "run"), "give the holder who is to vote for you, or --back"),
    (("vote", "open", "run", "x", "--spend-to", TWO.did), "--spend-to goes with"),
    (
        ("vote", "open", "run", "x", "--price", "1", "--licence", "MIT"),
        "one vote is about one thing; got licence and price",
    ),
    (("vote", "open", "run", "x" * 2001), "at most 2000 characters"),
]


def test_what_comes_to_nothing_says_why(hall: Hall) -> None:
    for words, why in REFUSED:
        assert why in hall.refused(*words)


def test_who_has_no_key_is_told_how_to_name_one(hall: Hall) -> None:
    (hall.home / "node" / "node.key").unlink()
    assert "name one with --key FILE" in hall.refused("ownership", "give", "run", "1")
