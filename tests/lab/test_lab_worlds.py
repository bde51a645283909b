"""Random worlds: adapting leases, copies, failures, money, forgetting, snapshots and the end of a process at once."""

import contextlib
import random
from collections import Counter

import pytest

from archipel.lab import refusals
from archipel.lab.decide import opportunities
from archipel.lab.garbage import needed
from archipel.lab.snapshots import encode_state
from archipel.lab.state import OPEN_PHASES, Phase, Run
from archipel.lab.upkeep import Upkeep
from archipel.lab.views import run_view, waits
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.statements import LeaseGranted, WorkAnswered
from people import Provider
from world import PACE, World, check_groups

FLOOR = PACE["min_deadline_ms"]
STEPS = {
    "ask": 8,
    "wait": 4,
    "straggle": 12,
    "answer": 10,
    "give back": 3,
    "lose": 1,
    "rejoin": 1,
    "leave": 1,
    "newcomer": 1,
    "stop": 0.1,
    "retry": 0.5,
    "pause": 0.7,
    "resume": 1,
    "restart": 1,
    "snapshot": 1,
    "full": 1,
    "tick": 4,
    "learn": 6,
}
FAULTS: tuple[dict[str, str], ...] = (
    {},
    {"fault": "time"},
    {"fault": "work"},
    {"fault": "machine"},
)
MAX_NODES = 7


