"""A decoder without numbers has the names, shapes and types of one with numbers, and nothing is drawn for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from archipel.model.config import DecoderConfig, Family
from archipel.model.hollow import hollow
from archipel.model.network import random_weights


def _config(family: Family, tie: bool) -> DecoderConfig:
    return DecoderConfig(
        family=family,
        vocab_size=40,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        intermediate_size=24,
        max_position_embeddings=32,
        tie_embeddings=tie,
    )


class _Calls(TorchFunctionMode):
    """Hears what is asked of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "olmo2"])
def test_it_has_the_names_shapes_and_types_of_a_real_one(family: Family, tie: bool) -> None:
    config = _config(family, tie)
    real, empty = random_weights(config, 0).state_dict(), hollow(config).state_dict()
    assert list(real) == list(empty)
    for name, tensor in real.items():
        assert (empty[name].shape, empty[name].dtype) == (tensor.shape, tensor.dtype)
        assert empty[name].is_meta


def test_nothing_is_drawn_for_it() -> None:
    """To draw on the meta device PyTorch loads its compiler: 1.5 s of processor at each child's start."""
    with _Calls() as calls:
        hollow(_config("qwen2", tie=False))
    assert not calls.names & {"normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_"}
    with _Calls() as calls, torch.device("meta"):
        torch.nn.Linear(2, 2)
    assert "kaiming_uniform_" in calls.names or "uniform_" in calls.names, "this test hears nothing"
