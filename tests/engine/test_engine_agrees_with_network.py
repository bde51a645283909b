"""The engine's log-probabilities are those of the network that training uses."""

import pytest
import torch

from archipel.engine.engine import LocalEngine
from archipel.model.config import Family
from archipel.model.network import causal_attention
from engine.engine_models import (
    decoder_of,
    each_family,
    lively_state,
    ragged_requests,
    small_config,
)

LENGTHS = (1, 5, 16, 17, 40, 255, 257)


@pytest.mark.parametrize("family", each_family())
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_logprobs_equal_those_of_the_network_in_fp32(family: Family, kv_heads: int) -> None:
    torch.set_num_threads(1)
    config = small_config(family, num_kv_heads=kv_heads)
    state = lively_state(config)
    engine, model = LocalEngine(config), decoder_of(config, state)
    engine.load(state)
    requests = ragged_requests(config.vocab_size, LENGTHS)
    worst = 0.0
    for request, group in zip(requests, engine.generate(requests), strict=True):
        for completion in group:
            tokens = torch.tensor([request.prompt + completion.tokens])
            with torch.no_grad():
                hidden = model(tokens, torch.arange(tokens.shape[1])[None], causal_attention)
                logits = model.logits(hidden[0, len(request.prompt) - 1 : -1])
            expected = torch.log_softmax(logits / (request.temperature or 1.0), dim=1)
            expected = expected.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
            got = torch.tensor(completion.logprobs)
            worst = max(worst, float((expected - got).abs().max()))
            if request.temperature == 0.0:
                assert logits.argmax(1).tolist() == list(completion.tokens)
    assert worst < 1e-4


def test_bf16_products_stay_close_to_the_network() -> None:
    config = small_config("qwen3")
    state = lively_state(config)
    fp32, bf16 = LocalEngine(config), LocalEngine(config, dtype=torch.bfloat16)
    fp32.load(state)
    bf16.load(state)
    request = ragged_requests(config.vocab_size, (9,), seed=5)[0]
    first = [e.generate([request])[0][0].logprobs[0] for e in (fp32, bf16)]
    assert abs(first[0] - first[1]) < 0.1
