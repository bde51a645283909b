"""A causal model of `transformers` as something to train and to sample from: its weights, names and logits.

Parts: `StockDecoder`, `blank` and `filled` (of a configuration), `stock_shapes`, `read_stock_model`,
`write_stock_model`. Laws: safetensors only, and no code from the directory; a tensor that is missing, unknown or of
another shape is refused by name; the network never drops anything out, whatever its configuration says.
"""

import copy
import functools
import inspect
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from archipel.model.config_files import InvalidModel
from archipel.model.endings import GENERATION_FILE
from archipel.model.hollow import Undrawn
from archipel.model.new_directory import require_free
from archipel.model.stock_config import StockConfig, read_stock_config, stock_of
from archipel.model.stock_library import library, shortly
from archipel.model.tokenizer import Tokenizer
from archipel.model.weight_files import weight_files
from archipel.records.adapter import FILES as ADAPTER_FILES


class StockDecoder(nn.Module):
    """The library's network with its own names of parameters; a tied weight is there once."""

    def __init__(self, config: StockConfig, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.train(mode=False)

    def train(self, mode: bool = True) -> "StockDecoder":
        """Never into training mode: what samples drops nothing out, so what learns does not either."""
        del mode
        super().train(mode=False)
        return self

    def logits(self, tokens_BT: Tensor, columns_C: Tensor) -> Tensor:
        """Scores of the next token, (B, C, vocabulary), at these columns of rows that each begin a sequence.

        Padding stands behind a row's last token, where a causal network never looks.
        """
        given: dict[str, Any] = {"input_ids": tokens_BT, "use_cache": False}
        if "logits_to_keep" in forward_names(self.network):
            return self.network(**given, logits_to_keep=columns_C).logits
        return self.network(**given).logits.index_select(1, columns_C)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """By the names that the library gives them."""
        return self.network.named_parameters(prefix, recurse, remove_duplicate)

    def get_parameter(self, target: str) -> nn.Parameter:
        """The parameter of that name."""
        return self.network.get_parameter(target)

    @torch.no_grad()
    def fill(self, state: Mapping[str, Tensor]) -> None:
        """Take these values; names and shapes are those of `stock_shapes`."""
        for name, parameter in self.named_parameters():
            parameter.copy_(state[name])


def forward_names(network: nn.Module) -> frozenset[str]:
    """What the network's forward pass can be given by name."""
    return frozenset(inspect.signature(type(network).forward).parameters)


def blank(config: StockConfig, dtype: torch.dtype = torch.float32) -> StockDecoder:
    """Such a network on the CPU, its weights meaningless, what it computes of its configuration in place.

    Raises:
        InvalidModel: the library cannot make it, or it keeps numbers that no version would carry.
    """
    return StockDecoder(config, _made(config, dtype))


def filled(config: StockConfig, state: Mapping[str, Tensor]) -> StockDecoder:
    """Such a network in fp32 with these weights."""
    decoder = blank(config)
    decoder.fill(state)
    return decoder


@functools.lru_cache(maxsize=16)
def stock_shapes(config: StockConfig) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of every weight of such a network; nothing is allocated."""
    with torch.device("meta"), Undrawn():
        network = _made(config, torch.float32)
    return MappingProxyType({name: tuple(each.shape) for name, each in network.named_parameters()})


def read_stock_model(path: Path, dtype: torch.dtype = torch.float32) -> StockDecoder:
    """Load a model directory as the library does, on the CPU, with every weight converted to `dtype`.

    Raises:
        InvalidModel: as `read_stock_config`; pickles, an adapter beside the weights, or tensors that are not exactly
            those of the architecture.
    """
    config = read_stock_config(path)
    if any((path / name).exists() for name in ADAPTER_FILES):
        raise InvalidModel(
            f"{path} holds an adapter beside its model; keep it in a directory of its own"
        )
    weight_files(path)
    try:
        network, told = library().AutoModelForCausalLM.from_pretrained(
            path,
            config=_own_copy(config),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # noqa: BLE001 - whatever the library makes of strange files
        raise InvalidModel(f"{path}: transformers cannot load it: {shortly(error)}") from None
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if found := sorted(map(str, told.get(what) or ())):
            raise InvalidModel(
                f"{path}: {len(found)} {what.replace('_', ' ')} of {config.family}, first {found[0]!r:.120}"
            )
    _require_plain(network, config)
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return StockDecoder(config, network)


def write_stock_model(
    path: Path, state: Mapping[str, Tensor], config: StockConfig, support: Path
) -> None:
    """Write a directory that the library, and `read_stock_model`, load; it appears whole or not at all.

    state: bf16 by the names of `stock_shapes`. support: where tokenizer and generation_config.json are.

    Raises:
        InvalidModel: the weights are not those of `config`.
        FileExistsError, OSError: as `write_model`.
    """
    check_shapes(state, config)
    require_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    decoder = blank(config, torch.bfloat16)
    decoder.fill(state)
    network: Any = decoder.network
    network.save_pretrained(partial)
    Tokenizer.from_directory(support).write(partial)
    if (support / GENERATION_FILE).is_file():
        shutil.copyfile(support / GENERATION_FILE, partial / GENERATION_FILE)
    partial.replace(path)


def check_shapes(state: Mapping[str, Tensor], config: StockConfig) -> None:
    """Raises InvalidModel: names or shapes are not those of such a network."""
    shapes = stock_shapes(config)
    if wrong := sorted(state.keys() ^ shapes.keys()):
        raise InvalidModel(
            f"weights and configuration disagree about {len(wrong)} names, first {wrong[0]}"
        )
    for name, shape in shapes.items():
        if (got := tuple(state[name].shape)) != shape:
            raise InvalidModel(f"{name} has shape {got}; expected {shape}")


def _made(config: StockConfig, dtype: torch.dtype) -> Any:
    """Drawn by chance, which nobody else's chance depends on."""
    try:
        with torch.random.fork_rng(devices=[]):
            network = library().AutoModelForCausalLM.from_config(
                _own_copy(config), dtype=dtype, trust_remote_code=False
            )
    except Exception as error:  # noqa: BLE001 - whatever the library makes of strange values
        raise InvalidModel(
            f"transformers cannot make a {config.family}: {shortly(error)}"
        ) from None
    _require_plain(network, config)
    return network


def _own_copy(config: StockConfig) -> Any:
    """The library writes into what it is given."""
    return copy.deepcopy(stock_of(config.fields))


def _require_plain(network: nn.Module, config: StockConfig) -> None:
    """Raises InvalidModel: numbers that were learned lie in a buffer, which no version of a run carries."""
    weights = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    if beside := sorted(network.state_dict().keys() - weights):
        raise InvalidModel(
            f"{config.family} keeps {beside[0]} beside its weights, where versions of a run do not reach it"
        )