class Tale:
    """Two runs with a strict bound, nodes of unlike speed, and a lab that has room for few."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World()
        self.runs = ("one", "two")[: self.rng.randint(1, 2)]
        for name in self.runs:
            self.world.open_run(
                name,
                max_staleness=self.rng.randint(0, 2),
                groups_per_update=self.rng.randint(1, 4),
                versions=self.rng.choice([4, 12]),
                trusted_deadline_ms=self.rng.choice([2, 40]) * FLOOR,
                slack_milli=self.rng.choice([1000, 4000, 4000]),
            )
        self.learner = self.world.learner()
        self.nodes = [self.world.provider(f"node {n}", 400 * n) for n in range(4)]
        self.num_newcomers = 0
        self.handed_out: dict[str, int] = {}
        """Run that is paused -> number of its next work when that was seen first."""

    def step(self) -> str:
        (what,) = self.rng.choices(list(STEPS), list(STEPS.values()))
        for node in self.nodes:  # as nodes do: after its deadline a work is nobody's
            for work in [*node.leases][:-3]:
                del node.leases[work]
        with contextlib.suppress(
            refusals.Late, refusals.Unknown, refusals.NotJoined, refusals.Conflict
        ):
            self._do(what, self.rng.choice(self.nodes))
        return what

    def _do(self, what: str, node: Provider) -> None:  # noqa: C901, PLR0912  the list of what may happen
        world, rng = self.world, self.rng
        match what:
            case "ask":
                node.ask()
            case "wait":
                node.wait(rng.choice([0, FLOOR + 1, 2 * FLOOR + 1, 5 * FLOOR]))
            case "straggle":
                self._straggle(node, rng.choice(self.nodes))
            case "answer":
                self._answer(node)
            case "give back" if node.leases:
                node.give_back(rng.choice(list(node.leases)), **rng.choice(FAULTS))
            case "lose":
                node.leases.clear()
            case "rejoin":
                node.join()
            case "leave":
                node.leave()
            case "newcomer":
                self.num_newcomers += 1
                world.provider(f"newcomer {self.num_newcomers}", rng.choice([0, 9000]))
            case "stop":
                world.stop_run(rng.choice(self.runs))
            case "retry":
                world.retry_run(rng.choice(self.runs))
            case "pause":
                world.pause_run(rng.choice(self.runs))
            case "resume":
                world.resume_run(rng.choice(self.runs))
            case "restart":
                before = world.state
                world.restart()
                assert world.state == before
                assert encode_state(world.state) == encode_state(before)
            case "snapshot":
                world.await_(Upkeep(world.lab).take_snapshot())
            case "full":
                self._full(node)
            case "tick":
                world.tick(rng.choice([1, 1000, FLOOR + 1, 3 * FLOOR]))
            case "learn":
                self._learn()

    def _straggle(self, slow: Provider, quick: Provider) -> None:
        """One takes what it gets, another does all the rest, and waits until that is late."""
        slow.ask()
        if slow is quick:
            return
        for _ in range(30):
            self.world.now_ms += 10
            if quick.leases:
                quick.answer(next(iter(quick.leases.values())))
            elif quick.ask() is None:
                break
        quick.wait(self.rng.choice([FLOOR + 1, 2 * FLOOR + 1, 5 * FLOOR]))

    def _answer(self, node: Provider) -> None:
        if node.leases:
            granted = self.rng.choice(list(node.leases.values()))
            is_slow = node in self.nodes[:2]
            self.world.now_ms += FLOOR if is_slow else self.rng.choice([0, 10, 1000, FLOOR])
            node.answer(granted)

    def _full(self, node: Provider) -> None:
        """The disk has no room for what this node says."""
        self.world.storage.room = self.world.lab.log.size
        try:
            self.rng.choice([node.ask, node.join, lambda: self._answer(node)])()
        except refusals.StorageExhausted:
            pass
        finally:
            self.world.storage.room = None

    def _learn(self) -> None:
        granted = self.learner.ask()
        if granted is not None and self.rng.random() < 0.1:
            self.learner.give_back(granted.work, **self.rng.choice(FAULTS))
        elif granted is not None:
            self.learner.answer(granted)

    def check(self) -> None:
        world, state = self.world, self.world.state
        assert sum(state.book.values()) == 0
        assert world.lab.ahead == state
        assert world.lab.orders.nodes.keys() == state.nodes.keys()
        assert list(world.lab.orders.leases) == sorted(
            state.leases, key=lambda work: state.leases[work].entry
        )
        for run in state.runs.values():
            check_groups(state, run)
            self._check_pause(run)
        for did, node in state.nodes.items():
            assert set(node.leases) == {w for w, each in state.leases.items() if each.node == did}
            assert node.present or not node.leases
        assert all(world.blobs.exists(digest) for digest in needed(state))
        waiting = {each.run for each in waits(state, world.now_ms)}
        assert waiting <= set(self.runs)
        for run in state.runs.values():
            assert run_view(state, run, world.now_ms).run == run.name
            assert run.phase not in OPEN_PHASES or run.name in waiting

    def _check_pause(self, run: Run) -> None:
        if run.paused is None:
            self.handed_out.pop(run.name, None)
        else:
            assert run.name in self.world.state.live
            assert run.next_work == self.handed_out.setdefault(run.name, run.next_work)
            assert not any(each.run is run for each in opportunities(self.world.state))

    def check_money(self) -> None:
        """Who answered first is paid what its grant says, once for each group; nobody else is."""
        grants: dict[str, LeaseGranted] = {}
        paid: Counter[str] = Counter()
        groups: Counter[tuple[str, int]] = Counter()
        for each in self.world.statements():
            if isinstance(each, LeaseGranted):
                grants[each.work] = each
            elif isinstance(each, WorkAnswered):
                granted = grants[each.work]
                assert granted.node == each.author
                paid[each.author] += granted.price_micro
                if isinstance(granted.spec, RolloutSpec):
                    groups.update((granted.spec.run, group) for group in granted.spec.groups)
        assert set(groups.values()) <= {1}, "a group was paid twice"
        book = self.world.state.book
        for did, price_micro in paid.items():
            assert book.get(did, 0) == price_micro
        held = sum(each.price_micro for each in self.world.state.leases.values())
        assert book.get(self.world.operator.did, 0) == -held - paid.total()

    def end(self) -> None:
        world = self.world
        for _ in range(3):
            world.tick(50 * FLOOR)
        for run in filter(lambda each: each.paused, world.state.runs.values()):
            world.resume_run(run.name)
        for node in (*self.nodes, self.learner):
            node.join()
        stopped = [run for run in world.state.runs.values() if run.phase is Phase.STOPPED]
        going = [run for run in world.state.runs.values() if run.phase in OPEN_PHASES]
        for _ in range(4000):
            if all(world.run(run.name).phase not in OPEN_PHASES for run in going):
                break
            self.learner.work()
            for node in self.nodes:
                if (granted := node.ask()) is not None:
                    world.tick(10)
                    node.answer(granted)
        else:
            raise AssertionError("a run did not end")
        for run in stopped:
            assert not world.run(run.name).leases
        while self.learner.work() is not None:
            pass
        assert not world.state.leases
        assert not world.state.live
        assert not any(name.startswith("held:") for name in world.state.book)


SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 60)]


@pytest.mark.parametrize("seed", [*range(2), *SLOW])
def test_a_random_world_keeps_its_books_its_groups_and_its_state(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.lab.MAX_NODES", MAX_NODES)
    tale = Tale(seed)
    for _ in range(200):
        tale.step()
        tale.check()
    tale.check_money()
    tale.end()
    tale.check()
    tale.check_money()
    tale.world.check_replay()
    tale.world.close()
