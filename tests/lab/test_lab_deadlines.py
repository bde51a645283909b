"""How long a lease lasts: what the work should take, with slack, between a floor and a ceiling."""

import pytest

from archipel.lab import refusals
from archipel.lab.decide import MAX_OPEN_LEASES_PER_NODE, MAX_OPEN_LEASES_UNPROVEN
from archipel.lab.kinds.rollout import CLAIM_PATIENCE
from people import Provider
from world import PACE, TERMS, World

FLOOR = PACE["min_deadline_ms"]
TOKENS = PACE["group_size"] * PACE["max_new_tokens"]
"""Of one group of full length."""


def given_ms(world: World, node: Provider, groups: int | None = None) -> int:
    """How long the lease that `node` gets now lasts."""
    granted = node.ask()
    assert granted is not None
    if groups is not None:
        assert len(granted.spec.groups) == groups  # type: ignore[union-attr]  # rollouts
    return granted.deadline_ms - world.now_ms


def measured(world: World, name: str, ms: int, claim_milli: int = 0) -> Provider:
    """A node whose first group took `ms`."""
    node = world.provider(name, claim_milli)
    granted = node.ask()
    assert granted is not None
    world.now_ms += ms * len(granted.spec.groups)  # type: ignore[union-attr]  # rollouts
    node.answer(granted)
    return node


def test_a_measured_node_has_the_time_it_should_need_times_the_slack(world: World) -> None:
    world.started(max_groups_per_lease=2, slack_milli=4000)
    node = measured(world, "node", 10_000)
    assert given_ms(world, node, groups=2) == 2 * 10_000 * 4
    world.check()


@pytest.mark.parametrize(("slack", "expected"), [(1000, FLOOR), (2000, 40_000), (1500, 30_000)])
def test_the_slack_is_the_recipe_s_and_nobody_gets_less_than_the_floor(
    world: World, slack: int, expected: int
) -> None:
    world.started(max_groups_per_lease=2, slack_milli=slack)
    node = measured(world, "node", 10_000)
    assert given_ms(world, node, groups=2) == expected


def test_nobody_gets_more_than_a_trusted_key(world: World) -> None:
    world.started(max_groups_per_lease=2)
    node = measured(world, "node", 40_000)
    assert given_ms(world, node, groups=1) == TERMS["trusted_deadline_ms"]


@pytest.mark.parametrize(("ms", "most"), [(7_499, 4), (7_501, 3), (14_999, 2), (15_001, 1)])
def test_a_lease_is_no_larger_than_what_fits_with_slack_into_the_longest_time(
    world: World, ms: int, most: int
) -> None:
    world.started(groups_per_update=8, slack_milli=4000)
    given_ms(world, measured(world, "node", ms), groups=most)


def test_a_node_that_claims_nothing_and_was_not_measured_gets_the_floor(world: World) -> None:
    world.started(max_groups_per_lease=2)
    assert given_ms(world, world.provider("node")) == FLOOR


def test_a_claim_counts_until_the_first_measure_but_not_beyond_ten_floors(world: World) -> None:
    world.started(max_groups_per_lease=1, min_deadline_ms=100)
    claim = TOKENS * 10 * 1000  # ten groups a second
    assert given_ms(world, world.provider("quick", claim), groups=1) == 100 * 4
    slow = TOKENS * 1000 // 100  # a hundred seconds a group
    assert given_ms(world, world.provider("slow", slow), groups=1) == CLAIM_PATIENCE * 100
    assert CLAIM_PATIENCE == 10


def test_the_bound_on_claims_does_not_hold_for_who_was_measured(world: World) -> None:
    world.started(max_groups_per_lease=1, min_deadline_ms=100)
    node = measured(world, "node", 500)
    assert given_ms(world, node, groups=1) == 500 * 4


def test_each_lease_that_ran_out_doubles_the_time_for_the_next_up_to_a_trusted_key_s(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1, min_deadline_ms=100)
    claim = TOKENS * 5 * 1000
    node = world.provider("node", claim)
    given = []
    for _ in range(9):
        given.append(given_ms(world, node, groups=1))
        world.tick(TERMS["trusted_deadline_ms"] + 1)
        node.leases.clear()
    assert given == [min(200 * 4 * 2**n, TERMS["trusted_deadline_ms"]) for n in range(9)]


