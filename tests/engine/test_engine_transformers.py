"""The transformers engine speaks the same protocol and samples the same way."""

from pathlib import Path

import pytest
import torch

from archipel.engine.engine import LocalEngine, NotLoaded, WrongWeights
from archipel.engine.transformers_engine import TransformersEngine
from archipel.model.directory import write_model
from engine.engine_models import lively_state, ragged_requests, small_config

pytest.importorskip("transformers")


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_both_engines_give_the_same_completions_in_fp32(family: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = small_config(family)
    state = lively_state(config)
    write_model(tmp_path / "model", state, config, None)
    ours, theirs = LocalEngine(config), TransformersEngine(tmp_path / "model")
    ours.load(state)
    theirs.load(state)
    requests = ragged_requests(config.vocab_size, (4, 9, 9, 30))
    progress: list[int] = []
    for ours_group, theirs_group in zip(
        ours.generate(requests), theirs.generate(requests, progress.append), strict=True
    ):
        for one, other in zip(ours_group, theirs_group, strict=True):
            assert one.tokens == other.tokens
            assert one.finished == other.finished
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert progress[-1] >= len(requests)


def test_weights_must_come_first_and_must_fit(tmp_path: Path) -> None:
    config = small_config()
    write_model(tmp_path / "model", lively_state(config), config, None)
    engine = TransformersEngine(tmp_path / "model")
    with pytest.raises(NotLoaded):
        engine.generate(ragged_requests(64, (4,)))
    with pytest.raises(WrongWeights):
        engine.load({})
