"""From a model directory to an engine that holds its weights as it was asked to.

Parts: `Numbers` (how it was asked to), `load`; `origin_of` and `with_adapter`, what answers then come from. Laws: what does
not fit is refused before it is read; weights are read where they lie in their files, one after the
other, so that beside what is held there is never a whole copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import UnknownVariant, variant_of
from archipel.engine.protocol import WrongWeights
from archipel.engine.quantised.arithmetic import NotHeld, Weights, arithmetic_for, quick_weights
from archipel.model.adapter import Adapter, merged
from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_config, read_mapped
from archipel.model.tokenizer import Tokenizer
from archipel.records.exact import CONTRACTS
from archipel.serve.drafting import Draft, bytes_of, drafter_for
from archipel.serve.fitting import available_bytes, check_fits
from archipel.serve.origin import (
    Origin,
    adapter_digest,
    machine,
    tokenizer_digest,
    weights_digest,
)
from archipel.work.folders import NAME, Folder, adapter_over


@dataclass(frozen=True)
class Loaded:
    """A model, ready to sample from."""

    config: DecoderConfig
    engine: LocalEngine
    weights: Weights
    """What they are held as; by the exact contract, what takes as much memory."""
    num_parameters: int
    origin: Origin | None
    """What answers come from; None where nobody asked for it."""
    adapter: str | None
    """The engine's name for the adapter; None: there is none, or it was merged."""


@dataclass(frozen=True)
class Numbers:
    """What a model is computed in."""

    weights: Weights | Literal["auto"] = "auto"
    """What they are held as, in floating point."""
    exact: str | None = None
    """Variant of the exact contract; None: floating point."""
    is_named: bool = False
    """Whether the origin of answers is named: digests take a reading of all weights."""


def load(folder: Folder, numbers: Numbers, limits: EngineLimits, draft: Draft = "none") -> Loaded:
    """The engine for a directory's model, with the adapter that lies over it, by the exact contract merged into it; and who
    guesses for it.

    Raises:
        InvalidModel: it cannot be used, does not fit, or is computed by another library than this one.
    """
    if folder.backend != "archipel":
        raise InvalidModel(
            f"{folder.model} is computed by transformers, which takes no requests while it runs; expected a model of "
            "the families in docs/how-to/bring-a-model.md: ask this one with archipel chat, a question at a time"
        )
    config = read_config(folder.model)
    device = torch.device(folder.device)
    held, arithmetic = _arithmetic(config, numbers, device)
    if device.type == "cpu":
        try:
            check_fits(config, held, limits, available_bytes() - bytes_of(draft, held, limits))
        except InvalidModel as error:
            raise InvalidModel(f"{folder.model} does not fit: {error}") from None
    drafter = drafter_for(draft, folder.model, config, held, device, limits)
    engine = LocalEngine(config, arithmetic=arithmetic, limits=limits, drafter=drafter)
    state = read_mapped(folder.model)
    adapter = None if folder.adapter is None else adapter_over(folder.adapter, folder.model)
    origin = None
    if numbers.is_named:
        contract = f"archipel-{held}" if numbers.exact is None else CONTRACTS[numbers.exact]
        origin = origin_of(folder, state, contract)
        if adapter is not None:
            origin = with_adapter(origin, adapter)
    try:
        if adapter is not None and numbers.exact is not None:
            arithmetic.check_weights(state)
            halves = {name: each.to(torch.bfloat16) for name, each in state.items()}
            engine.load(merged(halves, adapter, config))
        else:
            engine.load(state)
    except WrongWeights as error:
        raise InvalidModel(f"{folder.model}: {error}") from None
    is_apart = adapter is not None and numbers.exact is None
    if is_apart:
        engine.adapt(NAME, adapter)
    count = sum(each.numel() for each in state.values())
    return Loaded(config, engine, held, count, origin, NAME if is_apart else None)


def _arithmetic(
    config: DecoderConfig, numbers: Numbers, device: torch.device
) -> tuple[Weights, Arithmetic]:
    """And what takes as much memory as its weights."""
    try:
        if numbers.exact is None:
            held = quick_weights(device) if numbers.weights == "auto" else numbers.weights
            return held, arithmetic_for(held, config, device)
        variant = variant_of(numbers.exact)
        is_small = variant.weight_digits == 1 and not variant.by_length
        return "int8" if is_small else "float32", ExactArithmetic(config, variant, device)
    except (NotHeld, InvalidConfig, UnknownVariant) as error:
        raise InvalidModel(str(error)) from None


def origin_of(folder: Folder, state: Mapping[str, Tensor], contract: str) -> Origin:
    """Of a model's answers, without an adapter.

    Raises:
        InvalidTokenizer: the model's cannot be used.
    """
    is_exact = contract.startswith("exact-")
    return Origin(
        contract=contract,
        weights=weights_digest(state),
        tokenizer=tokenizer_digest(Tokenizer.from_directory(folder.model), folder.model),
        threads=0 if is_exact else torch.get_num_threads(),
        machine="" if is_exact else machine(folder.device),
    )


def with_adapter(origin: Origin, adapter: Adapter) -> Origin:
    """Of answers with this adapter over the weights."""
    return replace(
        origin, adapter=adapter_digest(adapter, origin.weights), is_beside=not origin.is_exact
    )
