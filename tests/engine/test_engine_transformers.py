"""The transformers engine speaks the same protocol and samples the same way."""

from pathlib import Path

import pytest
import torch

from archipel.engine import transformers_engine
from archipel.engine.engine import LocalEngine, NotLoaded, WrongWeights
from archipel.engine.transformers_engine import TransformersEngine
from archipel.model.config import FAMILIES, Family
from archipel.model.directory import write_model
from engine.engine_models import lively_state, ragged_requests, small_config

pytest.importorskip("transformers")
SOON = ("llama", "qwen3_moe")


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        "qwen3_moe",
        *(pytest.param(each, marks=pytest.mark.slow) for each in FAMILIES if each not in SOON),
    ],
)
def test_both_engines_give_the_same_completions_in_fp32(family: Family, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_reach_no_module_are_refused(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tied model, too: what is missing would be random."""
    config = small_config("qwen3_moe", tie_embeddings=tied, num_layers=1)
    state = lively_state(config)
    write_model(tmp_path / "model", state, config, None)
    engine = TransformersEngine(tmp_path / "model")
    monkeypatch.setattr(transformers_engine, "_of_modules", lambda state, config: dict(state))
    with pytest.raises(WrongWeights, match="disagree about"):
        engine.load(state)
