"""A crowd of strangers at the door and in the store: they use up their own share, and no sweep takes what is needed."""

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from archipel.connections import neighbourhood
from archipel.lab import doorman as doorman_module
from archipel.lab.decide import MAX_OPEN_LEASES_PER_NODE
from archipel.lab.doorman import DoorLimits, Doorman, Rate
from archipel.lab.garbage import needed
from archipel.lab.programmes import rl
from archipel.lab.refusals import Busy
from archipel.lab.state import Run
from archipel.lab.upkeep import GRACE_S, SHORT_GRACE_S, Upkeep
from archipel.records.kinds.rollout import RolloutAnswer
from door import Door
from people import Provider, ref
from world import World

LIMITS = DoorLimits(
    per_key=Rate(5, 1.0),
    idle_per_key=Rate(4, 0.1),
    idle_per_address=Rate(12, 0.5),
    joins_per_address=Rate(6, 0.2),
    waiting_per_address=3,
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_a_crowd_gets_no_more_than_its_share_and_takes_nothing_from_a_quiet_neighbour(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorman_module, "MAX_BUCKETS", 500)
    rng, clock = random.Random(seed), Clock()
    door = Doorman(LIMITS, clock)
    joins, idle, work = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    waiting = Counter[str]()
    for step in range(6000):
        clock.now_s += rng.choice((0.0, 0.0, 0.01, 0.1))
        address = f"bad {rng.randrange(3)}"
        author = f"did:{rng.randrange(400)}" if rng.random() < 0.8 else "did:honest"
        is_newcomer, is_idle = rng.random() < 0.3, rng.random() < 0.5
        with suppress(Busy):
            door.statement(author, address, is_newcomer=is_newcomer, is_idle=is_idle)
            joins[address] += is_newcomer
            idle[address] += is_idle
            work[author, address] += not is_newcomer
        with suppress(Busy):
            door.begin_waiting(address)
            waiting[address] += 1
        if waiting[address] and rng.random() < 0.3:
            door.end_waiting(address)
            waiting[address] -= 1
        assert waiting[address] <= LIMITS.waiting_per_address
        if (
            step % 500 == 0
        ):  # somebody elsewhere, whose name the crowd takes in vain, is never held up
            door.statement("did:honest", "good", is_newcomer=False, is_idle=False)
            door.begin_waiting("good")
            door.end_waiting("good")

    def most(rate: Rate) -> float:
        return rate.burst + rate.per_s * clock.now_s + 1

    assert max(joins.values()) <= most(LIMITS.joins_per_address)
    assert max(idle.values()) <= most(LIMITS.idle_per_address)
    assert max(work.values()) <= most(LIMITS.per_key)
    assert max(idle.values()) > LIMITS.idle_per_address.burst / 2, "they did get something"


def test_an_address_stands_for_all_that_its_holder_has() -> None:
    home = {neighbourhood(f"2001:db8:1:2:{n:x}::{n:x}") for n in range(1, 50)}
    assert home == {"2001:db8:1:2::/64"}
    assert neighbourhood("2001:db8:1:3::1") not in home
    assert neighbourhood("::ffff:192.0.2.7") == neighbourhood("192.0.2.7") == "192.0.2.7"
    assert neighbourhood("192.0.2.8") == "192.0.2.8"
    assert neighbourhood("fe80::1%eth0") == neighbourhood("fe80::2%eth0")
    assert neighbourhood("local") == "local"


class Stranger:
    """Sends what it should, what it should not, halves of either; what came whole for an open lease is noted."""

    def __init__(self, rng: random.Random, door: Door, node: Provider) -> None:
        self.rng, self.door, self.node = rng, door, node
        self.whole: dict[str, set[str]] = {}
        """Work -> digests that came whole for it."""

    def send(self, work: str) -> None:
        data = self.rng.randbytes(self.rng.randrange(1, 40))
        sent = self.rng.choice((data, data, data[:-1], data + b"x", bytes(len(data)), b""))
        answer = self.door.upload(self.node.identity, data, work, sent)
        assert answer.status_code < 500, answer.text
        assert (answer.status_code == 201) == (sent == data)
        if sent == data:
            self.whole.setdefault(work, set()).add(ref(data).digest)

    def act(self, world: World) -> None:
        works = list(self.node.leases)
        match self.rng.randrange(6):
            case 0 if len(works) < MAX_OPEN_LEASES_PER_NODE:
                self.node.ask()
            case 1 if works:
                self.node.answer(self.node.leases[self.rng.choice(works)])
            case 2 if works:
                self.node.give_back(self.rng.choice(works))
            case _ if works:
                self.send(self.rng.choice(works))


def at_stake(run: Run) -> set[str]:
    """What somebody can still ask for, told without the lab's own rule."""
    course = rl.course(run)
    blobs = [run.opened.recipe, *(file.blob for file in run.opened.model), *course.prompts.values()]
    for version in run.chain:
        blobs += [blob for blob in (version.manifest, version.anchor, version.delta) if blob]
    for accepted in course.results.values():
        assert isinstance(accepted.answer, RolloutAnswer)
        blobs.append(accepted.answer.result)
    return {blob.digest for blob in blobs}


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 3))]
)
def test_no_sweep_takes_what_a_lease_a_version_or_an_accepted_answer_needs(
    quick_folder: Path, seed: int
) -> None:
    world = World(quick_folder, ledger_on_disk=False)
    rng, door = random.Random(seed), Door(world)
    learner = world.started(max_groups_per_lease=1, groups_per_update=2, versions=3)
    crowd = [Stranger(rng, door, world.provider(f"node {number}")) for number in range(3)]
    upkeep = Upkeep(world.lab)
    for _ in range(150):
        rng.choice(crowd).act(world)
        learner.work()
        if rng.random() < 0.2:
            world.tick(rng.choice((10, 5000)))
        stray = world.put(rng.randbytes(8)).digest if rng.random() < 0.2 else None
        if rng.random() < 0.3:
            world.await_(upkeep.sweep(-1.0))
            assert stray is None or not world.blobs.exists(stray)
        here = set(world.blobs.digests())
        assert at_stake(world.run()) <= here
        for each in crowd:
            for work, digests in each.whole.items():
                assert work not in world.state.leases or digests <= here
    assert world.run().version > 0
    world.check()
    for each in crowd:
        for work in list(each.node.leases):
            if work in world.state.leases:
                each.node.give_back(work)
    world.await_(upkeep.sweep(-1.0))
    assert set(world.blobs.digests()) == needed(world.state)
    assert world.blobs.used().partial_bytes == 0
    door.close()
    world.close()


def test_what_came_before_a_restart_for_work_that_is_still_held_keeps_the_long_grace(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Full", (), {"used": lambda _: USED, "room": lambda _: 0})()
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    world.now_ms += 1000
    world.restart()
    monkeypatch.setattr(world.lab, "blobs", full)
    upkeep = Upkeep(world.lab)
    assert upkeep.grace_s() == GRACE_S, "its uploads are known by nothing but their age"
    node.give_back(granted.work)
    assert upkeep.grace_s() == SHORT_GRACE_S


USED = type("Used", (), {"total_bytes": 100})()
