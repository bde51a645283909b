"""By which of two networks a model is computed: this software's own, or that of the library `transformers`.

Parts: `Backend`, `read_any_config`, `read_any_model`, `backend_of` (for a directory of which nobody said),
`network_of` (a network to be filled), `weight_shapes`, `config_of`. Law: a run's backend is stated, never guessed, and the
same for all who learn and sample.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import expected_shapes, read_config, read_model
from archipel.model.hollow import hollow
from archipel.model.network import Decoder
from archipel.model.stock import StockDecoder, blank, filled, read_stock_model, stock_shapes
from archipel.model.stock_config import StockConfig, read_stock_config
from archipel.records.backends import Backend

AnyConfig = DecoderConfig | StockConfig
AnyDecoder = Decoder | StockDecoder


def read_any_config(path: Path, backend: Backend) -> AnyConfig:
    """What the directory says of its architecture, for this backend. Raises InvalidModel."""
    return read_config(path) if backend == "archipel" else read_stock_config(path)


def read_any_model(
    path: Path, backend: Backend, dtype: torch.dtype = torch.float32, *, under_adapter: bool = False
) -> AnyDecoder:
    """Load a model directory for this backend. Raises InvalidModel."""
    if backend == "archipel":
        return read_model(path, dtype, under_adapter=under_adapter)
    return read_stock_model(path, dtype)


def backend_of(path: Path) -> Backend:
    """Which backend computes the model in a directory: our own where it can.

    Raises:
        InvalidModel: neither can, or the other is not installed; the message says what stands in the way of both.
    """
    try:
        read_config(path)
    except InvalidModel as ours:
        try:
            read_stock_config(path)
        except InvalidModel as theirs:
            if str(theirs) == str(ours):
                raise
            raise InvalidModel(f"{ours}; {theirs}") from None
        return "transformers"
    return "archipel"


def config_of(fields: Mapping[str, Any], backend: Backend) -> AnyConfig:
    """What `to_hf` of a configuration gave. Raises InvalidModel, InvalidConfig."""
    own = backend == "archipel"
    return DecoderConfig.from_hf(fields) if own else StockConfig.from_hf(fields)


def weight_shapes(config: AnyConfig) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of every weight; nothing is allocated."""
    return expected_shapes(config) if isinstance(config, DecoderConfig) else stock_shapes(config)


def blank_of(config: AnyConfig) -> AnyDecoder:
    """A network in fp32 whose weights mean nothing yet."""
    return blank(config) if isinstance(config, StockConfig) else Decoder(config)


def network_of(config: AnyConfig, state: Mapping[str, Tensor]) -> AnyDecoder:
    """A network in fp32 on the processor with these weights."""
    if isinstance(config, StockConfig):
        return filled(config, state)
    decoder = hollow(config)
    weights = {name: weight.to("cpu", torch.float32) for name, weight in state.items()}
    decoder.load_state_dict(weights, strict=True, assign=True)
    return decoder
