"""A simulated market: the lab's own code among drawn providers, the same for the same seed, and honest about itself."""

from dataclasses import replace

import pytest

from archipel.lab.providers import seen
from archipel.market.journal import escrow
from archipel.planning.tables import shelf
from archipel.simulation.events import Events
from archipel.simulation.outcome import Outcome, gini, outcome_of
from archipel.simulation.play import ready
from archipel.simulation.scenario import CannotSimulate, Crowd, Learning, Market, Policy, Scenario
from archipel.simulation.world import World

TINY = Scenario(
    name="tiny",
    hours=0.13,
    learning=Learning(groups=8, group_size=4, tokens=2000, step_s=20.0),
    crowd=Crowd(providers=14, cheats=0.3, forges=1.0),
    market=Market(period_s=150.0),
)


def played(scenario: Scenario, seed: int) -> World:
    world, _ = ready(scenario, shelf(), seed)
    world.run(lambda text: None)
    return world


@pytest.fixture(scope="module")
def tiny() -> World:
    return played(TINY, 1)


@pytest.fixture(scope="module")
def outcome(tiny: World) -> Outcome:
    return outcome_of(tiny)


def test_what_is_due_at_the_same_time_happens_in_the_order_in_which_it_was_set() -> None:
    events, heard = Events(1000), list[str]()
    for at_ms, name in ((1005, "b"), (1001, "a"), (1005, "c"), (900, "now")):
        events.at(at_ms, heard.append, name)
    while events.step(1006):
        pass
    assert heard == ["now", "a", "b", "c"]
    assert events.now_ms == 1006


def test_the_same_seed_gives_the_same_world_to_the_last_record() -> None:
    short = replace(TINY, hours=0.02, crowd=replace(TINY.crowd, providers=6))
    one, again, other = played(short, 1), played(short, 1), played(short, 2)
    assert again.lab.ahead == one.lab.ahead
    assert outcome_of(again) == outcome_of(one)
    assert other.lab.ahead != one.lab.ahead


def test_credits_are_the_labs_own_and_add_up(tiny: World, outcome: Outcome) -> None:
    state = tiny.lab.ahead
    assert sum(state.book.values()) == 0
    assert state.book.get(escrow("tiny"), 0) > 0
    paid = outcome.figures["usd_paid"]
    assert paid is not None
    assert paid > 0


def test_a_run_learns_within_its_staleness_from_what_its_market_bought(
    tiny: World, outcome: Outcome
) -> None:
    assert tiny.run_state.version > 5
    assert max(outcome.staleness) <= TINY.learning.staleness
    assert len(tiny.lab.ahead.markets["tiny"].past) >= 2
    assert tiny.watch.clearings[-1].bought > 0


def test_who_forges_everything_is_found_and_nobody_else_is(tiny: World, outcome: Outcome) -> None:
    forgers = [did for did in tiny.watch.cheats if tiny.machines[did].provider.forges]
    assert forgers
    assert forgers == list(tiny.watch.cheats)
    assert outcome.figures["cheats_found"] == 1.0
    assert outcome.figures["honest_accused"] == 0.0
    for did in forgers:
        node = seen(tiny.lab.ahead, did)
        assert node is None or node.standing.quarantine is not None


def test_a_policy_that_no_machine_holds_is_refused_with_what_is_missing() -> None:
    huge = replace(TINY, policy=Policy(model="", params=1e15, active=1e12))
    with pytest.raises(CannotSimulate, match=r"GB needed, .* GB usable"):
        ready(huge, shelf(), 0)


def test_a_gini_is_nothing_among_equals_and_all_but_everything_for_one_of_many() -> None:
    assert gini([5, 5, 5]) == pytest.approx(0.0)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([1, 3]) == pytest.approx(0.25)
