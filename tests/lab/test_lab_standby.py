"""Who works for a run follows its learner: the cheapest nodes that keep it busy, and the ledger says why."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from archipel.cli.run_words import capacity_words
from archipel.lab import workforce
from archipel.lab.handouts import Outgoing
from archipel.lab.market_views import market_view
from archipel.lab.providers import is_here, standing_of
from archipel.lab.standby import why_held_back, why_not
from archipel.lab.views import node_view, run_view
from archipel.lab.working_set import Figures, measured, stepped
from archipel.market.provisioning import Why
from archipel.records.bids import Bid, seal_of
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.membership import NodePaused, NodeResumed
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.recipe_market import MarketTerms
from archipel.records.rounds import BidCommitted, BidRevealed
from archipel.records.statements import NodeLeft
from courtroom import ALWAYS, audited, draw, node, opened
from people import Cheat, Learner, Provider, envelope
from world import World

MANY = {"versions": 60, "groups_per_update": 4, "max_groups_per_lease": 2, "max_staleness": 2}
MARKET = MarketTerms(
    reserve_micro=1_000_000,
    lot_milli=1000,
    period_ms=3_600_000,
    commit_ms=10_000,
    reveal_ms=10_000,
    deposit_micro=0,
    explore_permille=50,
    newcomer_permille=800,
    utilisation_permille=950,
)
NONCE = "07" * 32
STEP_MS = 4000
"""Of the learner; it takes 8 rollouts in 4.2 s, which two nodes bring at 2 s a group."""


@dataclass
class Worker:
    node: Provider
    group_ms: int
    fetch_ms: int = 0
    version: int = -1
    done: int = 0
    """Groups."""

    def work(self, world: World) -> None:
        """Do one lease, if there is one."""
        granted = self.node.ask()
        if granted is None:
            return
        assert isinstance(granted.spec, RolloutSpec)
        is_new, self.version = granted.spec.version != self.version, granted.spec.version
        world.now_ms += self.group_ms * len(granted.spec.groups) + is_new * self.fetch_ms
        self.node.answer(granted)
        self.done += len(granted.spec.groups)


@dataclass
class Shop:
    """A run and its nodes, who work one after another."""

    world: World
    learner: Learner
    workers: dict[str, Worker] = field(default_factory=dict)

    def hires(self, **groups_ms: int) -> None:
        for name, group_ms in groups_ms.items():
            self.workers[name] = Worker(self.world.provider(name), group_ms)

    @property
    def members(self) -> set[str]:
        members = self.world.run().working.members
        return {name for name, each in self.workers.items() if each.node.did in members}

    def why(self, name: str) -> Why:
        return why_not(self.world.run(), self.workers[name].node.did)

    def sells(self, **asks: int) -> None:
        """A whole round: who asks so much for a lot."""
        world = self.world
        world.tick(0)
        opening = world.state.markets["run"].open
        assert opening is not None
        said = {"run": "run", "number": opening.number}
        fields = {"market": opening.round.market, "lots": 1, "region": "eu", "valid_from_ms": 0}
        fields |= {"valid_until_ms": opening.round.reveal_until_ms + 1}
        bids = {
            name: Bid(bidder=self.workers[name].node.did, price_micro=ask, **fields)
            for name, ask in asks.items()
        }
        for name, bid in bids.items():
            self.workers[name].node.speak(BidCommitted, **said, seal=seal_of(bid, NONCE))
        world.now_ms = opening.round.commit_until_ms
        for name, bid in bids.items():
            self.workers[name].node.speak(BidRevealed, **said, bid=bid, nonce=NONCE)
        world.now_ms = opening.round.reveal_until_ms
        world.tick(0)

    def versions(self, number: int = 1) -> None:
        """Everybody works twice over for each."""
        for _ in range(number):
            before = self.world.run().version
            for _ in range(6):
                for worker in self.workers.values():
                    worker.work(self.world)
            while self.world.run().version == before:
                granted = self.learner.ask()
                assert granted is not None
                self.world.now_ms += STEP_MS if granted.spec.kind == "update" else 0
                self.learner.answer(granted)


def shop(world: World, market: MarketTerms | None = None, **groups_ms: int) -> Shop:
    made = Shop(world, world.started(**MANY, **({"market": market} if market else {})))
    if market is not None:
        paid: dict[str, Any] = {
            "account": world.operator.did,
            "direction": "in",
            "reference": "one",
        }
        world.speak(world.operator, CreditsSettled, micro=10**9, **paid)
        world.speak(world.operator, RunFunded, run="run", micro=10**9)
    made.hires(**groups_ms)
    made.versions(3)
    return made


def test_the_set_is_as_large_as_the_learner_needs_and_settles(world: World) -> None:
    made = shop(world, a=2000, b=2000, c=2000, d=2000)
    assert len(made.members) == 2
    before = made.members
    made.versions(3)
    assert made.members == before
    for name in made.workers:
        assert made.why(name) is (Why.CHEAPEST if name in before else Why.SPARE)
    known = world.run().working
    assert known.period_ms == STEP_MS * 1000 // 950
    assert known.wanted_micro == 8_000_000 <= known.brought_micro
    world.check()
    world.check_replay()


def test_without_a_market_nobody_is_held_back_and_with_one_who_is_not_needed_is(
    world: World,
) -> None:
    made = shop(world, a=2000, b=2000, c=2000)
    spare = next(iter(made.workers.keys() - made.members))
    assert why_held_back(world.run(), made.workers[spare].node.did, world.now_ms) is None
    done = made.workers[spare].done
    made.versions()
    assert made.workers[spare].done > done


def test_in_a_market_who_is_not_needed_is_given_nothing_while_the_set_suffices(
    world: World,
) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    assert why_held_back(world.run(), made.workers[spare].node.did, world.now_ms) is Why.SPARE
    done = {name: each.done for name, each in made.workers.items()}
    made.versions(2)
    more = {name: each.done - done[name] for name, each in made.workers.items()}
    assert more.pop(spare) == 0
    assert min(more.values()) > 0
    world.check()
    world.check_replay()


def test_people_see_how_much_is_wanted_by_whom_it_is_brought_and_why_others_wait(
    world: World,
) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    shown = run_view(world.state, world.run(), world.now_ms).capacity
    assert shown is not None
    assert (shown.active, shown.standby, shown.binds) == (2, 1, True)
    assert shown.reasons == {Why.CHEAPEST.value: 2, Why.SPARE.value: 1}
    assert 1.9 == round(shown.wanted_per_s, 1) <= shown.brought_per_s
    (words,) = capacity_words(shown)
    assert words.startswith("1.9 rollouts/s wanted, 2 brought by 2 nodes, ")
    assert "; 1 on standby: " in words
    for name, worker in made.workers.items():
        node = world.state.nodes[worker.node.did]
        (place,) = node_view(world.state, node, world.now_ms).places
        waits = name == spare
        assert (place.run, place.is_active, place.waits) == ("run", not waits, waits)
        assert place.why == made.why(name).value


def test_a_departure_wakes_who_was_spare_at_once(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    gone = max(made.members)
    made.workers.pop(gone).node.leave()
    assert spare in made.members
    assert len(made.members) == 2
    made.versions(2)
    assert len(made.members) == 2
    world.check_replay()


def test_while_too_few_are_here_nobody_is_held_back(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    for name in made.members:
        made.workers.pop(name).node.leave()
    assert made.members == {spare}
    assert not world.run().working.suffices
    made.hires(e=2000)
    assert why_held_back(world.run(), made.workers["e"].node.did, world.now_ms) is None
    made.versions(2)
    assert made.members == {spare, "e"}


def test_a_link_that_grows_slow_costs_a_node_its_share_and_another_is_woken(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    slow = max(made.members)
    made.workers[slow].fetch_ms = 3000
    made.versions(6)
    assert spare in made.members
    figures = world.run().working.figures[made.workers[slow].node.did]
    assert 2000 < figures.fetch_ms <= 3000
    settled = made.members
    made.versions(2)
    assert made.members == settled
    world.check_replay()


def test_a_node_that_grows_faster_makes_another_superfluous(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    before = made.members
    made.workers[min(before)].group_ms = 500
    made.versions(6)
    assert made.members < before
    world.check_replay()


def test_a_newcomer_is_measured_and_then_takes_part_only_if_it_is_needed(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000)
    before = made.members
    made.hires(new=2000)
    assert made.why("new") is Why.UNMEASURED
    assert why_held_back(world.run(), made.workers["new"].node.did, world.now_ms) is None
    for _ in range(2):  # its first lease shows how long its start takes, not how fast it is
        assert made.why("new") is Why.UNMEASURED
        made.workers["new"].work(world)
    done = made.workers["new"].done
    assert done >= 2
    made.versions(2)
    assert made.members == before
    assert made.why("new") is Why.SPARE
    assert made.workers["new"].done == done


def test_neither_a_slow_start_of_a_node_nor_of_the_learner_is_held_against_it() -> None:
    assert measured(Figures(), 1, 0, 0, 60_000).supply == (0, 0)
    warm = measured(measured(Figures(), 1, 0, 0, 60_000), 1, 0, 60_000, 62_000)
    assert warm.supply == (500_000, 0)
    assert measured(warm, 1, 1, 62_000, 65_000).supply == (500_000, 1000)
    assert stepped(60_000, 5000) == 5000
    assert stepped(5000, 9000) == 6000


def test_a_lease_that_runs_out_wakes_another_until_its_node_answers_again(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    silent = max(made.members)
    assert made.workers[silent].node.ask() is not None
    world.tick(120_001)
    assert made.why(silent) is Why.SILENT
    assert spare in made.members
    assert why_held_back(world.run(), made.workers[silent].node.did, world.now_ms) is None
    made.workers[silent].node.leases.clear()
    made.workers[silent].work(world)
    assert made.why(silent) is not Why.SILENT
    world.check_replay()


def test_a_round_changes_who_works_and_a_price_that_did_not_win_keeps_out(world: World) -> None:
    market = MARKET.model_copy(update={"lots": 3, "operator_cap": 1})
    made = shop(world, market, a=2000, b=2000, c=2000, d=2000)
    made.sells(a=300_000, b=400_000, c=500_000, d=600_000)
    assert made.why("d") is Why.OUTBID
    assert "d" not in made.members
    assert len(made.members) == 2
    made.versions(2)
    first = made.members
    assert len(first) == 2
    world.now_ms += MARKET.period_ms
    made.sells(a=900_000, b=400_000, c=500_000, d=100_000)
    assert made.why("a") is Why.OUTBID
    assert first - {"a"} <= made.members <= {"b", "c", "d"}
    assert len(made.members) == 2
    for name, worker in made.workers.items():
        own = market_view(world.state, world.run(), world.now_ms, 0, worker.node.did).own
        assert own is not None
        waits = name != "a" and name not in made.members
        assert own.standby == (Why.SPARE.value if waits else None)
    world.check_replay()


def test_who_a_verdict_finds_wrong_is_out_at_once_and_another_is_woken(world: World) -> None:
    learner = opened(world, ALWAYS, **MANY)
    made = Shop(world, learner)
    nodes = {"cheat": node(world, "cheat", Cheat), "b": node(world, "b"), "c": node(world, "c")}
    for name, each in nodes.items():
        each.kinds = ("rollout",)
        made.workers[name] = Worker(each, 1800 if name == "cheat" else 2000)
    made.versions(3)
    assert "cheat" in made.members
    (spare,) = made.workers.keys() - made.members
    cheat, judges = nodes["cheat"].did, [node(world, "judge"), node(world, "other")]
    for _ in range(40):
        draw(world)
        for judge in judges:
            audited(world, judge)
        if standing_of(world.state, cheat).quarantine is not None:
            break
        assert cheat in world.run().working.members
    assert made.why("cheat") is Why.VERDICT
    assert made.members == {"b", "c"}
    assert spare in made.members
    world.check_replay()


def test_who_waits_on_standby_is_answered_when_a_member_leaves(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    leaver = made.workers[max(made.members)].node

    async def story() -> Outgoing | None:
        asked = asyncio.create_task(world.lab.lease(made.workers[spare].node.request(), 5.0))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not asked.done()
        left = envelope(leaver.identity, world.statement(leaver.identity, NodeLeft))
        await world.lab.submit(left)
        return await asked

    assert world.await_(story()) is not None


def test_members_that_fall_silent_without_a_word_cannot_starve_the_learner(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000, d=2000)
    gone = made.members
    for name in gone:
        made.workers.pop(name)  # no word, and no lease in their hands
    while (granted := made.learner.ask()) is not None:  # with what is at hand
        world.now_ms += STEP_MS if granted.spec.kind == "update" else 0
        made.learner.answer(granted)
    assert all(each.node.ask() is None for each in made.workers.values())
    versions = world.run().version
    for _ in range(8):
        world.tick(10_000)
        for worker in (*made.workers.values(), *made.workers.values()):
            worker.work(world)
        while (granted := made.learner.ask()) is not None:
            world.now_ms += STEP_MS if granted.spec.kind == "update" else 0
            made.learner.answer(granted)
    assert world.run().version >= versions + 6
    assert made.members == made.workers.keys()
    assert {why_not(world.run(), world.provider(name, join=False).did) for name in gone} == {
        Why.SILENT
    }
    made.versions(2)
    world.check_replay()


def test_among_many_a_departure_is_made_up_for_before_the_set_is_decided_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000, d=2000)
    assert len(made.members) == 2
    decided_at = world.run().working.entry
    monkeypatch.setattr(workforce, "SPARED", -1000)
    made.workers.pop(max(made.members)).node.leave()
    assert len(made.members) == 2
    known = world.run().working
    assert (known.entry, known.is_stale, known.suffices) == (decided_at, True, True)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 3))]
)
def test_whatever_happens_only_who_is_here_is_in_the_set_and_a_replay_finds_the_same(
    world: World, seed: int
) -> None:
    chance = random.Random(seed)
    made = shop(world, MARKET if seed else None, **dict.fromkeys("abcde", 2000))
    for _ in range(40):
        worker = made.workers[chance.choice(list(made.workers))]
        match chance.randrange(8):
            case 0:
                if is_here(world.state, worker.node.did):
                    worker.node.leave()
                else:
                    worker.node.join()
            case 1:
                worker.fetch_ms = chance.randrange(6000)
            case 2:
                worker.group_ms = chance.randrange(500, 5000)
            case 3:
                world.tick(chance.choice((1000, 130_000)))
                worker.node.leases.clear()
            case 4 if (granted := made.learner.ask()) is not None:
                world.now_ms += STEP_MS
                made.learner.answer(granted)
            case _ if is_here(world.state, worker.node.did):
                worker.work(world)
        check_set(world)
    world.check_replay()


def check_set(world: World) -> None:
    """What holds of every working set."""
    known = world.run().working
    assert known.brought_micro == sum(each.brings_micro for each in known.members.values())
    for did in known.members:
        assert is_here(world.state, did)
        assert not known.figures[did].is_silent
        assert known.reasons[did] in {"CHEAPEST", "KEPT", "SLACK"}
        assert why_held_back(world.run(), did, world.now_ms) is None
    again = workforce.decided(world.state, world.run(), world.run().chain[-1].at_ms)
    assert not known.is_stale
    assert again.members.keys() <= known.members.keys()


def test_a_pause_wakes_who_was_spare_and_who_is_resumed_may_be_needed_again(world: World) -> None:
    made = shop(world, MARKET, a=2000, b=2000, c=2000)
    (spare,) = made.workers.keys() - made.members
    idle = max(made.members)
    node = made.workers[idle].node
    world.speak(node.identity, NodePaused, node=node.did, reason="")
    assert spare in made.members
    assert idle not in made.members
    others = made.workers.keys() - {idle}
    worker = made.workers.pop(idle)
    made.versions(2)
    assert made.members == others
    made.workers[idle] = worker
    world.speak(node.identity, NodeResumed, node=node.did)
    gone = max(others)
    made.workers.pop(gone).node.leave()
    assert idle in made.members
    world.check_replay()
