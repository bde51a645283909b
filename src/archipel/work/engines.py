"""Which engine samples: the exact one where a run asks for it, else the one that the operator chose."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.engine import Engine, LocalEngine
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import DecoderConfig
from archipel.model.devices import NoDevice, ready_device
from archipel.model.directory import read_config
from archipel.records.exact import CONTRACTS, variant_named
from archipel.work.kind import EngineChoice, MachineUnfit, WorkFailed


def make_engine(
    model: Path, state: Mapping[str, Tensor], choice: EngineChoice, contract: str | None = None
) -> Engine:
    """An engine for the architecture in `model`, holding the weights `state`.

    contract: identity of the exact contract that the run asks for; None: whatever was chosen.

    Raises:
        MachineUnfit: the device that was chosen is not here.
        WorkFailed: the optional package behind this engine is not installed, or it cannot do the contract.
    """
    if choice.name != "vllm":  # which takes what its own build is for
        device_of(choice)
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
        raise WorkFailed(
            f"engine {choice.name} needs an extra: pip install 'archipel[{choice.name}]' ({error})"
        ) from None


def device_of(choice: EngineChoice) -> torch.device:
    """Ready to compute.

    Raises:
        MachineUnfit: it is not here.
    """
    try:
        return ready_device(choice.device)
    except NoDevice as error:
        raise MachineUnfit(str(error)) from None


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


def _optional_engine(model: Path, state: Mapping[str, Tensor], choice: EngineChoice) -> Engine:
    if choice.name == "transformers":
        from archipel.engine.transformers_engine import TransformersEngine

        engine: Engine = TransformersEngine(model, dtype=choice.dtype, device=choice.device)
    else:
        from archipel.engine.vllm_engine import VllmEngine

        engine = VllmEngine(model, dtype=choice.dtype)
    engine.load(state)
    return engine
