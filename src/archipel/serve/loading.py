"""From a model directory to an engine that holds its weights as it was asked to.

Laws: what does not fit is refused before it is read; weights are read where they lie in their files, one after the
other, so that beside what is held there is never a whole copy.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.quantised.arithmetic import NotHeld, Weights, arithmetic_for, quick_weights
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_config, read_mapped
from archipel.serve.drafting import Draft, bytes_of, drafter_for
from archipel.serve.fitting import available_bytes, check_fits
from archipel.work.folders import NAME, Folder, adapter_over


@dataclass(frozen=True)
class Loaded:
    """A model, ready to sample from."""

    config: DecoderConfig
    engine: LocalEngine
    weights: Weights
    """What they are held as."""
    num_parameters: int


def load(
    folder: Folder,
    weights: Weights | Literal["auto"],
    limits: EngineLimits,
    draft: Draft = "none",
) -> Loaded:
    """The engine for a directory's model, with the adapter that lies over it, and who guesses for it.

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
    held = quick_weights(device) if weights == "auto" else weights
    try:
        numbers = arithmetic_for(held, config, device)
    except NotHeld as error:
        raise InvalidModel(str(error)) from None
    if device.type == "cpu":
        try:
            check_fits(config, held, limits, available_bytes() - bytes_of(draft, held, limits))
        except InvalidModel as error:
            raise InvalidModel(f"{folder.model} does not fit: {error}") from None
    drafter = drafter_for(draft, folder.model, config, held, device, limits)
    engine = LocalEngine(config, arithmetic=numbers, limits=limits, drafter=drafter)
    state = read_mapped(folder.model)
    num_parameters = sum(each.numel() for each in state.values())
    engine.load(state)
    if folder.adapter is not None:
        engine.adapt(NAME, adapter_over(folder.adapter, folder.model))
    return Loaded(config, engine, held, num_parameters)
