"""Runs that end at stop strings and allow some characters alone: what is learned from, graded, and refused."""

import pytest
import torch

from archipel.cli.run_engine import stated
from archipel.engine.engine import LocalEngine
from archipel.model.cuts import Left
from archipel.model.tokenizer import character_tokenizer
from archipel.records.programmes.rl import WORDS
from archipel.records.recipe import parse_recipe, recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.requests import Allowed, Request
from archipel.records.rollouts import Rollout, WrongShape, bounds_of, check_rollouts, pack_rollouts
from archipel.records.terms import Vocabulary
from archipel.training import vocabulary
from archipel.training.batch import BadGroup, Group
from archipel.training.groups import submissions
from archipel.training.trainer import Trainer
from archipel.training.vocabulary import score_tokens
from archipel.training.wording import NoPieces, wording_of, wording_of_recipe
from training.tiny_learner import tiny_model, tiny_recipe

torch.set_num_threads(1)
TOKENIZER = character_tokenizer()
EOS = TOKENIZER.eos_id
SOME = Allowed(frozenset(range(2, 11)))


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


def rollout(text: str, finished: bool, end: tuple[int, ...] = ()) -> Rollout:
    tokens = (*ids(text), *end)
    return Rollout(tokens, (-1.0,) * len(tokens), finished)


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (rollout("12#=", True), ""),
        (rollout("12", True, (EOS,)), ""),
        (rollout("12", False), ""),
        (rollout("12#=3", True), "more after a stop string"),
        (rollout("12#=3", False), "more after a stop string"),
        (rollout("12#", True), "an end without a reason"),
        (rollout("12#=", False), "no end at a stop string"),
        (rollout("1a#=", True), "a token that is not allowed"),
    ],
)
def test_a_rollout_ends_where_its_text_does_and_says_what_is_allowed(told, fault):
    wording = wording_of(("#=", "\n"), "0123456789#=", TOKENIZER)
    assert wording.fault(told) == fault


def test_what_is_graded_is_the_text_before_the_stop_string_and_learned_from_are_all_tokens():
    wording = wording_of(("#=", "12"), "", TOKENIZER)
    given = [rollout("a3#=", True), rollout("a3#", False), rollout("bb", True, (EOS,))]
    shown = submissions(4, given, TOKENIZER, wording=wording)
    assert [each.completion for each in shown] == ["a3", "a3#", "bb"]
    assert [each.finished for each in shown] == [True, False, True]


def test_allowed_characters_are_tokens_that_write_nothing_else_and_the_end():
    wording = wording_of((), "0123456789", TOKENIZER)
    assert wording.allowed.tokens == {*ids("0123456789"), EOS}
    with pytest.raises(NoPieces, match="no token of its own"):
        wording_of((), "01é", TOKENIZER)


def sampled(trainer, allowed):
    engine = LocalEngine(trainer._config)
    engine.load(trainer.published_state())
    requests = [
        Request(
            key=f"{n}", prompt=(3 + n, 4), seed=n, num_rollouts=4, max_new_tokens=8,
            temperature=0.8, allowed=allowed,
        )
        for n in range(4)
    ]  # fmt: skip
    rollouts = engine.generate(requests)
    return [
        Group(n, request.prompt, tuple(each), (0.0, 1.0, 0.5, 0.0), trainer.version)
        for n, (request, each) in enumerate(zip(requests, rollouts, strict=True))
    ]


def test_the_learner_scores_as_the_engine_sampled_stale_samples_and_references_too():
    """Other than a cut, what is allowed is the same for every weights: no staleness is refused."""
    sampling = {"temperature": 0.8, "max_new_tokens": 8, "allowed": "ab"}
    recipe = tiny_recipe(sampling=sampling, reference={"coefficient": 0.1})
    trainer = Trainer(tiny_model(3, scale=12.0), recipe)
    with pytest.raises(BadGroup, match="allow"):
        trainer.update(sampled(trainer, SOME))
    trainer.allow(SOME)
    groups = sampled(trainer, SOME)
    report = trainer.update(groups)
    assert report.ratio_max == pytest.approx(1.0, abs=1e-3)
    assert report.mismatch_kl < 1e-6
    assert report.reference_kl == pytest.approx(0.0, abs=1e-6)
    late = trainer.update([Group(9, *_parts(groups[0]))])
    assert (late.staleness_max, late.ratio_max < 20.0, late.invalid_tokens) == (1, True, 0)
    whole = tiny_recipe(sampling={"temperature": 0.8, "max_new_tokens": 8})
    blind = Trainer(tiny_model(3, scale=12.0), whole).update(groups)
    assert blind.mismatch_kl > 0.01, "what it would be over the whole vocabulary"


def _parts(group: Group) -> tuple:
    return group.prompt, group.rollouts, group.rewards, group.policy_version


