"""Who would own a run for nothing: by money that comes back, at the last moment, twice, or by a vote of another run."""

from collections.abc import Iterator
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.amends import clawed_back
from archipel.lab.owning import funded, would_hold
from archipel.lab.snapshots import decode_state, encode_state
from archipel.market.ownership import TREASURY
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.ownership import BallotCast, ProposalOpened, ShareTransferred
from archipel.records.recipe_charter import UNITS, CharterSection, CharterTerms, charter_terms
from people import Learner, Provider, identity
from world import World, finish

PART = 200_000 * 10**6
"""Of the sponsors, in units."""


def charter(**said: Any) -> CharterTerms:
    return charter_terms(CharterSection(**said))


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    found.close()


def fund(world: World, name: str, micro: int) -> str:
    sponsor = identity(name)
    world.speak(
        world.operator, CreditsSettled, account=sponsor.did, direction="in", micro=micro, reference=name
    )  # fmt: skip
    world.speak(sponsor, RunFunded, run="run", micro=micro)
    return sponsor.did


def half_done(world: World) -> tuple[Learner, Provider]:
    """A run whose operator has paid for some of its work."""
    learner = world.started(charter=charter())
    one = world.provider("one")
    one.prove()
    assert world.run("run").paid_micro > 0
    return learner, one


def held(world: World, learner: Learner, one: Provider) -> dict[str, int]:
    """Who owns it, once it is over."""
    finish(world, learner, [one])
    while learner.work() is not None:
        pass
    one.speak(ShareTransferred, run="run", to=identity("somebody").did, units=10**6)
    return dict(world.state.owned["run"].issued)


@pytest.mark.parametrize("micro", [1, 10**12])
def test_who_sets_aside_late_owns_what_was_spent_of_it_and_nothing_of_what_was_spent_before(
    world: World, micro: int
) -> None:
    learner, one = half_done(world)
    before = world.run("run").paid_micro
    if micro == 1:  # too little to be the first, and it pays from its escrow then
        world.speak(
            world.operator, CreditsSettled, account=world.operator.did, direction="in", micro=10**9, reference="r"
        )  # fmt: skip
        world.speak(world.operator, RunFunded, run="run", micro=10**6)
    late = fund(world, "late", micro)
    owned = held(world, learner, one)
    run = world.run("run")
    after, aside = run.paid_micro - before, sum(run.funders.values())
    spent = run.funders[late] * after // aside
    own = before + run.funders.get(world.operator.did, 0) * after // aside
    given = {late: spent, world.operator.did: own}
    assert owned.get(late, 0) == PART * spent // (spent + own)
    assert owned[world.operator.did] == PART * own // (spent + own)
    assert funded(world.state, run) == {did: each for did, each in given.items() if each}


def test_who_sets_aside_for_a_run_that_spends_nothing_owns_nothing(world: World) -> None:
    learner = world.started(charter=charter(), price_micro=0)
    rich = fund(world, "rich", 10**9)
    one = world.provider("one")
    finish(world, learner, [one])
    run = world.run("run")
    assert world.state.book[rich] == 10**9, "all of it came back"
    assert funded(world.state, run) == {}
    assert would_hold(world.state, run) == {TREASURY: UNITS}


def test_what_a_verdict_takes_back_no_sponsor_has_spent(world: World) -> None:
    _, one = half_done(world)
    paid = world.run("run").paid_micro
    back = clawed_back(world.state, "run", one.did, paid)
    run = back.runs["run"]
    left = funded(back, run).get(world.operator.did, 0)
    assert left == max(run.paid_micro, 0) <= paid


def test_what_was_paid_before_anybody_set_aside_comes_back_from_a_snapshot(world: World) -> None:
    half_done(world)
    before = world.run("run").paid_micro
    fund(world, "late", 10**6)
    fund(world, "later", 7)
    state = decode_state(encode_state(world.state))
    assert state.owned["run"].own_micro == before > 0
    assert state == world.state


def test_one_share_is_not_given_away_twice_and_a_vote_of_another_run_takes_no_ballot(
    world: World,
) -> None:
    learner, one = half_done(world)
    held(world, learner, one)
    other = world.open_run("other", charter=charter(), price_micro=0)
    world.stop_run("other")
    has = world.state.owned["run"].held[one.did]
    one.speak(ProposalOpened, run="run", about="other", text="meet")
    entry = world.state.owned["run"].votes[0].entry
    with pytest.raises(refusals.Unknown, match=f"no vote of {other.name} was opened by entry"):
        one.speak(BallotCast, run="other", proposal=entry, says="yes")
    for name in ("first", "second"):
        if name == "first":
            one.speak(ShareTransferred, run="run", to=identity(name).did, units=has)
        else:
            with pytest.raises(refusals.TooFewShares, match="holds 0 of"):
                one.speak(ShareTransferred, run="run", to=identity(name).did, units=has)
    assert sum(world.state.owned["run"].held.values()) == UNITS
