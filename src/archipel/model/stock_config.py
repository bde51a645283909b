"""What a model directory says of a network that the library `transformers` computes, whatever its family.

Parts: `StockConfig`, `read_stock_config`. Laws: no code from a
directory is ever run, and the library opens no file of it here: it is handed what was read within bounds; loads no
tensor library of its own accord.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from archipel.model.config_files import InvalidModel, quantised_fault, what_is_there
from archipel.model.endings import CONFIG_FILE, ids_of, read_end_ids
from archipel.model.json_files import BadJsonFile, read_json_object
from archipel.model.stock_library import NotInstalled, has_class, library, shortly
from archipel.model.weight_files import INDEX_FILE, SINGLE_FILE, num_weights

MAX_VOCABULARY = 2**24
"""As a run's pace bounds it."""
UNBOUNDED = 1_048_576
"""Positions of a network that names no limit, such as one without position embeddings."""
_HOW = frozenset({"attn_implementation", "experts_implementation", "dtype", "torch_dtype"})
"""How somebody computed it: here that is our choice, and a name in its place may mean code from elsewhere."""
MAX_PARTS = 4096
"""Experts, labels and the like that a configuration may count: the library lists them before anything is built."""
MAX_LAYERS = 512
"""As many as our own families may have: the library builds every layer to tell what its weights are called."""
_PARTS = re.compile(
    r"^(?!.*(?:size|dim|width|rank|scale|eps)).*(?:layer|expert|block|labels|attention_types)"
)
_LAYERS = re.compile(r"layer|attention_types|num_blocks")
"""Which of these count layers, or number them."""
_REFUSED = {
    "transformers_weights": "weights are read from model.safetensors or its index alone; remove the key",
    "compression_config": "compressed weights cannot be trained; bring them as float32, float16 or bfloat16",
}


@dataclass(frozen=True)
class StockConfig:
    """One causal model of `transformers`, and what runs must know of it."""

    fields: str
    """config.json as canonical JSON text; the library reads its architecture from nothing else."""
    vocab_size: int
    max_position_embeddings: int
    """The context: prompt and completion together, in tokens."""
    eos_token_ids: tuple[int, ...] = ()
    num_weights: int = field(default=0, compare=False)
    """Numbers in its weight files; 0: they are not at hand."""

    @property
    def family(self) -> str:
        """Its `model_type`."""
        return str(self.to_hf()["model_type"])

    @property
    def logits_scaling(self) -> float:
        """What its logits are still to be divided by: the library's network did what there was to do."""
        return 1.0

    @property
    def experts(self) -> None:
        """Of experts nothing is told, or taken again: the library's network chooses for itself."""
        return None

    def to_hf(self) -> dict[str, Any]:
        """The contents of config.json."""
        fields: dict[str, Any] = json.loads(self.fields)
        return fields

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any]) -> "StockConfig":
        """Ask the library what the contents of a config.json mean.

        Raises:
            InvalidModel: the library is not installed, does not know the architecture as a causal model, or
                would need code from the directory; or the weights are none that can be trained.
        """
        text = json.dumps(dict(fields), sort_keys=True)
        stock = stock_of(text)
        inner = stock.get_text_config()
        vocabulary = _number(inner, "vocab_size", None, MAX_VOCABULARY)
        context = _number(inner, "max_position_embeddings", UNBOUNDED, UNBOUNDED)
        return cls(text, vocabulary, context, _ends(fields))


def read_stock_config(path: Path) -> StockConfig:
    """Read config.json of a model directory, and generation_config.json's end tokens.

    Raises:
        InvalidModel: no such file, or one that `StockConfig.from_hf` refuses.
    """
    file = path / CONFIG_FILE
    if not file.is_file():
        raise InvalidModel(f"{path} has no {CONFIG_FILE}: {what_is_there(path)}")
    try:
        fields = read_json_object(file)
        ends = read_end_ids(path, fields)
        config = StockConfig.from_hf(fields)
    except BadJsonFile as error:
        raise InvalidModel(f"{path}: {error}") from None
    except InvalidModel as error:
        raise InvalidModel(f"{file}: {error}") from None
    has_weights = (path / SINGLE_FILE).is_file() or (path / INDEX_FILE).is_file()
    return replace(config, eos_token_ids=ends, num_weights=num_weights(path) if has_weights else 0)


