"""A run of episodes: its work goes to those who said that they play them, and what they send is checked and paid."""

import pytest

from archipel.lab import refusals
from archipel.lab.company import crowds
from archipel.lab.decide import may_take, opportunities
from archipel.lab.state import ability
from archipel.lab.views import node_view, run_view, waits
from archipel.records.episodes import PLAYED, EpisodeTerms
from archipel.records.exact import CONTRACTS
from archipel.records.kinds.update import PromptBatch
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import Rollout, pack_rollouts
from people import EOS
from world import PACE, World, finish

DRAWERS, W7A8 = PLAYED["drawers"], CONTRACTS["w7a8"]
TERMS = EpisodeTerms(
    environment=DRAWERS, parameters={}, turns=2, tools="auto", chat_template="auto"
)


def test_only_who_plays_its_environment_is_given_a_runs_work(world: World) -> None:
    learner = world.started(episodes=TERMS)
    unable = world.provider("unable", exact=(W7A8,))
    assert unable.ask() is None
    (wait,) = [each for each in waits(world.state, world.now_ms) if each.owner == "nobody"]
    assert f"did not state that it can do {DRAWERS}" in wait.advice
    assert "with this version of archipel" in wait.advice
    able = world.provider("able", plays=(DRAWERS, "nobody_knows-3"))
    (rollouts,) = [each for each in opportunities(world.state) if each.rules.name == "rollout"]
    took = {did: may_take(node, ("rollout",), rollouts) for did, node in world.state.nodes.items()}
    assert (took[unable.did], took[able.did]) == (False, True)
    granted = able.ask()
    assert granted is not None
    able.answer(granted)
    finish(world, learner, [able])
    assert world.state.nodes[unable.did].works == 0
    assert node_view(world.state, world.state.nodes[able.did], 0).plays == (DRAWERS,)
    assert run_view(world.state, world.run(), world.now_ms).plays == DRAWERS


def test_a_run_that_is_exact_too_asks_for_both(world: World) -> None:
    world.started(episodes=TERMS, exact=W7A8)
    for name, plays, exact in (("one", (DRAWERS,), ()), ("other", (), (W7A8,))):
        assert world.provider(name, plays=plays, exact=exact).ask() is None
    both = world.provider("both", plays=(DRAWERS,), exact=(W7A8,))
    assert crowds(world.state, world.now_ms)[ability("rollout", f"{W7A8} {DRAWERS}")].count == 1
    assert both.ask() is not None


def test_only_what_the_model_sampled_is_counted_and_only_possible_turns_are_taken(
    world: World,
) -> None:
    world.started(episodes=TERMS)
    node = world.provider("node", plays=(DRAWERS,))
    granted = node.ask()
    assert granted is not None
    policy = granted.spec.policy  # type: ignore[attr-defined]  # a rollout's

    def sent(one: Rollout) -> dict:
        groups = [[one] * 2 for _ in granted.spec.groups]  # type: ignore[attr-defined]
        return {"result": node.put(pack_rollouts(groups, work=granted.work, policy=policy))}

    good = Rollout((5, EOS, 6, 7, EOS), (-1.0, -1.0, 0.0, -1.0, -1.0), True, bytes((1, 1, 0, 1, 1)))
    uneven = Rollout(good.tokens, good.logprobs, True, bytes((1, 1, 0, 1, 0)))
    num = 2 * len(granted.spec.groups)  # type: ignore[attr-defined]
    with pytest.raises(refusals.BadResult, match="begin and end"):
        node.answer(granted, **sent(uneven), num_tokens=4 * num)
    with pytest.raises(refusals.WrongShape, match="num_tokens"):
        node.answer(granted, **sent(good), num_tokens=5 * num)
    node.answer(granted, **sent(good), num_tokens=4 * num)


def test_prompts_say_their_tasks_where_these_are_chosen_and_nowhere_else(world: World) -> None:
    world.open_run(episodes=TERMS.model_copy(update={"chooses": True}))
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    rows = [(1, 3)] * PACE["groups_per_update"]
    for tasks, why in ((None, "no tasks"), (range(len(rows) - 1), "tasks of")):
        batches = tuple(
            PromptBatch(batch=number, blob=world.put(pack_prompts(rows, batch=number, tasks=tasks)))
            for number in range(PACE["max_staleness"] + 1)
        )
        with pytest.raises(refusals.Refused, match=why):
            learner.answer(granted, prompts=batches)
    learner.answer(granted)
    assert world.run().version == 0


@pytest.mark.parametrize("retells", [True, None])
def test_a_context_told_anew_is_taken_of_runs_that_retell_alone(
    world: World, retells: bool | None
) -> None:
    world.started(episodes=TERMS.model_copy(update={"retells": retells}))
    node = world.provider("node", plays=(DRAWERS,))
    granted = node.ask()
    assert granted is not None
    mask = bytes((1, 2, 2, 1, 1))
    one = Rollout((EOS, 7, 8, 6, EOS), (-0.5, 0.0, 0.0, -0.5, -0.5), True, mask)
    groups = [[one] * 2 for _ in granted.spec.groups]  # type: ignore[attr-defined]
    policy = granted.spec.policy  # type: ignore[attr-defined]
    data = node.put(pack_rollouts(groups, work=granted.work, policy=policy))
    told = {"result": data, "num_tokens": 6 * len(groups)}
    if retells:
        node.answer(granted, **told)
        return
    with pytest.raises(refusals.Refused, match="0 to 1"):
        node.answer(granted, **told)
