"""The integer contract on a CUDA device: the same tokens and the same bits as on a processor.

Parts: the known vectors; a larger model, ragged and batched, against the processor; a device that flushes or
rounds otherwise would fail both. Run where a device is: `pytest -m gpu -s tests/gpu`.
"""

import time

import numpy as np
import pytest
import torch

from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.proof import prove
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import DecoderConfig, Family
from engine.engine_models import lively_state, ragged_requests, small_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

_LENGTHS = (1, 3, 17, 40, 64, 90, 128, 5)


def test_the_known_vectors_come_out() -> None:
    proof = prove("cuda")
    print("\n", *proof.faults, sep="\n  ")
    assert {variant.identity for variant in VARIANTS.values()} <= set(proof.contracts)


@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "olmo2"])
def test_small_models_answer_in_the_same_bits(name: str, family: Family) -> None:
    config = small_config(family)
    _same_bits(name, config, ragged_requests(64, _LENGTHS))


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_model_of_real_widths_answers_in_the_same_bits(name: str) -> None:
    config = small_config(
        "qwen3", vocab_size=8192, hidden_size=768, num_layers=6, num_heads=12, num_kv_heads=4,
        head_dim=64, intermediate_size=2048,
    )  # fmt: skip
    _same_bits(name, config, ragged_requests(8192, _LENGTHS))


def _same_bits(name: str, config: DecoderConfig, requests: list[Request]) -> None:
    """All at once on the device, in twos on the processor."""
    state = lively_state(config)
    there, here = (
        LocalEngine(config, arithmetic=ExactArithmetic(config, VARIANTS[name], torch.device(each)))
        for each in ("cuda", "cpu")
    )
    there.load(state)
    here.load(state)
    torch.cuda.synchronize()
    began = time.perf_counter()
    on_device = there.generate(requests)
    middle = time.perf_counter()
    on_processor = [
        group for at in range(0, len(requests), 2) for group in here.generate(requests[at : at + 2])
    ]
    ended = time.perf_counter()
    count = 0
    for ours, theirs in zip(on_device, on_processor, strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            count += len(one.tokens)
            np.testing.assert_array_equal(
                np.array(one.logprobs, np.float32).view(np.uint32),
                np.array(other.logprobs, np.float32).view(np.uint32),
            )
    print(f"\n  {name} {config.family} {config.hidden_size}: {count} tokens, cuda {middle - began:.2f} s, "
          f"cpu {ended - middle:.2f} s")  # fmt: skip
