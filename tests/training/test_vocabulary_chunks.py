"""Scoring in chunks: the same numbers and gradients, and no matrix of tokens x vocabulary."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from archipel.training import vocabulary
from archipel.training.vocabulary import Predicted, divergence, score_tokens

torch.set_num_threads(1)
N, V, D = 50, 1000, 24


def inputs(dtype=torch.float32):
    chance = torch.Generator().manual_seed(1)
    hidden = torch.randn(N, D, generator=chance, dtype=torch.float64).to(dtype)
    weight = torch.randn(V, D, generator=chance, dtype=torch.float64).to(dtype)
    targets = torch.randint(0, V, (N,), generator=chance)
    upstream = torch.randn(N, generator=chance, dtype=torch.float64).to(dtype)
    return hidden.requires_grad_(), weight.requires_grad_(), targets, upstream


def scored(temperature, dtype=torch.float32):
    hidden, weight, targets, upstream = inputs(dtype)
    logprobs, entropy = score_tokens(hidden, weight, targets, temperature)
    (logprobs * upstream).sum().backward()
    return logprobs.detach(), entropy, hidden.grad, weight.grad


def reference(temperature):
    hidden, weight, targets, upstream = inputs(torch.float64)
    logprobs = (hidden @ weight.t() / temperature).log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    found = logprobs.gather(1, targets.unsqueeze(1)).squeeze(1)
    (found * upstream).sum().backward()
    return found.detach(), entropy.detach(), hidden.grad, weight.grad


@pytest.mark.parametrize("temperature", [1.0, 0.333333])
@pytest.mark.parametrize("most", [1, 7 * V, 49 * V, 50 * V])
def test_chunks_of_any_size_give_the_numbers_and_gradients_of_the_whole(
    monkeypatch, most, temperature
):
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", most)
    for one, other in zip(scored(temperature), reference(temperature), strict=True):
        # fp32 against fp64; the whole at once is no nearer
        scale = other.abs().max()
        assert float((one - other).abs().max()) < 5e-6 * float(scale)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("most", [7 * V, 50 * V])
def test_entropy_that_is_learned_from_has_its_gradient_in_chunks_and_at_once(
    monkeypatch, most, temperature
):
    def both(dtype, score):
        hidden, weight, targets, upstream = inputs(dtype)
        logprobs, entropy = score(hidden, weight, targets)
        (logprobs * upstream + 0.3 * entropy * upstream.flip(0)).sum().backward()
        return hidden.grad, weight.grad

    def textbook(hidden, weight, targets):
        logprobs = (hidden @ weight.t() / temperature).log_softmax(-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        return logprobs.gather(1, targets.unsqueeze(1)).squeeze(1), entropy

    monkeypatch.setattr(vocabulary, "MAX_LOGITS", most)
    found = both(
        torch.float32,
        lambda *given: score_tokens(*given, temperature, learns_entropy=True),
    )
    for one, other in zip(found, both(torch.float64, textbook), strict=True):
        assert float((one - other).abs().max()) < 5e-6 * float(other.abs().max())


def test_chunks_are_deterministic(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", 7 * V)
    assert all(torch.equal(one, other) for one, other in zip(scored(0.7), scored(0.7), strict=True))


class Largest(TorchDispatchMode):
    """Remembers the size of the largest matrix that any operation gave."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numel = max([self.numel, *sizes])
        return result


def test_memory_is_bounded_by_a_chunk_and_not_by_the_batch(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", 26 * V)
    with Largest() as largest:
        scored(0.7)
    assert largest.numel == 26 * V, "the head itself has 24"
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", N * V)
    with Largest() as largest:
        scored(0.7)
    assert largest.numel == N * V


def test_a_head_that_is_not_trained_gets_no_gradient(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", 7 * V)
    hidden, weight, targets, upstream = inputs()
    logprobs, _ = score_tokens(hidden, weight.detach(), targets, 1.0)
    (logprobs * upstream).sum().backward()
    assert torch.equal(hidden.grad, scored(1.0)[2])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("most", [1, 7 * V, 50 * V])
def test_the_divergence_over_the_whole_vocabulary_has_its_gradient_in_chunks_of_any_size(
    monkeypatch, most, temperature
):
    """And none flows into the other side; logits that are there already give the same."""
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", most)
    chance = torch.Generator().manual_seed(2)
    others, head = torch.randn(N, 7, generator=chance), torch.randn(V, 7, generator=chance)
    hidden, weight, targets, upstream = inputs()
    others.requires_grad_()
    ours = Predicted(hidden, weight, temperature)
    found = divergence(ours, Predicted(others, head, temperature), targets)
    (found * upstream).sum().backward()
    assert others.grad is None
    grown, found = (hidden.grad, weight.grad), found.detach()

    hidden, weight, _, upstream = inputs(torch.float64)
    log_p = (hidden @ weight.t() / temperature).log_softmax(-1)
    log_q = (others.detach().double() @ head.double().t() / temperature).log_softmax(-1)
    expected = (log_p.exp() * (log_p - log_q)).sum(-1)
    (expected * upstream).sum().backward()
    expected = expected.detach()
    assert float((found - expected).abs().max()) < 5e-6 * float(expected.max())
    for one, other in zip(grown, (hidden.grad, weight.grad), strict=True):
        assert float((one - other).abs().max()) < 5e-5 * float(other.abs().max())

    plain = [
        Predicted((each @ top.t()).detach(), None, temperature)
        for each, top in ((ours.hidden_Nd, ours.weight_Vd), (others, head))
    ]
    plain[0].hidden_Nd.requires_grad_()
    by_logits = divergence(*plain, targets)
    (by_logits * upstream.float()).sum().backward()
    torch.testing.assert_close(by_logits.detach(), found, rtol=1e-4, atol=1e-5)
    through = plain[0].hidden_Nd.grad @ inputs()[1].detach()
    assert float((through - grown[0]).abs().max()) < 5e-5 * float(through.abs().max())
