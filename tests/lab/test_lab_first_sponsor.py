"""Nobody but an operator turns a run that its operator pays for into one that pays from too small an escrow."""

from collections.abc import Iterator

import pytest

from archipel.identity import Identity
from archipel.lab import escrow, refusals
from archipel.lab.apply import apply
from archipel.lab.state import Phase
from archipel.records.money import CreditsSettled, RunFunded
from courtroom import TERMS, node, opened, sampled
from people import Learner, Provider, identity
from trading import TERMS as MARKET
from world import PACE, World, finish

PRICE, GROUPS = PACE["price_micro"], PACE["groups_per_update"] * 4
STRANGER = identity("stranger")


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    found.close()


def at_work(world: World) -> tuple[Learner, Provider]:
    """A run of 16 groups on its operator's account, of which one is paid."""
    learner = world.started(versions=4, groups_per_update=4)
    one = world.provider("one")
    one.prove()
    assert world.run().paid_micro == PRICE
    return learner, one


def pay_in(world: World, did: str, micro: int) -> None:
    reference = f"at {world.state.size}"
    said = {"account": did, "direction": "in", "micro": micro, "reference": reference}
    world.speak(world.operator, CreditsSettled, **said)


def give(world: World, micro: int, who: Identity = STRANGER) -> None:
    """So much more paid in, and set aside."""
    pay_in(world, who.did, micro)
    world.speak(who, RunFunded, run="run", micro=micro)


@pytest.mark.parametrize("micro", [1, 2 * PRICE, (GROUPS - 1) * PRICE - 1])
def test_a_stranger_who_gives_less_than_the_rest_of_a_run_costs_does_not_stop_it(
    world: World, micro: int
) -> None:
    learner, one = at_work(world)
    with pytest.raises(refusals.InsufficientCredits, match=f"expected {(GROUPS - 1) * PRICE} of"):
        give(world, micro)
    finish(world, learner, [one])
    assert world.run().phase is Phase.COMPLETE
    assert world.state.book[world.operator.did] == -GROUPS * PRICE


def test_a_stranger_who_gives_the_rest_may_and_its_operator_pays_no_more(world: World) -> None:
    learner, one = at_work(world)
    give(world, (GROUPS - 1) * PRICE)
    finish(world, learner, [one])
    assert world.run().phase is Phase.COMPLETE
    assert world.state.book[world.operator.did] == -PRICE


def test_what_is_left_of_a_run_holds_an_audit_of_every_group_accepted_ones_too(
    world: World,
) -> None:
    opened(world, TERMS, versions=4, groups_per_update=4, max_groups_per_lease=1)
    audits = -(-GROUPS * PRICE * TERMS.pay_milli // 1000)
    assert audits > 0
    assert escrow.rest_micro(world.state, world.run()) == GROUPS * PRICE + audits
    sampled(world, node(world, "one"))
    assert escrow.rest_micro(world.state, world.run()) == (GROUPS - 1) * PRICE + audits
    with pytest.raises(refusals.InsufficientCredits):
        give(world, (GROUPS - 1) * PRICE + audits - 1)


def test_further_groups_count(world: World) -> None:
    world.started(versions=4, groups_per_update=4, refill=2)
    assert escrow.rest_micro(world.state, world.run()) == 3 * GROUPS * PRICE


def test_once_an_operator_has_set_aside_anybody_gives_what_it_likes(world: World) -> None:
    at_work(world)
    pay_in(world, world.operator.did, PRICE)  # what it owes
    give(world, 1, world.operator)
    give(world, 1)
    assert world.run().funders[STRANGER.did] == 1


def test_a_run_with_a_market_takes_any_sum_from_whoever_is_first(world: World) -> None:
    world.open_run(market=MARKET, versions=40)
    give(world, 1)
    assert world.run().funders[STRANGER.did] == 1


def test_a_ledger_in_which_a_stranger_gave_less_folds(world: World) -> None:
    at_work(world)
    pay_in(world, STRANGER.did, 1)
    said = world.statement(STRANGER, RunFunded, run="run", micro=1)
    assert apply(world.state, said, world.now_ms).runs["run"].funders[STRANGER.did] == 1
