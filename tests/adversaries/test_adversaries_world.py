"""Cheats that are a matter of the lab's rules alone, in a whole lab in memory: sold twice, rewards, collusion."""

import random
from array import array
from collections.abc import Iterator

import pytest

from archipel.lab import refusals
from archipel.lab.cases import Outcome
from archipel.lab.stakes import staked_micro
from archipel.node.decoys import FORMS
from archipel.records.audits import AuditTerms
from archipel.records.kinds.audit import AuditSpec
from archipel.records.payload import Payload, read_payload, write_payload
from archipel.records.recipe_audit import AuditSection
from archipel.records.rollouts import Rollout
from archipel.records.statements import LeaseGranted
from courtroom import audited, case_of, check_money, draw, node, opened, sampled, settled
from people import Cheat, Learner, Provider
from world import World

DEFAULT = AuditSection()
TERMS = AuditTerms(
    floor_micro=round(DEFAULT.floor * 1e6), pay_milli=500, deadline_ms=10_000, window_ms=600_000,
    stake=DEFAULT.stake, part_milli=round(DEFAULT.part * 1000),
)  # fmt: skip
"""A run's by default, but for its clocks."""


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    check_money(found)
    found.close()


def court(world: World) -> Learner:
    return opened(world, TERMS, max_groups_per_lease=1, groups_per_update=64)


class Twin(Provider):
    """A second key of somebody who has sampled already: it sells what the first key made."""

    first: list[list[Rollout]]

    def sampled(self, grant: LeaseGranted) -> list[list[Rollout]]:
        return self.first


class Keeping(Provider):
    """Keeps the bytes of its last answer."""

    def put(self, data: bytes):
        self.sold = data
        return super().put(data)


class Colluding(Provider):
    """An auditor that finds its friends' answers right, and says the truth of all others."""

    friends: frozenset[str] = frozenset()

    def audited(self, spec: AuditSpec):
        self.says = "agree" if case_of(self.world, spec.work).answer.party in self.friends else ""
        return super().audited(spec)


def test_the_same_work_is_not_sold_under_two_keys(world: World) -> None:
    """Bytes name the work that they are of; with another label they are what nobody asked this key for."""
    court(world)
    seller, twin = node(world, "seller", Keeping), node(world, "twin", Twin)
    assert isinstance(seller, Keeping)
    assert isinstance(twin, Twin)
    made = sampled(world, seller)
    twin.kinds = ("rollout",)
    asked = twin.ask()
    assert asked is not None
    twin.first = seller.rollouts_of(made.spec)
    held = dict(twin.leases)
    with pytest.raises(refusals.Refused, match="work"):
        twin.answer(asked, result=twin.put(seller.sold))
    twin.leases = held
    twin.answer(asked)
    draw(world)
    first, second = node(world, "first"), node(world, "second")
    verdict = settled(world, asked.work, first, second)
    assert verdict.outcome is Outcome.HARD
    assert world.state.nodes[twin.did].standing.quarantine is not None
    assert world.state.book.get(twin.did, 0) == staked_micro(world.state, twin.did) == 0
    assert settled(world, made.work, first, second).outcome is Outcome.VERIFIED


def test_a_node_has_no_way_to_say_a_reward(world: World) -> None:
    """Neither beside its tokens nor in its words: the trusted role alone grades."""
    court(world)
    generous = node(world, "generous")
    generous.kinds = ("rollout",)
    asked = generous.ask()
    assert asked is not None
    honest = generous.answer_fields(asked)["answer"]
    payload = read_payload(
        world.blobs.read_bytes(honest.result.digest, honest.result.size), FORMS[0]
    )
    rewards = array("f", [1.0] * len(payload.tensors["lengths"]))
    told = write_payload(Payload({**payload.tensors, "rewards": rewards}, payload.metadata))
    before = world.lab.log.size
    with pytest.raises(refusals.Refused, match="rewards"):
        generous.answer(asked, result=world.put(told))
    assert world.lab.log.size == before
    assert not [name for name in type(honest).model_fields if "reward" in name or "score" in name]
    generous.answer(asked)


@pytest.mark.parametrize(
    ("honest_before", "most"), [(0, 1), pytest.param(12, 200, marks=pytest.mark.slow)]
)
def test_a_cheat_and_its_auditor_are_found_though_the_auditor_takes_every_case_first(
    world: World, honest_before: int, most: int
) -> None:
    """Its "equal" is drawn as any answer is; a name for honest audits makes that rarer and not never."""
    learner = court(world)
    cheat, honest = node(world, "cheat", Cheat), node(world, "honest")
    friend = node(world, "friend", Colluding)
    assert isinstance(friend, Colluding)
    friend.friends = frozenset({cheat.did})
    others = [node(world, name) for name in ("second", "third")]
    for _ in range(honest_before):
        sampled(world, honest)
        draw(world)
        audited(world, friend)
        draw(world)
    sold = 0
    while world.state.nodes[cheat.did].standing.quarantine is None:
        sold += 1
        assert sold <= most
        sampled(world, cheat)
        for each in (friend, *others, learner):
            draw(world)
            audited(world, each)
    assert world.state.nodes[friend.did].standing.refuted == 1
    assert world.state.nodes[honest.did].standing.hard == 0


def test_a_gang_of_auditors_is_found_once_an_honest_one_looks(world: World) -> None:
    """Two of six auditors are friends of the cheat; who gets to a case first is chance."""
    draws, learner = random.Random(3), court(world)
    cheat = node(world, "cheat", Cheat)
    gang = [node(world, name, Colluding) for name in ("friend", "other friend")]
    for each in gang:
        assert isinstance(each, Colluding)
        each.friends = frozenset({cheat.did})
    crowd = [*gang, *(node(world, name) for name in ("a", "b", "c", "d"))]
    sold = 0
    while world.state.nodes[cheat.did].standing.quarantine is None:
        sold += 1
        assert sold <= 20
        sampled(world, cheat)
        for _ in range(3):
            draw(world)
            for each in (*draws.sample(crowd, len(crowd)), learner):
                audited(world, each)
    assert world.state.nodes[cheat.did].standing.hard >= 1
    assert all(world.state.nodes[each.did].standing.hard == 0 for each in crowd)
