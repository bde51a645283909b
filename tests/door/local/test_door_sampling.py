"""Prompts of many tenants in one engine: the same bits in any company, by shares, and no tenant's broken weights harm another."""

import random
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.door.hands import CannotDo, SampleAsked, Sampled, Weights
from archipel.door.local.adapters import Bounds
from archipel.door.local.questions import question_of
from archipel.door.local.sampling import Room, Sampling
from archipel.model.adapter import Adapter, adapt, set_adapter
from archipel.model.network import causal_attention
from engine.engine_models import decoder_of, lively_state
from one_base import BOUNDS, CONFIG, FORM, asked, base_of, lively, written


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sampling_of(running: int = 16, bounds: Bounds = BOUNDS) -> Sampling:
    base = base_of(bounds=bounds)
    return Sampling(base.engine, base.adapters, Room(running))


def put(sampling: Sampling, what: SampleAsked) -> "Future[Sampled]":
    question = question_of(what, None)
    sampling.put(question)
    return question.future


def run(sampling: Sampling, most: int = 2000) -> None:
    for _ in range(most):
        if not sampling.has_work:
            return
        sampling.step()
    raise AssertionError("sampling does not come to an end")


def told(future: "Future[Sampled]") -> Sampled:
    assert future.done()
    return future.result()


def same(one: Sampled, other: Sampled) -> bool:
    plain = [
        (each.tokens, each.logprobs, each.ended_by, None if each.topk is None else (
            each.topk.tokens.tolist(), each.topk.logprobs.tolist()))
        for each in one.sequences
    ] == [
        (each.tokens, each.logprobs, each.ended_by, None if each.topk is None else (
            each.topk.tokens.tolist(), each.topk.logprobs.tolist()))
        for each in other.sequences
    ]  # fmt: skip
    if (one.prompt_logprobs is None) != (other.prompt_logprobs is None):
        return False
    scores = one.prompt_logprobs is None or other.prompt_logprobs is None or np.array_equal(
        one.prompt_logprobs, other.prompt_logprobs, equal_nan=True
    )  # fmt: skip
    return plain and bool(scores)


def test_a_question_has_the_same_bits_alone_and_in_whatever_company(tmp_path: Path) -> None:
    adapters = [None, *(written(tmp_path, f"m{n}", lively(n)) for n in range(3))]
    rng = random.Random(0)
    questions = [
        asked(
            f"t{n % 3}",
            adapters[n % 4],
            [rng.randrange(32) for _ in range(rng.choice((1, 5, 70)))],
            num_samples=rng.choice((1, 3)),
            temperature=rng.choice((1.0, 0.0, 0.6)),
            seed=n,
            top_k=rng.choice((-1, 4)),
            prompt_logprobs=n % 2 == 0,
            topk_sample_logprobs=rng.choice((0, 3)),
        )
        for n in range(10)
    ]
    alone = []
    for each in questions:
        sampling = sampling_of()
        future = put(sampling, each)
        run(sampling)
        alone.append(told(future))
    sampling, futures = sampling_of(running=7), {}
    for number in rng.sample(range(10), 10):
        futures[number] = put(sampling, questions[number])
        sampling.step()
    run(sampling)
    assert all(same(told(futures[number]), alone[number]) for number in range(10))


def test_what_is_told_is_what_the_trainers_network_gives(tmp_path: Path) -> None:
    adapter, prompt = lively(1), (3, 1, 4, 1, 5)
    sampling = sampling_of()
    pairs = ((1, 7), (4, 0), (1, 8))
    question = asked(
        weights=written(tmp_path, "mine", adapter), prompt=prompt, temperature=0.5, top_k=5,
        prompt_logprobs=True, topk_prompt_logprobs=2, topk_sample_logprobs=8,
        target_prompt_tokens=pairs,
    )  # fmt: skip
    future = put(sampling, question)
    run(sampling)
    found = told(future)
    decoder = decoder_of(CONFIG, lively_state(CONFIG))
    adapt(decoder, FORM, 0)
    set_adapter(decoder, adapter)
    for each in found.sequences:
        ids = torch.tensor([(*prompt, *each.tokens)])
        with torch.no_grad():
            hidden = decoder(ids, torch.arange(ids.shape[1])[None], causal_attention)
            logits = decoder.logits(hidden)[0]
        scores, (sampled, best) = logits.log_softmax(-1), logits[len(prompt) - 1 : -1].topk(5)
        left = torch.log_softmax(sampled / 0.5, dim=-1)
        assert each.topk is not None
        assert (each.topk.tokens[:, :5] == best.numpy()).all()
        assert each.topk.logprobs[:, :5] == pytest.approx(left.numpy(), abs=5e-5)
        assert (each.topk.logprobs[:, 5:] == -99999).all()
        assert (each.topk.tokens[:, 5:] == 0).all()
        for place, token in enumerate(each.tokens):
            at = best[place].tolist().index(token)
            assert each.logprobs[place] == pytest.approx(left[place, at].item(), abs=5e-5)
    assert found.prompt_logprobs is not None
    own = [scores[at - 1, prompt[at]].item() for at in range(1, 5)]
    assert found.prompt_logprobs[1:] == pytest.approx(own, abs=5e-5)
    assert found.topk_prompt is not None
    assert found.topk_prompt.tokens[1:].tolist() == scores[:4].topk(2).indices.tolist()
    assert found.topk_prompt.logprobs[0].tolist() == [-99999, -99999]
    expected = [scores[place - 1, token].item() for place, token in pairs]
    assert found.target_prompt == pytest.approx(expected, abs=5e-5)
    assert found.num_tokens == 5 + sum(len(each.tokens) for each in found.sequences)


