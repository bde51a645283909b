"""What of the vLLM engine can be known without a GPU; the rest runs where one is."""

from pathlib import Path

import pytest
import torch

from archipel.engine.vllm_engine import VllmEngine, rollout_seed
from archipel.model.directory import write_model
from engine.engine_models import lively_state, ragged_requests, small_config


def test_rollout_seeds_are_distinct_and_fixed() -> None:
    seeds = {rollout_seed(seed, rollout) for seed in (0, 1, 2**64 - 1) for rollout in range(50)}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
    # On every machine and in every release the same: a rollout can be sampled again.
    fixed = {(5, 2): 6940609444997893988, (0, 0): 7656851735468276932}
    fixed[2**64 - 1, 49] = 3353171836124816376
    assert {owner: rollout_seed(*owner) for owner in fixed} == fixed


@pytest.mark.gpu
def test_vllm_reports_the_logprobs_of_the_weights_that_were_loaded(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    from archipel.engine.transformers_engine import TransformersEngine

    config = small_config("qwen3", head_dim=64)
    write_model(tmp_path / "model", lively_state(config), config, None)
    engine = VllmEngine(tmp_path / "model", dtype="float32")
    state = lively_state(config, seed=3)
    engine.load(state)
    oracle = TransformersEngine(tmp_path / "model")
    oracle.load(state)
    greedy = [r for r in ragged_requests(64, tuple(range(3, 40))) if r.temperature == 0.0]
    for ours, theirs in zip(engine.generate(greedy), oracle.generate(greedy), strict=True):
        assert ours[0].tokens == theirs[0].tokens
        assert ours[0].logprobs == pytest.approx(theirs[0].logprobs, abs=1e-3)
