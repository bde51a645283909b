"""What the demo says of the node that cheats is folded from the ledger: found, named, unpaid, its work done again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.bench.cheating import is_forged
from archipel.bench.site import Site, SiteFailed
from archipel.cli.archipel import command
from archipel.demo import story
from archipel.demo.aftermath import History
from archipel.demo.caught import Cheat, audited_of, cheat_of, folded, found_words
from archipel.demo.ending import tell_cheat
from archipel.demo.plan import CHEAT, FAST, SLOW, SLY, DemoPlan
from archipel.demo.story import Performance
from archipel.lab.entry import read_entry
from archipel.lab.recovery import pages
from archipel.market.journal import wallet
from archipel.records.exact import CONTRACTS
from archipel.records.statements import LeaseGranted, WorkAnswered
from golden import audited
from people import identity
from tiny import SECRET, tiny_recipe
from world import World

RUN = "watched"
DID = identity("cheat").did


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A run in which one node made its answer up, contested the verdict in vain, and three are honest."""
    made = World()
    audited(made, made.learner())
    yield made
    made.close()


def history(world: World, size: int | None = None) -> History:
    entries = [read_entry(data) for data in pages(world.lab.log)][:size]
    return [(entry.at_ms, entry.statement) for entry in entries]


def cheat(told: History, share: float = 1.0) -> Cheat:
    return cheat_of(DID, share, RUN, told, folded(told))


def test_the_fold_of_the_history_is_the_lab_s_own_state(world: World) -> None:
    assert folded(history(world)) == world.state


def test_who_is_found_out_is_named_with_what_differed_and_what_it_lost(world: World) -> None:
    told = history(world)
    found = cheat(told).found
    assert found is not None
    assert (found.outcome, found.number, found.units, found.forged) == ("hard", 1, 1, 1)
    assert len(set(found.auditors)) == 3, (
        "two strangers, and the trusted role when it was contested"
    )
    assert DID not in found.auditors
    assert found.after_s > 0
    assert found.paid_micro - found.taken_micro == world.state.book.get(wallet(DID), 0)
    assert found.taken_micro > 0
    names = dict(zip(found.auditors, ("ada", "ben", "zoe"), strict=True))
    words = found_words(found, names)
    assert words.startswith("after 1 answer, by ada, ben, zoe: number 1, watched.2: group ")
    assert words.endswith("token 3 was recorded, 4 is right")


def test_nobody_is_found_out_before_the_verdict(world: World) -> None:
    told = history(world)
    found = cheat(told).found
    assert found is not None
    early = [(at_ms, said) for at_ms, said in told if at_ms < found.at_ms]
    assert cheat(early).found is None
    assert len(cheat(early).units) == 1


def test_groups_that_were_withdrawn_are_followed_to_whoever_sampled_them_again(
    world: World,
) -> None:
    told = history(world)
    found = cheat(told).found
    assert found is not None
    assert found.groups_again > 0
    assert found.again_by
    assert DID not in found.again_by
    known = audited_of(DID, RUN, told, folded(told))
    assert known.honest_accused == 0
    assert audited_of("somebody else", RUN, told, folded(told)).honest_accused == 1
    assert known.drawn == sum(known.outcomes.values())


def test_which_answers_are_forged_follows_from_their_groups_alone() -> None:
    for share in (0.0, 0.1, 0.4, 1.0):
        forged = sum(is_forged(group, share) for group in range(4000)) / 4000
        assert abs(forged - share) < 0.03
    assert all(is_forged(group, 0.4) for group in range(500) if is_forged(group, 0.1))


def show(world: World, told: History, folder: Path) -> Performance:
    made = Performance(DemoPlan(folder=folder, seed=1), tiny_recipe(1, 0), SECRET)
    made.dids = {SLY: DID}
    made.cheat, made.audited = cheat(told), audited_of(DID, RUN, told, folded(told))
    return made


def test_the_ending_says_after_how_many_answers_or_that_it_was_not_found_out(
    world: World, tmp_path: Path
) -> None:
    lines: list[str] = []
    tell_cheat(show(world, history(world), tmp_path), lines.append)
    assert lines[0].startswith("cheat     sly was caught after 1 answer, by ")
    assert "1 of these 1 was forged" in lines[1]
    assert "keeps 0.000 of 0.001 credits for these" in lines[2]
    assert lines[3].startswith("          1 group of its answers")
    assert "honest nodes accused: 0" in lines[-1]
    told = history(world)
    at_ms = cheat(told).found.at_ms  # type: ignore[union-attr]  # it was found
    lines = []
    tell_cheat(show(world, [each for each in told if each[0] < at_ms], tmp_path), lines.append)
    assert lines[0].startswith("cheat     sly was not caught: 1 answer, 1 of them forged, ")


@pytest.mark.parametrize(
    ("words", "cheat", "contract"),
    [
        ([], CHEAT, CONTRACTS["w7a8"]),
        (["--exact", "w13a15"], CHEAT, CONTRACTS["w13a15"]),
        (["--no-cheat"], None, None),
        (["--no-cheat", "--exact"], None, CONTRACTS["w7a8"]),
    ],
)
def test_the_run_can_be_audited_wherever_a_node_cheats(
    words: list[str], cheat: str | None, contract: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = []

    def raise_curtain(made: Performance, *_: object) -> None:
        asked.append((made.plan.cheat, made.recipe.sampling.contract))
        raise SiteFailed("enough")

    monkeypatch.setattr(story, "raise_curtain", raise_curtain)
    done = CliRunner().invoke(command, ["demo", "--out", str(tmp_path / "d"), *words])
    assert done.exit_code == 1, done.output
    assert asked == [(cheat, contract)]


def opened(made: Performance, site: Site, tell: story.Tell) -> None:
    story.supervised_start(made, tell)
    story.open_the_run(made, site, tell)


@pytest.mark.slow
def test_the_fifth_node_of_a_small_demo_is_found_out(tmp_path: Path) -> None:
    """The acts as they are, on a task so small that they take seconds."""
    recipe = tiny_recipe(30, 1).by_variant("w7a8")
    lines: list[str] = []
    environment = {
        "PATH": os.defpath, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    made = Performance(DemoPlan(folder=tmp_path, seed=11, controls=False), recipe, SECRET)
    with Site(tmp_path / "site", environment) as site:
        for act in (story.raise_curtain, opened, story.learn_together, story.collect):
            act(made, site, lines.append)
    assert made.cheat is not None
    assert made.audited is not None
    assert made.audited.honest_accused == 0
    found = made.cheat.found
    assert found is not None, lines
    assert found.outcome == "hard"
    assert found.reason.startswith("group ")
    forged = {unit.work for unit in made.cheat.units if unit.is_forged}
    assert found.work in forged, "an honest answer was found wrong"
    assert {made.names[did] for did in found.auditors} <= {*made.dids} - {SLY}
    assert any(f"caught: {SLY}" in line for line in lines)
    assert story.CAUGHT in made.events
    grants = {said.work: said for _, said in made.history if isinstance(said, LeaseGranted)}
    answered = [grants[said.work] for _, said in made.history if isinstance(said, WorkAnswered)]
    looked = sum(
        each.price_micro
        for each in answered
        if (each.node, each.spec.kind) == (made.dids[SLY], "audit")
    )
    assert made.nodes[SLY].credit_micro == found.paid_micro - found.taken_micro + looked
    assert CHEAT in "\n".join(_ending(made))
    assert made.nodes[FAST].groups > 0
    assert SLOW in made.nodes


def _ending(made: Performance) -> list[str]:
    lines: list[str] = []
    tell_cheat(made, lines.append)
    return lines
