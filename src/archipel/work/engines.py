"""Which engine samples: the exact one where a run asks for it, else the one that the operator chose; one or several."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.engine import Engine, LocalEngine
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.protocol import AdaptingEngine, NotStarted
from archipel.model.config import DecoderConfig
from archipel.model.devices import NoDevice, ready_device
from archipel.model.directory import read_config
from archipel.records.exact import CONTRACTS, variant_named
from archipel.records.requests import InvalidRequest
from archipel.work.crew import Crew, Job
from archipel.work.kind import EngineChoice, MachineUnfit, WorkFailed

ADAPTING = ("archipel", "vllm")
"""Engines that keep adapters apart from the weights under them."""


def make_engine(
    model: Path, state: Mapping[str, Tensor], choice: EngineChoice, contract: str | None = None
) -> Engine:
    """An engine for the architecture in `model`, holding the weights `state`.

    contract: identity of the exact contract that the run asks for; None: whatever was chosen.

    Raises:
        MachineUnfit: the device or the optional package that was chosen is not here, or does not start.
        WorkFailed: it cannot do the contract.
    """
    return _loaded(Job(model, choice, contract), state)


def make_adapting_engine(
    model: Path, state: Mapping[str, Tensor], choice: EngineChoice, rank: int
) -> AdaptingEngine:
    """The same, for adapters of this rank over the weights `state`.

    Raises:
        WorkFailed, MachineUnfit: see `make_engine`; or it takes no adapters of that rank.
    """
    if choice.name not in ADAPTING:
        raise TypeError(f"engine {choice.name} keeps no adapters")
    return _loaded(Job(model, choice, rank=rank), state)


def _loaded(job: Job, state: Mapping[str, Tensor]) -> AdaptingEngine:
    engine = (
        Crew(job)
        if job.choice.engines > 1
        else engine_without_weights(job.model, job.choice, job.contract, job.rank)
    )
    try:
        first_load(engine, job.choice, state)
    except BaseException:
        end(engine)
        raise
    return engine


def first_load(engine: Engine, choice: EngineChoice, state: Mapping[str, Tensor]) -> None:
    """With which some engines start.

    Raises:
        MachineUnfit: its package is not installed, or does not start.
    """
    try:
        engine.load(state)
    except ImportError as error:
        raise _absent(choice.name, error) from None
    except NotStarted as error:
        raise MachineUnfit(str(error)) from None


def engine_without_weights(
    model: Path, choice: EngineChoice, contract: str | None, rank: int | None
) -> AdaptingEngine:
    """One engine in this process; its weights come with `load`.

    rank: of adapters; None: whole weights.

    Raises:
        MachineUnfit, WorkFailed: see `make_engine`.
    """
    if contract is not None and choice.name != "archipel":
        raise WorkFailed(
            f"the run asks for {contract}, which the engine archipel computes and {choice.name} does not; "
            "start this machine with --engine archipel"
        )
    if choice.name == "vllm":  # which takes the device that its own build is for
        return _vllm(model, choice, rank or 0)
    device_of(choice)
    if contract is not None:
        return our_engine(read_config(model), contract, choice.device)
    if choice.name == "archipel":
        dtype = torch.float32 if choice.dtype == "float32" else torch.bfloat16
        return LocalEngine(read_config(model), dtype=dtype, device=choice.device)
    return _transformers(model, choice)


def room_for(choice: EngineChoice, rank: int) -> int:
    """Adapters with the same room can share an engine; one of ours takes any rank, and has room 0.

    Raises:
        MachineUnfit: there is no such room.
    """
    if choice.name != "vllm":
        return 0
    from archipel.engine.vllm_start import rank_room

    try:
        return rank_room(rank)
    except InvalidRequest as error:
        raise MachineUnfit(str(error)) from None


def end(engine: Engine) -> None:
    """Of an engine that has processes, or memory that Python does not see."""
    close = getattr(engine, "close", None)
    if close is not None:
        close()


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


def _transformers(model: Path, choice: EngineChoice) -> AdaptingEngine:
    from archipel.engine.transformers_engine import TransformersEngine

    try:
        # It is asked for no adapters: see `ADAPTING`.
        return TransformersEngine(model, dtype=choice.dtype, device=choice.device)  # type: ignore[return-value]
    except ImportError as error:
        raise _absent("transformers", error) from None


def _vllm(model: Path, choice: EngineChoice, rank: int) -> AdaptingEngine:
    from archipel.engine.vllm_engine import VllmEngine
    from archipel.engine.vllm_start import VllmLimits

    return VllmEngine(model, choice.dtype, VllmLimits(max_rank=room_for(choice, rank)))


def _absent(name: str, error: ImportError) -> WorkFailed:
    return MachineUnfit(f"engine {name} needs an extra: pip install 'archipel[{name}]' ({error})")
