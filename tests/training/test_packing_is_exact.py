"""Packing changes the cost, never the result."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.packing import Branch, Tree, build, count_valid, muted, plan, trees_of
from archipel.training.scorer import Scorer
from archipel.training.sharding import Site
from training.tiny_learner import VOCAB, alone_logprobs, tiny_groups, tiny_model

torch.set_num_threads(1)


def random_trees(seed, num_prompts=7, shared=3):
    rng = random.Random(seed)
    trees = []
    for _ in range(num_prompts):
        prompt = tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(1, 9)))
        branches = []
        for _ in range(rng.randrange(1, shared + 1)):
            tokens = tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(1, 9)))
            logprobs = tuple(-rng.random() for _ in tokens)
            branches.append(Branch(tokens, logprobs, rng.gauss(0, 1)))
        trees.append(Tree(prompt, tuple(branches)))
    return trees


def expected_of(model, row, temperature):
    parts = [
        alone_logprobs(model, tree.prompt, branch.tokens, temperature)
        for tree in row
        for branch in tree.branches
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("shared", [1, 4])
@pytest.mark.parametrize("budget", [1, 40, 100_000])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_logprobs_and_gradients_equal_sequences_run_alone(shared, budget, temperature):
    model = tiny_model(1)
    scorer = Scorer(model, temperature, Site())
    for rows in plan(random_trees(shared, shared=shared), budget):
        packed, _ = scorer(build(rows))
        alone = torch.cat([expected_of(model, row, temperature) for row in rows])
        torch.testing.assert_close(packed, alone, rtol=1e-5, atol=2e-6)
        weights = torch.randn(len(packed), generator=torch.Generator().manual_seed(0))
        parameters = list(model.parameters())
        got = torch.autograd.grad((packed * weights).sum(), parameters)
        wanted = torch.autograd.grad((alone * weights).sum(), parameters)
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), budget=st.integers(1, 200))
def test_a_plan_places_every_tree_once_within_its_budget(seed, budget):
    trees = random_trees(seed, num_prompts=20)
    micro_batches = plan(trees, budget)
    placed = [tree for rows in micro_batches for row in rows for tree in row]
    assert sorted(map(repr, placed)) == sorted(map(repr, trees))
    width = max(tree.num_inputs for tree in trees)
    for rows in micro_batches:
        lengths = [sum(tree.num_inputs for tree in row) for row in rows]
        assert max(lengths) <= width
        assert len(rows) == 1 or len(rows) * max(lengths) <= budget


def test_rollouts_share_their_prompt_only_while_the_row_is_short():
    rollouts = tuple(Rollout((2,) * 11, (-1.0,) * 11, False) for _ in range(8))
    group = Group(0, (1,) * 10, rollouts, (0.0,) * 8, 0)
    advantages = (1.0,) * 8
    assert [tree.num_inputs for tree in trees_of(group, advantages, 90)] == [90]
    assert [tree.num_inputs for tree in trees_of(group, advantages, 40)] == [40, 40, 30]
    assert [tree.num_inputs for tree in trees_of(group, advantages, 20)] == [20] * 8


def test_tokens_without_a_usable_behaviour_logprob_carry_no_weight():
    logprobs = (-1.0, float("nan"), float("-inf"), float("inf"), 0.5, 0.0)
    tree = Tree((1,), (Branch((2,) * 6, logprobs, 1.0),))
    batch = build([(tree,)])
    assert batch.mask_N.tolist() == [True, False, False, False, False, True]
    assert count_valid([tree]) == 2
    assert torch.isfinite(batch.behaviour_logprobs_N).all()
    assert batch.weights_N.tolist() == [1, 0, 0, 0, 0, 1]


def test_a_muted_batch_gives_no_gradient():
    model = tiny_model(2)
    group = tiny_groups(model, 0, num_groups=1)[0]
    rows = plan(trees_of(group, (1.0,) * 4, 64), 1000)[0]
    batch = muted(build(rows))
    logprobs, _ = Scorer(model, 1.0, Site())(batch)
    (logprobs * batch.weights_N).sum().backward()
    assert all(not parameter.grad.any() for parameter in model.parameters())
