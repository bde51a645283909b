"""`archipel market` at a lab whose run has one: round, book, prices, a picture."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from live import live
from trading import Exchange, exchange_at
from world import World


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    world = World(tmp_path_factory.mktemp("lab"), ledger_on_disk=False)
    made = exchange_at(world)
    made.measured("cheap", "fair", "dear")
    made.sell(cheap=300_000, fair=500_000, dear=800_000)
    yield made
    world.close()


def asked(exchange: Exchange, *words: str) -> Result:
    async def story() -> Result:
        async with live(exchange.world) as url:
            full = ["market", *words, "--lab", url]
            return await asyncio.to_thread(CliRunner().invoke, command, full)

    return exchange.world.await_(story())


def test_the_market_is_told_in_words_and_to_machines(exchange: Exchange) -> None:
    answer = asked(exchange, "run")
    assert answer.exit_code == 0, answer.output
    assert "2 of 2 lots bought at a clearing price of 0.8 credits/M tokens" in answer.output
    assert "book: 3 bids" in answer.output
    assert exchange.nodes[0].did[-12:] in answer.output
    (view,) = json.loads(asked(exchange, "--json").stdout)
    assert view["last"]["price_micro"] == 800_000
    assert [each["micro"] for each in view["last"]["book"]] == [300_000, 500_000, 800_000]
    assert [each["won"] for each in view["last"]["book"]] == [1, 1, 0]
    assert view["last"]["operators_hhi"] == 5000
    assert view["last"]["regions_permille"] == {"eu": 1000}
    assert view["below_energy"] == []


def test_an_ask_below_the_energy_of_a_thrifty_machine_is_marked(exchange: Exchange) -> None:
    answer = asked(exchange, "run", "--watts", "1000", "--energy-price", "1")
    assert "below the energy" in answer.output


def test_prices_are_told_in_dollars_too_at_a_stated_rate(exchange: Exchange) -> None:
    answer = asked(exchange, "run", "--rate", "0.5")
    assert "clearing price of 0.8 credits/M tokens (0.400000 USD)" in answer.output


def test_prices_are_drawn(exchange: Exchange, tmp_path: Path) -> None:
    place = tmp_path / "prices.png"
    answer = asked(exchange, "run", "--plot", str(place))
    assert answer.exit_code == 0, answer.output
    assert place.read_bytes().startswith(b"\x89PNG")


def test_a_run_without_a_market_is_one_sentence(exchange: Exchange) -> None:
    exchange.world.open_run("plain")
    answer = asked(exchange, "plain")
    assert answer.exit_code == 1
    assert "has no market" in str(answer.exception) + answer.output


def test_of_a_run_that_is_over_it_says_what_was_paid(tmp_path: Path) -> None:
    world = World(tmp_path, ledger_on_disk=False)
    made = exchange_at(world)
    assert "group is paid" in asked(made, "run").output
    world.stop_run()
    for words in (("run",), ()):
        told = asked(made, *words).output
        assert "group was paid" in told
        assert "the run is over, and buys no more" in told
    world.close()
