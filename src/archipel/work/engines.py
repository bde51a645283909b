"""Which engine samples, chosen by name where the work is done."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.engine import Engine, LocalEngine
from archipel.model.directory import read_config
from archipel.work.kind import EngineChoice, WorkFailed


def make_engine(model: Path, state: Mapping[str, Tensor], choice: EngineChoice) -> Engine:
    """An engine for the architecture in `model`, holding the weights `state`.

    Raises:
        WorkFailed: the optional package behind this engine is not installed.
    """
    if choice.name == "archipel":
        dtype = torch.float32 if choice.dtype == "float32" else torch.bfloat16
        engine = LocalEngine(read_config(model), dtype=dtype, device=choice.device)
        engine.load(state)
        return engine
    try:
        return _optional_engine(model, state, choice)
    except ImportError as error:
        raise WorkFailed(
            f"engine {choice.name} needs an extra: pip install 'archipel[{choice.name}]' ({error})"
        ) from None


def _optional_engine(model: Path, state: Mapping[str, Tensor], choice: EngineChoice) -> Engine:
    if choice.name == "transformers":
        from archipel.engine.transformers_engine import TransformersEngine

        engine: Engine = TransformersEngine(model, dtype=choice.dtype, device=choice.device)
    else:
        from archipel.engine.vllm_engine import VllmEngine

        engine = VllmEngine(model, dtype=choice.dtype)
    engine.load(state)
    return engine
