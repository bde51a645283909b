"""Which engine samples: the exact one where a run asks for it, else the one that the operator chose; one or several."""

import resource
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.engine import Engine, LocalEngine
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.protocol import AdaptingEngine, NotStarted
from archipel.extras import needs
from archipel.model.backends import AnyConfig, read_any_config
from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.devices import NoDevice, ready_device
from archipel.model.directory import InvalidModel, read_config
from archipel.model.stock_config import StockConfig
from archipel.records.backends import Backend
from archipel.records.exact import CONTRACTS, variant_named
from archipel.records.requests import InvalidRequest
from archipel.work.crew import Crew, Job
from archipel.work.kind import Context, EngineChoice, MachineUnfit, WorkFailed

ADAPTING = ("archipel", "vllm")
"""Engines that keep adapters apart from the weights under them."""


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
        MachineUnfit: the device or the optional package that was chosen is not here, or does not start.
        WorkFailed: it cannot do the contract.
    """
    if backend != "archipel" and choice.name == "archipel":
        choice = replace(choice, name=backend)
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
        if job.choice.engines > 1 or not job.choice.spread.is_one
        else engine_without_weights(job.model, job.choice, job.contract, job.rank)
    )
    try:
        if fault := too_little_scratch(job.choice, state):
            raise MachineUnfit(fault)
        first_load(engine, job.choice, state)
    except BaseException:
        end(engine)
        raise
    return engine


def too_little_scratch(choice: EngineChoice, state: Mapping[str, Tensor]) -> str:
    """Why the weights cannot be handed over as files, in a sentence; nothing where they can, or no file is needed.

    A crew's members read one file, and vLLM's processes another, both under the bound on what work may write.
    """
    is_crew = choice.engines > 1 or not choice.spread.is_one
    files = is_crew + (choice.engines if choice.name == "vllm" else 0)
    bound, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    need = files * sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if bound == resource.RLIM_INFINITY or need <= bound:
        return ""
    return (
        f"this engine reads the run's weights from files of {need / 1e9:.1f} GB together, and work may write "
        f"{bound / 1e9:.1f} GB here; raise --scratch-gb"
    )


def first_load(engine: Engine, choice: EngineChoice, state: Mapping[str, Tensor]) -> None:
    """With which some engines start.

    Raises:
        MachineUnfit: its package is not installed, or does not start.
    """
    try:
        engine.load(state)
    except ImportError as error:
        raise _absent(choice.name, error) from None
    except InvalidModel as error:
        raise _unfit(choice.name, error) from None
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
        WorkFailed: this software knows another contract, or none, of that identity, or it does not describe the model.
    """
    if contract is None:
        return LocalEngine(config, device=device)
    name = variant_named(contract)
    if name is None or VARIANTS[name].identity != contract:
        raise WorkFailed(
            f"{contract} is no exact contract of this software, which makes {', '.join(CONTRACTS.values())}; "
            "update it, or leave this run to others"
        )
    try:
        arithmetic = ExactArithmetic(config, VARIANTS[name], torch.device(device))
    except InvalidConfig as error:
        raise WorkFailed(str(error)) from None
    return LocalEngine(config, device=device, arithmetic=arithmetic)


def stock_engine(config: StockConfig, device: str = "cpu") -> Engine:
    """What an average node samples a model of transformers with, in fp32. Without weights yet."""
    from archipel.engine.transformers_engine import TransformersEngine

    return TransformersEngine(config, device=device)


def _transformers(model: Path, choice: EngineChoice) -> AdaptingEngine:
    from archipel.engine.transformers_engine import TransformersEngine

    try:
        # It is asked for no adapters: see `ADAPTING`.
        return TransformersEngine(model, dtype=choice.dtype, device=choice.device)  # type: ignore[return-value]
    except ImportError as error:
        raise _absent("transformers", error) from None
    except InvalidModel as error:
        raise _unfit(choice.name, error) from None


def _vllm(model: Path, choice: EngineChoice, rank: int) -> AdaptingEngine:
    from archipel.engine.vllm_engine import VllmEngine
    from archipel.engine.vllm_start import VllmLimits

    limits = VllmLimits(max_rank=room_for(choice, rank), spread=choice.spread)
    try:
        return VllmEngine(model, choice.dtype, limits)
    except InvalidModel as error:
        raise _unfit(choice.name, error) from None


def _absent(name: str, error: ImportError) -> MachineUnfit:
    return MachineUnfit(f"{needs(f'engine {name}', name)} ({error})")


def _unfit(name: str, error: InvalidModel) -> MachineUnfit:
    return MachineUnfit(f"engine {name} cannot sample this run here: {error}")