def test_a_light_tenant_is_answered_while_a_heavy_one_has_all_the_room_it_can_have() -> None:
    sampling = sampling_of(running=8)
    heavy = [put(sampling, asked("heavy", num_samples=16, max_tokens=16, seed=n)) for n in range(2)]
    for _ in range(3):
        sampling.step()
    light = put(sampling, asked("light", num_samples=1, max_tokens=4))
    for _ in range(6):
        sampling.step()
    assert light.done()
    assert not any(each.done() for each in heavy)
    run(sampling)
    assert len(told(heavy[0]).sequences) == 16


def broken(adapter: Adapter) -> Adapter:
    """Finite numbers that the network makes infinite ones of."""
    return Adapter(FORM, {name: each * 0 + 3e38 for name, each in adapter.state.items()})


def test_broken_weights_fail_their_own_questions_and_nobody_elses(tmp_path: Path) -> None:
    sound = written(tmp_path, "sound", lively(1))
    spoilt = written(tmp_path, "spoilt", broken(lively(2)))
    expected = sampling_of()
    before = [put(expected, asked("a", sound, num_samples=3)), put(expected, asked("b"))]
    run(expected)
    sampling = sampling_of()
    futures = [put(sampling, asked("a", sound, num_samples=3)), put(sampling, asked("b"))]
    sampling.step()
    bad = put(sampling, asked("c", spoilt, topk_sample_logprobs=1))
    score = put(sampling, asked("c", spoilt, num_samples=0, prompt_logprobs=True))
    run(sampling)
    for future in (bad, score):
        with pytest.raises(CannotDo, match="earlier checkpoint"):
            future.result()
    assert all(same(told(a), told(b)) for a, b in zip(futures, before, strict=True))
    again = put(sampling, asked("c", spoilt))
    sampling.step()
    with pytest.raises(CannotDo, match="earlier checkpoint"):
        again.result()


def test_no_more_adapters_are_in_the_engine_than_may_and_those_in_use_stay(tmp_path: Path) -> None:
    weights = [written(tmp_path, f"m{n}", lively(n)) for n in range(5)]
    base = base_of(bounds=Bounds(2, 2**20))
    sampling = Sampling(base.engine, base.adapters, Room(64))
    futures = [put(sampling, asked(f"t{n}", weights[n])) for n in range(5)]
    while sampling.has_work:
        sampling.step()
        # One adds nothing, and is always there.
        assert len(base.engine._decoder.adapters) <= 3
    single = sampling_of()
    for number, future in enumerate(futures):
        alone = put(single, asked("x", weights[number]))
        run(single)
        assert same(told(future), told(alone))


def test_an_adapter_that_cannot_be_used_is_refused_with_a_sentence(tmp_path: Path) -> None:
    small = written(tmp_path, "small", lively(1))
    for weights, bounds, said in (
        (Weights("tiny/base", tmp_path / "none", "none"), Bounds(2, 2**20), "publish it again"),
        (small, Bounds(2, 100), "lower rank"),
    ):
        sampling = sampling_of(bounds=bounds)
        future = put(sampling, asked(weights=weights))
        other = put(sampling, asked("b"))
        run(sampling)
        with pytest.raises(CannotDo, match=said):
            future.result()
        assert told(other).sequences


def test_who_leaves_frees_what_it_had_at_once(tmp_path: Path) -> None:
    weights = written(tmp_path, "m", lively(1))
    sampling = sampling_of(running=4)
    question = question_of(asked(weights=weights, num_samples=9, prompt_logprobs=True), None)
    sampling.put(question)
    sampling.step()
    sampling.leave(question)
    assert not sampling.has_work
    assert sampling.counts == {"waiting": 0, "running": 0}
    assert not question.future.done()
    assert not sampling._engine.has_work
    assert sampling._adapters._uses["m"] == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": ()}, "no token"),
        ({"num_samples": 0}, "neither"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_tokens": 0}, "max_new_tokens"),
        ({"stop_tokens": tuple(range(65))}, "stop tokens"),
        ({"num_samples": 5000}, "num_rollouts"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(fields: dict[str, object], said: str) -> None:
    with pytest.raises(CannotDo, match=said):
        question_of(replace(asked(), **fields), None)


def test_what_does_not_fit_the_model_is_refused_and_others_go_on() -> None:
    sampling = sampling_of()
    bad = [
        put(sampling, asked("a", prompt=(99,))),
        put(sampling, asked("a", max_tokens=10_000)),
        put(sampling, asked("a", prompt=(99,), num_samples=0, prompt_logprobs=True)),
        put(sampling, asked("a", num_samples=0, target_prompt_tokens=((0, 1),))),
    ]
    good = put(sampling, asked("b"))
    run(sampling)
    for future in bad:
        with pytest.raises(CannotDo):
            future.result()
    assert len(told(good).sequences) == 2
