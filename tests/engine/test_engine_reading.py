"""Reading without sampling: the network's own numbers, whatever else the engine is doing."""

import pytest
import torch

from archipel.engine.engine import EngineLimits, InvalidRequest, LocalEngine, Request
from archipel.engine.protocol import NonFiniteLogits, NotLoaded
from archipel.model.network import causal_attention
from engine.engine_models import decoder_of, each_family, lively_state, small_config

PROMPT = tuple((7 * place) % 61 for place in range(300))
"""Longer than a block."""
CONTINUATIONS = ((5,), (5, 6), (5, 6, 7), (9, 1, 2, 3), (5, 8), ())


def loaded(**changes: object) -> LocalEngine:
    config = small_config(**changes)
    engine = LocalEngine(config, limits=EngineLimits(max_cache_bytes=2**24))
    engine.load(lively_state(config))
    return engine


def read_whole(engine: LocalEngine, tokens: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's own last hidden states (T, d) of a text, all at once, and its log-probabilities (T, V)."""
    network = decoder_of(engine.config, lively_state(engine.config))
    with torch.no_grad():
        places = torch.arange(len(tokens))[None]
        hidden = network(torch.tensor([tokens]), places, causal_attention)[0]
        return hidden, torch.log_softmax(network.logits(hidden).float(), dim=-1)


@pytest.mark.parametrize("family", each_family())
def test_scores_are_the_networks_own(family) -> None:
    engine = loaded(family=family)
    found = engine.score(PROMPT, CONTINUATIONS)
    assert [len(each) for each in found] == [len(each) for each in CONTINUATIONS]
    for told, continuation in zip(found, CONTINUATIONS, strict=True):
        tokens = PROMPT + continuation
        _, logprobs = read_whole(engine, tokens)
        expected = [logprobs[at - 1, tokens[at]].item() for at in range(len(PROMPT), len(tokens))]
        assert told == pytest.approx(expected, abs=2e-4)


def test_what_follows_a_short_text_does_not_see_its_neighbours() -> None:
    engine = loaded()
    together = engine.score(PROMPT[:5], CONTINUATIONS)
    apart = [engine.score(PROMPT[:5], [each])[0] for each in CONTINUATIONS]
    for one, other in zip(together, apart, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_text_becomes_the_mean_of_its_last_hidden_states() -> None:
    engine = loaded()
    prompts = [PROMPT, PROMPT[:3], PROMPT[5:6]]
    found = engine.embed(prompts)
    assert found.dtype == torch.float32
    for row, prompt in zip(found, prompts, strict=True):
        hidden, _ = read_whole(engine, prompt)
        assert torch.allclose(row, hidden.mean(dim=0), atol=1e-4)


def test_reading_between_the_steps_changes_no_bit_of_anything() -> None:
    requests = [
        Request(key=str(n), prompt=PROMPT[n : n + 9], seed=n, num_rollouts=3, max_new_tokens=8)
        for n in range(3)
    ]
    alone = loaded().generate(requests)
    quiet = loaded()
    embedded, scored = quiet.embed([PROMPT]), quiet.score(PROMPT, CONTINUATIONS)

    engine = loaded()
    tickets = [engine.add(request) for request in requests]
    done = {}
    while engine.has_work:
        done |= engine.step().ended
        assert torch.equal(engine.embed([PROMPT]), embedded)
        assert engine.score(PROMPT, CONTINUATIONS) == scored
    for ticket, rollouts in zip(tickets, alone, strict=True):
        assert tuple(done[ticket, n] for n in range(3)) == rollouts


def test_what_cannot_be_read_is_refused() -> None:
    engine = loaded()
    with pytest.raises(InvalidRequest, match="no token"):
        engine.embed([()])
    with pytest.raises(InvalidRequest, match=r"outside 0\.\.63"):
        engine.embed([(64,)])
    with pytest.raises(InvalidRequest, match="outside"):
        engine.score((1,), [(1, -1)])
    with pytest.raises(InvalidRequest, match="at most 512"):
        engine.embed([(1,) * 513])
    with pytest.raises(InvalidRequest, match="at most 512"):
        engine.score((1,) * 510, [(1, 2, 3, 4)])
    with pytest.raises(InvalidRequest, match="not loaded"):
        engine.embed([(1,)], adapter="none")
    with pytest.raises(NotLoaded):
        LocalEngine(small_config()).embed([(1,)])


def test_broken_weights_give_no_numbers() -> None:
    config = small_config()
    engine = LocalEngine(config)
    state = lively_state(config)
    state["model.norm.weight"] = state["model.norm.weight"] * float("nan")
    engine.load(state)
    with pytest.raises(NonFiniteLogits):
        engine.embed([(1, 2)])
    with pytest.raises(NonFiniteLogits):
        engine.score((1, 2), [(3,)])
