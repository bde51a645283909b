"""What comes of a tenant's operations is the same bits alone and in any company."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.training.tenants import tenants as passing
from archipel.training.tenants.operations import ForwardBackward, Operation, Outcome, Scored
from archipel.training.tenants.state import TenantState
from archipel.training.tenants.tenants import Tenants, TenantTurn
from training.tenants.asked import STEP, ask, form_of, moved, run, tenants

LOSSES = ("cross_entropy", "importance_sampling", "ppo", "gspo")


@dataclass(frozen=True)
class Guest:
    """One tenant, drawn."""

    seed: int
    rank: int
    targets: tuple[str, ...]
    lengths: tuple[int, ...]
    loss: str
    looks: bool
    """Whether it only looks."""

    def state(self, over: Tenants) -> TenantState:
        return moved(over, form_of(self.rank, self.targets), self.seed)

    def operations(self) -> tuple[Operation, ...]:
        first = ask(self.seed, self.lengths, self.loss)
        if self.looks:
            first = ForwardBackward(first.data, first.loss, forward_only=True)
        again = ask(self.seed + 1, self.lengths[:1], self.loss)
        return first, STEP, again, STEP


GUESTS = st.builds(
    Guest,
    seed=st.integers(0, 10**6),
    rank=st.sampled_from([1, 2, 3, 8, 17]),
    targets=st.sampled_from(
        [form_of().targets, ("q_proj", "v_proj"), ("gate_proj", "down_proj"), ("lm_head",)]
    ),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple),
    loss=st.sampled_from(LOSSES),
    looks=st.booleans(),
)


@pytest.fixture(scope="module")
def over() -> Tenants:
    """Sizes that no vector unit divides, so that every operator has ends of rows to round."""
    return tenants(hidden_size=28, intermediate_size=37, vocab_size=53, head_dim=7 * 2)


def bits(state: TenantState, outcomes: tuple[Outcome, ...]) -> list[bytes]:
    vectors = [state.masters, *(state.moments or ()), state.gradient]
    told = [
        part.tobytes()
        for each in outcomes
        for part in (each.logprobs if isinstance(each, Scored) else ())
    ]
    numbers = [repr(sorted(each.metrics.items())).encode() for each in outcomes]
    return [b"" if each is None else each.numpy().tobytes() for each in vectors] + told + numbers


def alone(over: Tenants, guest: Guest) -> list[bytes]:
    state = guest.state(over)
    return bits(state, run(over, state, *guest.operations()))


def together(over: Tenants, guests: list[Guest]) -> list[list[bytes]]:
    states = [guest.state(over) for guest in guests]
    turns = [
        TenantTurn(state, guest.operations()) for state, guest in zip(states, guests, strict=True)
    ]
    return [bits(state, outcomes) for state, outcomes in zip(states, over.run(turns), strict=True)]


def check(over: Tenants, guests: list[Guest]) -> None:
    apart = [alone(over, guest) for guest in guests]
    assert together(over, guests) == apart
    assert together(over, guests[::-1]) == apart[::-1]


@settings(max_examples=4, deadline=None)
@given(guests=st.lists(GUESTS, min_size=2, max_size=3))
def test_a_tenant_is_answered_the_same_bits_alone_and_in_any_company(over, guests) -> None:
    check(over, guests)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3])
@settings(max_examples=60, deadline=None)
@given(guests=st.lists(GUESTS, min_size=2, max_size=6))
def test_it_is_so_with_any_number_of_threads(over, threads, guests) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(over, guests)
    finally:
        torch.set_num_threads(before)


def test_it_is_so_where_operations_take_several_passes(over, monkeypatch) -> None:
    monkeypatch.setattr(passing, "PIECE_TOKENS", 20)
    monkeypatch.setattr(passing, "PASS_TOKENS", 50)
    guests = [
        Guest(seed, 3, form_of().targets, lengths, "cross_entropy", looks=False)
        for seed, lengths in enumerate([(12, 9, 30), (1, 1, 1, 18), (40,)])
    ]
    check(over, guests)
