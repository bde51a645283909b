"""Noise that nobody chose: drawn from the ledger after a run is open, once, before anything is sampled."""

from collections.abc import Iterator

import pytest

from archipel.lab import refusals, seeding
from archipel.lab.apply import Contradiction, apply
from archipel.lab.decide import next_seq
from archipel.lab.recovery import pages, replayed
from archipel.records.canonical import sha256_digest
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import pack_prompts
from archipel.records.seeded import RunSeeded
from archipel.records.seeds import drawn_noise, group_seed
from archipel.records.statements import LeaseGranted, encode
from archipel.work.asked import requests_of
from world import World


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    found.close()


VECTOR = 1_145_746_785_376_498


def said(world: World) -> list[RunSeeded]:
    return [each for each in world.statements() if isinstance(each, RunSeeded)]


def test_the_seed_follows_from_root_and_opening() -> None:
    """A vector: whoever reads clause 8 of docs/reference/audits.md computes the same."""
    root, opening = "sha256:" + "00" * 32, "sha256:" + "11" * 32
    assert drawn_noise(root, opening) == VECTOR
    assert drawn_noise(opening, root) != VECTOR
    assert 0 <= VECTOR < 2**53


def test_nothing_is_sampled_before_the_ledger_has_given_the_noise_and_then_all_is_by_it(
    world: World,
) -> None:
    world.open_run(noise="drawn")
    learner, node = world.learner(), world.provider("node")
    learner.work()
    assert node.ask() is None
    world.tick(300)
    world.tick(300)
    first, second = said(world)
    run = world.run()
    assert first.size > run.entry
    assert run.noise is not None
    assert second.size > run.noise.entry > run.entry
    opening = sha256_digest(encode(run.opened))
    assert run.noise.seed == drawn_noise(second.root, opening)
    granted = node.prove()
    assert isinstance(granted.spec, RolloutSpec)
    assert granted.spec.noise == run.noise.seed
    world.tick(300)
    assert len(said(world)) == 2


def test_the_operator_s_own_seed_is_not_what_is_sampled_by(world: World) -> None:
    world.open_run(noise="drawn")
    world.learner().work()
    world.tick(300)
    world.tick(300)
    spec = world.provider("node").prove().spec
    assert isinstance(spec, RolloutSpec)
    assert spec.noise is not None
    pace = world.run().opened.pace
    assert isinstance(pace, RlPace)
    prompts = pack_prompts(
        [(1, 2)] * pace.groups_per_update, batch=spec.groups[0] // pace.groups_per_update
    )
    asked = requests_of(spec, pace, lambda blob: prompts)
    assert (
        asked[0].seed
        == group_seed(spec.noise, spec.groups[0])
        != group_seed(pace.seed, spec.groups[0])
    )
    plain = requests_of(spec.model_copy(update={"noise": None}), pace, lambda blob: prompts)
    assert plain[0].seed == group_seed(pace.seed, spec.groups[0])


def test_a_run_by_its_recipe_s_seed_is_never_seeded(world: World) -> None:
    world.started()
    world.tick(600)
    assert not said(world)
    spec = world.provider("node").prove().spec
    assert "noise" not in spec.model_dump(mode="json")


def _drawn(world: World, **changes: object) -> RunSeeded:
    due = seeding.seed_due(world.state, world.state.size, b"\x01" * 32)
    assert due is not None
    return due.model_copy(update=changes)


def test_who_else_draws_or_draws_too_early_or_twice_or_by_another_root_is_contradicted(
    world: World,
) -> None:
    world.open_run(noise="drawn")
    run = world.run()
    due = _drawn(world)
    for wrong, message in (
        (_drawn(world, author=world.operator.did), "expected the lab"),
        (_drawn(world, size=run.entry), "expected more than"),
        (_drawn(world, size=world.state.size + 1), "expected more than"),
    ):
        with pytest.raises(Contradiction, match=message):
            apply(world.state, wrong, 5)
    once = apply(world.state, due, 5)
    with pytest.raises(Contradiction, match="expected more than"):
        apply(once, due, 5)
    twice = apply(once, due.model_copy(update={"size": once.size}), 6)
    with pytest.raises(Contradiction, match="drawn before"):
        apply(twice, due.model_copy(update={"size": twice.size}), 7)
    with pytest.raises(refusals.NotAllowed, match="only the lab itself"):
        world.speak(world.operator, RunSeeded, run="run", size=1, root=due.root)


def test_a_ledger_whose_noise_was_drawn_by_another_root_does_not_fold(world: World) -> None:
    world.open_run(noise="drawn")
    forged = _drawn(world, seq=next_seq(world.lab.ahead))
    world.await_(world.lab.say(forged))
    with pytest.raises(Contradiction, match="the noise of run was drawn by"):
        replayed(world.state.lab, pages(world.lab.log))
    world.check_replay = lambda: None  # type: ignore[method-assign]  # that is what was shown


def test_a_grant_by_another_noise_cannot_follow(world: World) -> None:
    world.open_run(noise="drawn")
    world.learner().work()
    world.tick(300)
    world.tick(300)
    granted = world.provider("node").ask()
    assert granted is not None
    before = world.state
    run = before.runs["run"]
    assert isinstance(granted.spec, RolloutSpec)
    other = granted.model_copy(
        update={
            "work": f"run.{run.next_work}",
            "spec": granted.spec.model_copy(update={"noise": 7}),
        }
    )
    assert isinstance(other, LeaseGranted)
    with pytest.raises(Contradiction, match="by noise 7"):
        apply(before, other, 9)
