"""Who guesses tokens for a served model: nobody, its own text (`prompt`), or a small model in a directory."""

from pathlib import Path
from typing import Literal

import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.draft_model import DraftModel
from archipel.engine.fused import FusedDecoder
from archipel.engine.guessing import Drafter
from archipel.engine.lookup import LookUp
from archipel.engine.quantised.arithmetic import NotHeld, Weights, arithmetic_for
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_config, read_mapped
from archipel.model.tokenizer import Tokenizer
from archipel.serve.fitting import need

Draft = Literal["none", "prompt"] | Path
"""What to guess by."""


CACHE_SHARE = 4
"""A small model may have a cache of one part in so many of the large one's, beside it."""


def bytes_of(draft: Draft, weights: Weights, limits: EngineLimits) -> int:
    """Memory that guessing takes beside the model itself.

    Raises:
        InvalidModel: the small model cannot be used.
    """
    if not isinstance(draft, Path):
        return 0
    found = need(read_config(draft), weights, limits)
    return found.weights + limits.max_cache_bytes // CACHE_SHARE


def drafter_for(
    draft: Draft,
    model: Path,
    config: DecoderConfig,
    weights: Weights,
    device: torch.device,
    limits: EngineLimits,
) -> Drafter | None:
    """For the model of this directory; a small one's weights are held as its own.

    Raises:
        InvalidModel, InvalidTokenizer: the small model cannot be used, or has other tokens.
    """
    if not isinstance(draft, Path):
        return LookUp() if draft == "prompt" else None
    large, small = Tokenizer.from_directory(model), Tokenizer.from_directory(draft)
    if not small.has_the_tokens_of(large):
        raise InvalidModel(
            f"{draft} has other tokens than {model}, so it can guess none; expected a smaller model of the same "
            "family, or --draft prompt"
        )
    try:
        numbers = arithmetic_for(weights, read_config(draft), device)
    except NotHeld as error:
        raise InvalidModel(f"{draft}: {error}") from None
    decoder = FusedDecoder(numbers.config, read_mapped(draft), numbers)
    return DraftModel(decoder, config, limits.max_cache_bytes // CACHE_SHARE)
