"""A small resident model, and what tenants ask of it, for the tests of this room."""

from collections.abc import Sequence

import numpy as np
import torch

from archipel.records.adapter import ALL_TARGETS, MICRO, AdapterForm, Target
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    LossName,
    Operation,
    OptimStep,
    Outcome,
    Scored,
)
from archipel.training.tenants.state import TenantState
from archipel.training.tenants.tenants import Tenants, TenantTurn
from training.tiny_learner import VOCAB, tiny_model

STEP = OptimStep(learning_rate=1e-2)


def tenants(**changes) -> Tenants:
    return Tenants(tiny_model(seed=3, **changes))


def form_of(rank: int = 4, targets: Sequence[Target] = ALL_TARGETS) -> AdapterForm:
    return AdapterForm(
        rank=rank, alpha_micro=32 * MICRO, targets=tuple(targets), rank_stabilised=False
    )


def datum(seed: int, length: int, *, sampled: bool = False, vocab: int = VOCAB) -> Datum:
    """Random tokens; sampled: with what losses of sampled tokens need, else with weights."""
    drawn = np.random.default_rng((seed, length))
    tokens, targets = drawn.integers(0, vocab, (2, length))
    inputs = {"target_tokens": targets.astype(np.int64)}
    if sampled:
        inputs["logprobs"] = drawn.normal(-3.0, 0.7, length).astype(np.float32)
        inputs["advantages"] = drawn.normal(0, 1, length).astype(np.float32)
    else:
        inputs["weights"] = drawn.uniform(0, 1, length).astype(np.float32)
    return Datum(tokens.astype(np.int32), inputs)


def ask(
    seed: int, lengths: Sequence[int], loss: LossName = "cross_entropy", **config: float
) -> ForwardBackward:
    sampled = loss != "cross_entropy"
    data = tuple(datum(seed + n, length, sampled=sampled) for n, length in enumerate(lengths))
    return ForwardBackward(data, loss, config)


def moved(over: Tenants, form: AdapterForm, seed: int) -> TenantState:
    """An adapter whose products change something."""
    state = over.create(form, seed)
    drawn = np.random.default_rng(seed)
    noise = drawn.normal(0, 0.05, state.layout.size).astype(np.float32)
    state.masters.add_(torch.from_numpy(noise))
    return state


def run(over: Tenants, state: TenantState, *operations: Operation) -> tuple[Outcome, ...]:
    """Without company."""
    return over.run([TenantTurn(state, operations)])[0]


def scored(outcome: Outcome) -> Scored:
    assert isinstance(outcome, Scored), outcome
    return outcome
