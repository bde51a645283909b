"""The bill is read from the ledger: what it says was paid is what accounts hold, asks and prices are those of the rounds."""

from collections.abc import Iterator

import pytest

from archipel.demo.aftermath import History
from archipel.demo.bill import Bill, Seller, bill_of, settled
from archipel.demo.bill_words import tell_bill
from archipel.demo.plan import DOOMED, FAST, SLOW
from archipel.lab.entry import read_entry
from archipel.lab.recovery import pages
from archipel.market.journal import escrow, wallet
from people import identity
from trading import BUDGET, GROUP_TOKENS, exchange_at
from world import PACE, World

NAMES = {FAST: "ada", SLOW: "ben", DOOMED: "cyn"}
DIDS = {name: identity(word).did for name, word in NAMES.items()}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Three nodes work at the posted price, two are bought in a round, and one of these works at its award."""
    made = World()
    exchange = exchange_at(made)
    exchange.measured(*NAMES.values())
    exchange.sell(ada=100_000, ben=200_000, cyn=300_000)
    exchange.nodes[0].prove(1)
    yield made
    made.close()


def history(world: World) -> History:
    entries = [read_entry(data) for data in pages(world.lab.log)]
    return [(entry.at_ms, entry.statement) for entry in entries]


def bill(world: World, processor_s: float = 60.0) -> Bill:
    _, sums = settled(history(world), "run")
    return bill_of(sums, processor_s, 0.036, 1e-6)


def test_what_was_paid_is_what_left_the_escrow_and_what_wallets_hold(world: World) -> None:
    state, sums = settled(history(world), "run")
    assert state == world.state
    held = sum(lease.price_micro for lease in state.leases.values())
    assert sums.paid_micro == BUDGET - state.book[escrow("run")] - held
    for did in DIDS.values():
        assert sums.sellers[did].earned_micro == state.book[wallet(did)]


def test_asks_awards_and_prices_are_those_of_the_round(world: World) -> None:
    sums = bill(world).sums
    assert (sums.rounds, sums.prices_micro) == (1, [300_000])
    ada, ben, cyn = (sums.sellers[did] for did in DIDS.values())
    assert (ada.asked_micro, ada.bought_micro) == ([100_000], [300_000])
    assert (ben.asked_micro, ben.bought_micro) == ([200_000], [300_000])
    assert (cyn.asked_micro, cyn.bought_micro) == ([300_000], [])
    assert ada.tokens > ben.tokens > 0
    posted = PACE["price_micro"]
    assert 0 < ada.earned_micro - posted <= 300_000 * GROUP_TOKENS // 10**6  # type: ignore[operator]


def test_a_central_run_rents_the_time_of_sampling_alone(world: World) -> None:
    made = bill(world)
    made.sums.sampling_ms, made.sums.audits_ms = 3000, 1000
    again = bill_of(made.sums, 60.0, 0.036, 1e-6)
    assert (again.processor_s, round(again.central_usd, 9)) == (45.0, 0.00045)
    assert again.paid_usd == made.sums.paid_micro * 1e-12
    assert again.report({DIDS[FAST]: FAST})["sellers"][FAST]["bought_micro"] == [300_000]


def test_the_words_name_everybody_and_say_what_is_not_compared(world: World) -> None:
    told = list[str]()
    tell_bill(bill(world), DIDS, {}, told.append)
    assert told[0].startswith("cost      the run paid 0.00")
    assert "1 round of 1 found a price, at 0.3 credits a million tokens" in told[0]
    assert [line.split()[0] for line in told[1:4]] == [FAST, SLOW, DOOMED]
    assert "never bought" in told[3]
    assert "bought in 1 round at 0.3" in told[1]
    assert "60.0 s of a processor" in told[4]
    assert "The learner is in neither" in told[-1]
    told.clear()
    tell_bill(bill(world, 0.0), DIDS, {}, told.append)
    assert told[-1].startswith("central   not compared")
    assert Seller().tokens == 0