@pytest.mark.parametrize("most", [7 * 40, 2**24])
def test_scores_and_gradients_are_those_of_what_is_allowed_in_chunks_and_at_once(monkeypatch, most):
    monkeypatch.setattr(vocabulary, "MAX_LOGITS", most)
    chance = torch.Generator().manual_seed(2)
    hidden = torch.randn(30, 8, generator=chance).requires_grad_()
    weight = torch.randn(40, 8, generator=chance).requires_grad_()
    kept = sorted(SOME.tokens)
    targets = torch.tensor(kept)[torch.arange(30) % len(kept)]
    logprobs, entropy = score_tokens(
        hidden, weight, targets, 0.7, learns_entropy=True, left=Left(allowed=SOME)
    )
    (logprobs.sum() + 0.5 * entropy.sum()).backward()
    found = (logprobs.detach(), entropy.detach(), hidden.grad.clone(), weight.grad.clone())
    hidden.grad = weight.grad = None
    expected = torch.log_softmax(hidden.double() @ weight.double()[kept].t() / 0.7, -1)
    picked = expected.gather(1, (torch.arange(30) % len(kept)).unsqueeze(1)).squeeze(1)
    spread = -(expected.exp() * expected).sum(-1)
    (picked.sum() + 0.5 * spread.sum()).backward()
    for one, other in zip(found, (picked, spread, hidden.grad, weight.grad), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-4)


def test_both_reach_nodes_by_the_pace_and_older_recipes_keep_their_digests():
    recipe = tiny_recipe(sampling={"stop": ["\n\n", "Q:"], "allowed": "0123456789\n"})
    pace = WORDS.pace_of(recipe, Vocabulary(64, (EOS,)))
    assert (pace.stop, pace.allowed) == (("\n\n", "Q:"), "0123456789\n")
    assert type(pace).model_validate_json(pace.model_dump_json()) == pace
    again = recipe_from_canonical(recipe.canonical_bytes())
    assert (again.sampling.stop, again.digest) == (recipe.sampling.stop, recipe.digest)
    plain = tiny_recipe()
    assert b'"stop"' not in plain.canonical_bytes()
    assert b'"allowed"' not in plain.canonical_bytes()
    told = WORDS.pace_of(plain, Vocabulary(64, (EOS,))).model_dump_json()
    assert '"stop"' not in told
    assert '"allowed"' not in told
    assert wording_of_recipe(plain, TOKENIZER) is None


def test_a_lab_takes_an_early_end_only_where_a_text_may_have_been_it():
    early = [[rollout("12", True), rollout("12", True, (EOS,))]]
    for stop, is_taken in ((["#"], True), ([], False)):
        recipe = tiny_recipe(run={"group_size": 2}, sampling={"stop": stop, "max_new_tokens": 9})
        pace = WORDS.pace_of(recipe, Vocabulary(64, (EOS,)))
        bounds = bounds_of(pace, work="tiny.1", policy="p", num_groups=1)
        data = pack_rollouts(early, work="tiny.1", policy="p")
        if is_taken:
            assert check_rollouts(data, bounds) == 5
        else:
            with pytest.raises(WrongShape):
                check_rollouts(data, bounds)
        short = pack_rollouts([[rollout("12", False)] * 2], work="tiny.1", policy="p")
        with pytest.raises(WrongShape, match="no stop token"):
            check_rollouts(short, bounds)


BASE = '[run]\nname = "tiny"\nversions = 1\n[environment]\nname = "{}"\n[sampling]\n{}\n'


@pytest.mark.parametrize(
    ("environment", "sampling", "said"),
    [
        ("secret_order", 'allowed = "01"\nengine = "exact"\nvariant = "w7a8"', "whole vocabulary"),
        ("secret_order", 'stop = [""]', "at least 1 character"),
        ("secret_order", f"stop = {['x'] * 17}", "at most 16"),
        ("drawers", 'stop = ["x"]\n[episode]', "the model's own stop tokens"),
    ],
)
def test_what_cannot_be_is_refused_by_name(environment, sampling, said):
    with pytest.raises(InvalidRecipe, match=said):
        parse_recipe(BASE.format(environment, sampling))


def test_stop_strings_do_not_keep_a_run_from_the_exact_contract_and_allowed_characters_do(tmp_path):
    exact = 'stop = ["x"]\nengine = "exact"\nvariant = "w7a8"'
    assert parse_recipe(BASE.format("secret_order", exact)).sampling.contract
    recipe = tiny_recipe(sampling={"allowed": "0123456789"})
    assert [each.sampling.engine for each in recipe.openings] == ["any"]
    opened, why = stated(recipe, tmp_path, None, None, "http://127.0.0.1:1")
    assert opened.sampling.engine == "any"
    assert why.why == "exact samples from the whole distribution, which allowed narrows"