def test_a_claim_that_was_broken_counts_no_more_when_work_is_shared_out(world: World) -> None:
    world.started(groups_per_update=12, max_staleness=3)
    known, braggart = world.provider("known"), world.provider("braggart", TOKENS * 1000 // 2)
    known.prove(500)
    lease = known.ask()
    assert lease is not None
    assert len(lease.spec.groups) == 10, "12 * 2 / (2 + 1/2), rounded up"  # type: ignore[union-attr]  # rollouts
    known.give_back(lease.work)
    given_ms(world, braggart, groups=1)
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    braggart.join()
    given_ms(world, known, groups=6)  # who broke its word counts as the slowest known one


def test_a_rate_moves_a_quarter_of_the_way_to_each_new_measure(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = measured(world, "node", 1000)
    rates = [world.state.nodes[node.did].tallies["rollout"].rate_micro]
    for ms in (500, 2000):
        granted = node.ask()
        assert granted is not None
        world.now_ms += ms
        node.answer(granted)
        rates.append(world.state.nodes[node.did].tallies["rollout"].rate_micro)
    assert rates == [1_000_000, 1_250_000, 1_250_000 - 750_000 // 4]


def test_an_answer_in_no_time_at_all_counts_as_one_millisecond(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = measured(world, "node", 0)
    assert world.state.nodes[node.did].tallies["rollout"].rate_micro == 1000 * 1_000_000


def test_trusted_work_has_the_terms_deadline(world: World) -> None:
    world.open_run()
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    assert granted.deadline_ms - world.now_ms == TERMS["trusted_deadline_ms"]
    assert granted.price_micro == 0
    learner.answer(granted)
    exam = learner.ask()
    assert exam is not None
    assert exam.spec.kind == "evaluate"
    assert exam.deadline_ms - world.now_ms == TERMS["trusted_deadline_ms"]
    assert exam.price_micro == 0


def test_an_answer_is_taken_until_its_deadline_and_a_lease_ends_only_after_it(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node, late = world.provider("node"), world.provider("late")
    first, second = node.ask(), late.ask()
    assert first is not None
    assert second is not None
    world.tick(FLOOR)
    node.answer(first)
    world.tick(1)
    assert second.work not in world.state.leases
    with pytest.raises(refusals.Late, match="expired"):
        late.answer(second)


def test_overdue_leases_end_oldest_first_and_each_once(world: World) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=8)
    nodes = [world.provider(f"node {n}") for n in range(3)]
    works = []
    for node in nodes:
        granted = node.ask()
        assert granted is not None
        works.append(granted.work)
        world.now_ms += 1
    world.tick(FLOOR - 2)
    assert sorted(world.state.leases) == works[1:]
    world.tick(2)
    assert not world.state.leases
    world.tick(FLOOR)
    ended = [each.work for each in world.statements() if each.kind == "lease.expired"]  # type: ignore[attr-defined]  # by its kind
    assert ended == works
    assert {each.cause for each in world.statements() if each.kind == "lease.expired"} == {  # type: ignore[attr-defined]  # by its kind
        "deadline"
    }


def test_deadlines_hold_after_a_restart(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    world.restart()
    world.tick(FLOOR)
    assert granted.work in world.state.leases
    world.tick(1)
    assert granted.work not in world.state.leases


def test_a_stranger_holds_one_work_until_one_of_its_answers_was_accepted_then_four(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=16)
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    assert node.ask() is None
    assert (MAX_OPEN_LEASES_UNPROVEN, MAX_OPEN_LEASES_PER_NODE) == (1, 4)
    node.answer(first)
    held = [node.ask() for _ in range(4)]
    assert None not in held
    assert node.ask() is None
    node.give_back(held[0].work)  # type: ignore[union-attr]  # looked at above
    assert node.ask() is not None
    assert node.ask() is None


def test_a_trusted_kind_may_hold_four_from_the_start(world: World) -> None:
    for number in range(6):
        world.open_run(f"run{number}")
    learner = world.learner()
    held = [learner.ask() for _ in range(5)]
    assert [each is not None for each in held] == [True] * 4 + [False]


def test_however_many_leases_run_out_at_once_they_all_end_and_the_ledger_takes_them_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a night in which a lab of thousands of nodes was down."""
    for bound in ("archipel.lab.commit.MAX_BATCH_ENTRIES", "archipel.ledger.log.MAX_BATCH_ENTRIES"):
        monkeypatch.setattr(bound, 3)
    monkeypatch.setattr("archipel.lab.leasing.MAX_EXPIRED_AT_ONCE", 2)
    world.started(max_groups_per_lease=1, groups_per_update=8)
    nodes = [world.provider(f"node {n}") for n in range(7)]
    assert None not in [node.ask() for node in nodes]
    world.restart()
    left = []
    for _ in range(4):
        world.tick(FLOOR + 1)
        left.append(len(world.state.leases))
    assert left == [5, 3, 1, 0]
    world.check()
    world.check_replay()


def test_a_grant_that_the_disk_refused_leaves_no_deadline_for_the_next_of_its_name(
    world: World,
) -> None:
    world.started()
    node = world.provider("node")
    world.storage.room = world.lab.log.size
    with pytest.raises(refusals.StorageExhausted):
        node.ask()
    world.storage.room = None
    granted = node.ask()
    assert granted is not None
    world.tick(granted.deadline_ms - world.now_ms + 1)
    assert granted.work not in world.state.leases
    world.check_replay()