@functools.lru_cache(maxsize=16)
def stock_of(fields: str) -> Any:
    """The library's own configuration object of these contents of a config.json.

    Raises:
        InvalidModel: see `StockConfig.from_hf`.
    """
    given = json.loads(fields)
    if (fault := quantised_fault(given)) is not None:
        raise InvalidModel(fault)
    for key, why in _REFUSED.items():
        if given.get(key) is not None:
            raise InvalidModel(f"{key} is set, and {why}")
    if given.get("is_encoder_decoder"):
        raise InvalidModel("is_encoder_decoder is true; only causal models are trained")
    _require_few_parts(given)
    try:
        known, name = library(), given.get("model_type")
    except NotInstalled as error:
        raise InvalidModel(str(error)) from None
    version = known.__version__
    if not isinstance(name, str) or name not in known.CONFIG_MAPPING:
        of_its_own = " (its own code, which auto_map names, is never run)"
        raise InvalidModel(
            f"model_type is {name!r:.60}, which neither this software nor transformers {version} computes"
            + (of_its_own if given.get("auto_map") else "")
        )
    try:
        stock = known.CONFIG_MAPPING[name].from_dict(_what(given))
        is_causal = type(stock) in known.MODEL_FOR_CAUSAL_LM_MAPPING
    except Exception as error:  # noqa: BLE001 - whatever a configuration class makes of strange values
        raise InvalidModel(f"transformers {version} cannot read it: {shortly(error)}") from None
    if others := [each for each in given.get("architectures") or () if not has_class(each)]:
        raise InvalidModel(
            f"architectures names {others[0]!r:.60}, which transformers {version} has not; code from a directory is "
            "never run"
        )
    if not is_causal:
        raise InvalidModel(
            f"model_type is {name!r:.60}, which transformers {version} knows, but not as a causal model"
        )
    return stock


def _require_few_parts(fields: Any) -> None:
    nested = (
        fields.values() if isinstance(fields, dict) else fields if isinstance(fields, list) else ()
    )
    for each in nested:
        _require_few_parts(each)
    for key, value in fields.items() if isinstance(fields, dict) else ():
        limit = MAX_LAYERS if _LAYERS.search(key) else MAX_PARTS
        if _PARTS.match(key) and (most := _most(value)) > limit:
            raise InvalidModel(f"{key} is {most}; the limit is {limit}")


def _most(value: Any) -> int:
    """The greatest whole number of a value, in lists at any depth; 0: there is none."""
    if isinstance(value, list):
        return max(map(_most, value), default=0)
    return value if type(value) is int else 0


def _ends(fields: Mapping[str, Any]) -> tuple[int, ...]:
    try:
        return ids_of(fields.get("eos_token_id"))
    except BadJsonFile as error:
        raise InvalidModel(str(error)) from None


def _what(fields: Any) -> Any:
    """The contents of a config.json without how it was computed, at any depth."""
    if isinstance(fields, list):
        return [_what(each) for each in fields]
    if not isinstance(fields, dict):
        return fields
    return {key: _what(value) for key, value in fields.items() if _plain(key) not in _HOW}


def _plain(key: str) -> str:
    return key.lstrip("_").removesuffix("_internal").removesuffix("_autoset")


def _number(stock: Any, name: str, otherwise: int | None, most: int) -> int:
    value = getattr(stock, name, None)
    value = otherwise if value is None else value
    if type(value) is not int or not value >= 1:
        raise InvalidModel(f"{name} is {value!r:.40}; expected a number from 1 on")
    if otherwise is None and value > most:
        raise InvalidModel(f"{name} is {value}; the limit is {most}")
    return min(value, most)
