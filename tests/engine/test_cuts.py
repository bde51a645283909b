"""Sampling from a part of the vocabulary: what is left is what the field means, renormalised, whatever the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.engine import LocalEngine
from archipel.engine.exact.sampling import sample as sample_exactly
from archipel.engine.sampler import Draw, sample
from archipel.model.cuts import CutRows
from archipel.model.network import causal_attention
from archipel.records.cuts import Cut
from archipel.records.requests import InvalidRequest, Request
from training.tiny_learner import rounded_copy, tiny_config, tiny_model

torch.set_num_threads(1)
CPU = torch.device("cpu")
cuts = st.builds(
    Cut,
    top_k=st.sampled_from([0, 1, 2, 7, 40, 1000]),
    top_p=st.sampled_from([1e-6, 0.3, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.3, 0.999]),
)


def oracle(logits, cut):
    """Which tokens are left, by NumPy in float64, one bound after the other."""
    p = np.exp(logits.astype(np.float64) - logits.max())
    p /= p.sum()
    left = np.ones(len(p), dtype=bool)
    order = np.argsort(-logits, kind="stable")
    if cut.top_k:
        left &= logits >= logits[order[min(cut.top_k, len(p)) - 1]]
    if cut.top_p < 1:
        before = np.concatenate(([0.0], np.cumsum(p[order])[:-1]))
        left &= logits >= logits[order[np.flatnonzero(before < cut.top_p)[-1]]]
    if cut.min_p:
        left &= logits >= logits.max() + np.log(cut.min_p)
    return left


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cut=cuts, spread=st.sampled_from([0.1, 1.0, 5.0]))
def test_what_is_left_equals_the_numpy_oracle(seed, cut, spread):
    logits = np.random.default_rng(seed).normal(0, spread, 50).astype(np.float32)
    found = CutRows.alike(cut, CPU).keeps(torch.from_numpy(logits)[None])[0].numpy()
    assert (found == oracle(logits, cut)).all()
    assert found[logits.argmax()]


def test_tokens_that_tie_at_the_bound_are_all_left():
    logits = torch.tensor([[1.0, 1.0, 3.0, 1.0, 0.5]])
    assert CutRows.alike(Cut(top_k=2), CPU).keeps(logits).tolist() == [
        [True, True, True, True, False]
    ]


def request(key="a", **changed) -> Request:
    plain = Request(
        key=key, prompt=(3, 4, 5), seed=7, num_rollouts=8, max_new_tokens=12, stop_tokens=(1,)
    )
    return replace(plain, **changed)


@pytest.fixture(scope="module")
def engine():
    made = LocalEngine(tiny_config())
    made.load(
        {n: p.detach().to(torch.bfloat16) for n, p in tiny_model(3, scale=12.0).named_parameters()}
    )
    return made


CUTS = [Cut(top_k=3), Cut(min_p=0.2), Cut(top_p=0.5), Cut(top_k=4, top_p=0.8, min_p=0.05)]


@pytest.mark.parametrize("cut", CUTS)
def test_recorded_log_probabilities_are_those_of_what_was_left(engine, cut):
    """Recomputed without the engine, token by token."""
    policy = rounded_copy(tiny_model(3, scale=12.0))
    (rollouts,) = engine.generate([request(cut=cut, temperature=0.7)])
    for rollout in rollouts:
        for place, (token, logprob) in enumerate(
            zip(rollout.tokens, rollout.logprobs, strict=True)
        ):
            logits = next_logits(policy, (3, 4, 5, *rollout.tokens[:place])) / 0.7
            left = oracle(logits, cut)
            assert left[token]
            chance = np.exp(logits - logits.max()) * left
            assert logprob == pytest.approx(np.log(chance[token] / chance.sum()), abs=1e-4)


def next_logits(policy, tokens):
    ids = torch.tensor([tokens])
    positions = torch.arange(len(tokens)).unsqueeze(0)
    with torch.no_grad():
        hidden = policy(ids, positions, causal_attention)
        return policy.logits(hidden)[0, -1].double().numpy()


def test_a_cut_of_one_request_changes_no_other_and_the_batch_no_cut(engine):
    requests = [request(f"{n}", seed=n, cut=cut) for n, cut in enumerate((None, *CUTS, None))]
    alone = [engine.generate([each])[0] for each in requests]
    assert engine.generate(requests) == alone
    assert engine.generate(requests[::-1]) == alone[::-1]
    whole = [engine.generate([replace(each, cut=None)])[0] for each in requests]
    assert alone[0] == whole[0]
    assert any(one != other for one, other in zip(alone[1:-1], whole[1:-1], strict=True))


def test_a_cut_that_cuts_nothing_changes_nothing(engine):
    one, other = (engine.generate([request(cut=cut)])[0] for cut in (None, Cut(top_k=10_000)))
    assert [each.tokens for each in one] == [each.tokens for each in other]


def test_the_draw_is_uniform_over_what_is_left():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]])).expand(4000, 4)
    uniform = (torch.arange(4000).double().unsqueeze(1) + 0.5) / 4000
    draw = Draw(uniform, None, None, CutRows.alike(Cut(top_k=2), CPU))
    tokens, logprobs = sample(logits, draw)
    shares = torch.bincount(tokens, minlength=4) / 4000
    assert shares.tolist() == pytest.approx([4 / 7, 3 / 7, 0, 0], abs=1e-3)
    assert logprobs.exp().unique().tolist() == pytest.approx([3 / 7, 4 / 7])


def test_the_exact_contract_refuses_a_cut():
    draw = Draw(torch.full((1, 1), 0.5).double(), None, None, CutRows.alike(Cut(top_k=2), CPU))
    with pytest.raises(InvalidRequest, match="the exact contract samples from all of it"):
        sample_exactly(torch.zeros(1, 4), draw)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cut": Cut(top_k=-1)}, "top_k is -1"),
        ({"cut": Cut(top_p=0.0)}, "top_p is 0.0"),
        ({"cut": Cut(min_p=1.0)}, "min_p is 1.0"),
        ({"cut": Cut(min_p=float("nan"))}, "min_p is nan"),
        ({"cut": Cut(top_k=2), "temperature": 0.0}, "temperature is 0 and there is a cut"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused(changed, said):
    with pytest.raises(InvalidRequest, match=said):
        request(**changed)
