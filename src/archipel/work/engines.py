"""Which engine samples: the exact one where a run asks for it, else the one that the operator chose."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.engine import Engine, LocalEngine
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.model.backends import AnyConfig, read_any_config
from archipel.model.config import DecoderConfig
from archipel.model.directory import InvalidModel, read_config
from archipel.model.stock_config import StockConfig
from archipel.records.backends import Backend
from archipel.records.exact import CONTRACTS, variant_named
from archipel.work.kind import Context, EngineChoice, MachineUnfit, WorkFailed


def config_here(context: Context) -> AnyConfig:
    """What the run's directory says of its architecture, for the backend that the run names.

    Raises:
        MachineUnfit: that backend is not installed here, or too old to know the model.
    """
    try:
        return read_any_config(context.model, context.backend)
    except InvalidModel as error:
        raise MachineUnfit(f"the model of {context.run} cannot be used here: {error}") from None


def make_engine(
    model: Path,
    state: Mapping[str, Tensor],
    choice: EngineChoice,
    contract: str | None = None,
    backend: Backend = "archipel",
) -> Engine:
    """An engine for the architecture in `model`, holding the weights `state`.

    contract: identity of the exact contract that the run asks for; None: whatever was chosen. backend: who computes
    the run's model; where our own engine was chosen, which does not know it, transformers samples.

    Raises:
        WorkFailed: the optional package behind this engine is not installed, or it cannot do the contract.
    """
    if backend != "archipel" and choice.name == "archipel":
        choice = replace(choice, name=backend)
    if contract is not None:
        if choice.name != "archipel":
            raise WorkFailed(
                f"the run asks for {contract}, which the engine archipel computes and {choice.name} does not; "
                "start this machine with --engine archipel"
            )
        engine = our_engine(read_config(model), contract, choice.device)
        engine.load(state)
        return engine
    if choice.name == "archipel":
        dtype = torch.float32 if choice.dtype == "float32" else torch.bfloat16
        engine = LocalEngine(read_config(model), dtype=dtype, device=choice.device)
        engine.load(state)
        return engine
    try:
        return _optional_engine(model, state, choice)
    except ImportError as error:
        raise MachineUnfit(
            f"engine {choice.name} needs an extra: pip install 'archipel[{choice.name}]' ({error})"
        ) from None
    except InvalidModel as error:
        raise MachineUnfit(f"engine {choice.name} cannot sample this run here: {error}") from None


def our_engine(config: DecoderConfig, contract: str | None, device: str = "cpu") -> LocalEngine:
    """Our engine by this exact contract; by floating point, in fp32, where it is None. Without weights yet.

    Raises:
        WorkFailed: this software knows another contract, or none, of that identity.
    """
    if contract is None:
        return LocalEngine(config, device=device)
    name = variant_named(contract)
    if name is None or VARIANTS[name].identity != contract:
        raise WorkFailed(
            f"{contract} is no exact contract of this software, which makes {', '.join(CONTRACTS.values())}; "
            "update it, or leave this run to others"
        )
    arithmetic = ExactArithmetic(config, VARIANTS[name], torch.device(device))
    return LocalEngine(config, device=device, arithmetic=arithmetic)


def stock_engine(config: StockConfig) -> Engine:
    """What an average node samples a model of transformers with, on the processor in fp32. Without weights yet."""
    from archipel.engine.transformers_engine import TransformersEngine

    return TransformersEngine(config)


def _optional_engine(model: Path, state: Mapping[str, Tensor], choice: EngineChoice) -> Engine:
    if choice.name == "transformers":
        from archipel.engine.transformers_engine import TransformersEngine

        engine: Engine = TransformersEngine(model, dtype=choice.dtype, device=choice.device)
    else:
        from archipel.engine.vllm_engine import VllmEngine

        engine = VllmEngine(model, dtype=choice.dtype)
    engine.load(state)
    return engine
