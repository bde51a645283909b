"""Who tries to win a market without work, or to keep others out of it: what it comes to in a whole lab."""

from collections.abc import Iterator

import pytest

from trading import TERMS, Exchange, exchange_at
from world import World


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture
def exchange(world: World) -> Exchange:
    return exchange_at(world)


@pytest.mark.parametrize("max_staleness", [0, 1])
def test_who_wins_by_asking_next_to_nothing_and_delivers_nothing_does_not_stall_the_run(
    world: World, max_staleness: int
) -> None:
    terms = TERMS.model_copy(update={"lots": 1, "operator_cap": 1})
    exchange = exchange_at(world, terms, max_staleness=max_staleness)
    honest, saboteur = exchange.measured("honest", "saboteur")
    last = exchange.sell(honest=400_000, saboteur=1)
    assert set(last.awards) == {saboteur.did}
    assert honest.ask() is None
    world.tick(terms.period_ms)
    granted = honest.ask()
    assert granted is not None
    assert granted.per_million_micro == 400_000, "its own ask: nothing less was promised"
    assert not exchange.market.exploring
    exchange.check()


def test_who_asked_for_more_than_the_reserve_works_for_no_run_that_starves(
    exchange: Exchange,
) -> None:
    dear, _ = exchange.measured("dear", "saboteur")
    exchange.sell(dear=TERMS.reserve_micro + 1, saboteur=1)
    exchange.world.tick(2 * TERMS.period_ms)
    assert dear.ask() is None
    exchange.check()


def test_who_waits_unbought_is_answered_once_the_learner_starves(exchange: Exchange) -> None:
    honest, _, _ = exchange.measured("honest", "saboteur", "other")
    last = exchange.sell(honest=700_000, saboteur=1, other=2)
    assert honest.did not in last.awards
    granted = honest.wait(TERMS.period_ms)
    assert granted is not None
    assert granted.per_million_micro == 700_000
