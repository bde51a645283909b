"""A run that samples from a part of the vocabulary is scored in that part, or refused."""

import pytest
import torch

from archipel.cli.run_engine import stated
from archipel.engine.engine import LocalEngine
from archipel.model.cuts import Left
from archipel.records.cuts import Cut
from archipel.records.programmes.rl import WORDS
from archipel.records.recipe import recipe_from_canonical
from archipel.records.requests import Request
from archipel.records.terms import Vocabulary
from archipel.training import vocabulary
from archipel.training.batch import Group
from archipel.training.trainer import Trainer
from archipel.training.vocabulary import score_tokens
from training.tiny_learner import tiny_model, tiny_recipe

torch.set_num_threads(1)
ON_POLICY = {"run": {"max_staleness": 0}}
CUTS = [{"top_k": 3}, {"min_p": 0.2}, {"top_p": 0.5}]


def sampled(trainer, sampling):
    """Groups of this policy, sampled by the engine as the recipe says."""
    engine = LocalEngine(trainer._config)
    engine.load(trainer.published_state())
    requests = [
        Request(
            key=f"{n}", prompt=(3 + n, 4), seed=n, num_rollouts=4, max_new_tokens=8,
            temperature=sampling.temperature, stop_tokens=(1,), cut=sampling.cut,
        )
        for n in range(4)
    ]  # fmt: skip
    return [
        Group(n, request.prompt, tuple(rollouts), (0.0, 1.0, 0.5, 0.0), trainer.version)
        for n, (request, rollouts) in enumerate(
            zip(requests, engine.generate(requests), strict=True)
        )
    ]


@pytest.mark.parametrize("cut", CUTS)
def test_on_policy_the_learner_scores_as_the_engine_sampled(cut):
    recipe = tiny_recipe(**ON_POLICY, sampling={**cut, "temperature": 0.8, "max_new_tokens": 8})
    trainer = Trainer(tiny_model(3, scale=12.0), recipe)
    groups = sampled(trainer, recipe.sampling)
    report = trainer.update(groups)
    assert report.ratio_max == pytest.approx(1.0, abs=1e-3)
    assert report.mismatch_kl < 1e-6
    whole = tiny_recipe(**ON_POLICY, sampling={"temperature": 0.8, "max_new_tokens": 8})
    blind = Trainer(tiny_model(3, scale=12.0), whole).update(groups)
    assert blind.mismatch_kl > 0.01, "what it would be without the cut"


@pytest.mark.parametrize("most", [7 * 40, 2**24])
def test_scores_and_gradients_are_those_of_what_is_left_in_chunks_and_at_once(monkeypatch, most):
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", most)
    chance = torch.Generator().manual_seed(2)
    hidden = torch.randn(30, 8, generator=chance).requires_grad_()
    weight = torch.randn(40, 8, generator=chance).requires_grad_()
    targets = (hidden @ weight.t()).argmax(-1)
    targets[::5] = 0  # left whatever the cut says
    logprobs, entropy = score_tokens(
        hidden, weight, targets, 0.7, learns_entropy=True, left=Left(Cut(top_k=5))
    )
    (logprobs.sum() + 0.5 * entropy.sum()).backward()
    found = (logprobs.detach(), entropy.detach(), hidden.grad.clone(), weight.grad.clone())
    hidden.grad = weight.grad = None
    logits = hidden.double() @ weight.double().t() / 0.7
    left = logits >= logits.topk(5).values[:, -1:]
    left.scatter_(1, targets.unsqueeze(1), value=True)
    chances = torch.where(left, logits, -torch.inf).softmax(-1)
    expected = torch.where(left, chances, 1.0).log()
    picked = expected.gather(1, targets.unsqueeze(1)).squeeze(1)
    spread = -(chances * expected).sum(-1)
    (picked.sum() + 0.5 * spread.sum()).backward()
    for one, other in zip(found, (picked, spread, hidden.grad, weight.grad), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-4)


def test_a_cut_travels_to_the_nodes_and_back_and_older_recipes_have_none():
    given = tiny_recipe(**ON_POLICY, sampling={"top_k": 20, "min_p": 0.05, "engine": "any"})
    assert recipe_from_canonical(given.canonical_bytes()) == given
    pace = WORDS.pace_of(given, Vocabulary(64, (2,)))
    assert type(pace).model_validate_json(pace.model_dump_json()).cut == Cut(20, 1.0, 0.05)
    plain = WORDS.pace_of(tiny_recipe(), Vocabulary(64, (2,)))
    assert plain.cut is None
    assert not {"top_k", "top_p_micro", "min_p_micro"} & plain.model_dump().keys()
    assert b"top_k" not in tiny_recipe().canonical_bytes()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"run": {"max_staleness": 1}}, r"sampling\.top_k: which tokens are left changes"),
        ({**ON_POLICY, "optimiser": {"minibatches": 2}}, "minibatches = 2 need the whole"),
        ({**ON_POLICY, "reference": {"coefficient": 0.1}}, "these leave other tokens"),
        (
            {**ON_POLICY, "sampling": {"engine": "exact", "variant": "w7a8"}},
            'engine = "exact" samples from the whole distribution; leave top_k out',
        ),
    ],
)
def test_a_cut_that_the_learner_cannot_score_is_refused(sections, said):
    sampling = {"top_k": 5} | sections.get("sampling", {})
    with pytest.raises(ValueError, match=said):
        tiny_recipe(**{**sections, "sampling": sampling})


def test_a_run_that_cuts_and_leaves_the_engine_open_is_opened_by_any(tmp_path):
    cut = tiny_recipe(**ON_POLICY, sampling={"top_k": 5})
    whole = tiny_recipe(**ON_POLICY)
    assert [each.sampling.engine for each in cut.openings] == ["any"]
    assert len(whole.openings) > 1
    opened, why = stated(cut, tmp_path, None, None, "http://127.0.0.1:1")
    assert (opened.sampling.engine, opened.sampling.variant) == ("any", None)
    assert why.why == "exact samples from the whole distribution, which top_k narrows"
