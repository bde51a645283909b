"""Texts scored where they stand: what the trainer's network gives, in whatever company, with adapters beside the head too."""

import numpy as np
import pytest
import torch

from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.engine.reading import BLOCK
from archipel.engine.scoring import Scoring, Wanted
from archipel.model.network import causal_attention
from archipel.records.requests import InvalidRequest, Request
from engine.engine_models import decoder_of, lively_state, small_config

CONFIG = small_config("qwen3")


def whole(engine: LocalEngine, tokens: tuple[int, ...], wanted: Wanted) -> Scoring:
    scoring = engine.scoring(tokens, wanted)
    while scoring.step():
        pass
    return scoring


def loaded() -> LocalEngine:
    engine = LocalEngine(CONFIG, limits=EngineLimits(max_slots=4))
    engine.load(lively_state(CONFIG))
    return engine


def text(length: int, seed: int = 0) -> tuple[int, ...]:
    drawn = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(CONFIG.vocab_size, (length,), generator=drawn).tolist())


@pytest.mark.parametrize("length", [1, 2, 66, BLOCK + 1])
def test_every_token_is_scored_as_the_trainers_network_does(length: int) -> None:
    tokens = text(length)
    with torch.no_grad():
        network = decoder_of(CONFIG, lively_state(CONFIG))
        hidden = network(torch.tensor([tokens]), torch.arange(length)[None], causal_attention)
        expected = network.logits(hidden)[0].log_softmax(-1).numpy()
    pairs = tuple((place, token) for place in range(1, length) for token in (0, 7))[::-1]
    found = whole(loaded(), tokens, Wanted(3, pairs))
    assert np.isnan(found.logprobs[0])
    assert not np.isfinite(found.top_logprobs[0]).any()
    for place in range(1, length):
        row = expected[place - 1]
        assert found.logprobs[place] == pytest.approx(row[tokens[place]], abs=2e-5)
        likeliest = np.argsort(-row)[:3]
        assert found.top_logprobs[place] == pytest.approx(row[likeliest], abs=2e-5)
    asked = [expected[place - 1][token] for place, token in pairs]
    assert found.pairs == pytest.approx(asked, abs=2e-5)


def test_a_text_is_scored_to_the_same_bits_beside_whatever_is_sampled() -> None:
    engine, tokens = loaded(), text(90)
    alone = whole(engine, tokens, Wanted(2))
    engine.add(Request("g", text(20, 1), 5, 3, 40))
    scoring = engine.scoring(tokens, Wanted(2))
    engine.step()
    while scoring.step():
        engine.step()
    assert np.array_equal(scoring.logprobs[1:], alone.logprobs[1:])
    assert np.array_equal(scoring.top_logprobs, alone.top_logprobs)
    assert np.array_equal(scoring.top_tokens, alone.top_tokens)


@pytest.mark.parametrize(
    ("tokens", "wanted", "told"),
    [
        ((), Wanted(), "no token"),
        ((1, 64), Wanted(), "outside"),
        ((1, 2), Wanted(65), "expected 0 to 64"),
        ((1, 2), Wanted(pairs=((0, 1),)), "at place 0"),
        ((1, 2), Wanted(pairs=((2, 1),)), "at place 2"),
        ((1, 2), Wanted(pairs=((1, 64),)), "token 64"),
        ((1,) * 4097, Wanted(), "shorten it"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    tokens: tuple[int, ...], wanted: Wanted, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        loaded().scoring(tokens, wanted)
