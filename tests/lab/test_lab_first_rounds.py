"""A new run knows nobody: until a round buys of who was measured, its posted price is paid, to all."""

from collections.abc import Iterator

import pytest

from archipel.lab.awards import in_force
from trading import Exchange, exchange_at
from world import PACE, World


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    world = World()
    yield exchange_at(world)
    world.close()


def test_a_round_of_newcomers_alone_keeps_nobody_from_work(exchange: Exchange) -> None:
    world = exchange.world
    ada, ben = (world.provider(name) for name in ("ada", "ben"))
    last = exchange.sell(ada=100_000)
    assert last.bought == last.explored
    assert in_force(world.state, world.run()) is None
    for node in (ada, ben):
        granted = node.prove(1000)
        assert (granted.price_micro, granted.per_million_micro) == (PACE["price_micro"], None)
    world.now_ms = exchange.market.opened_at_ms + 60_000
    last = exchange.sell(ada=100_000, ben=200_000)
    assert last.bought > last.explored
    assert in_force(world.state, world.run()) is last
    granted = ada.ask()
    assert granted is not None
    assert granted.per_million_micro == last.price_micro
    exchange.check()
