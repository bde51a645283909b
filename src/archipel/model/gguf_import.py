"""A GGUF file as a model directory: weights dequantised, tokenizer and chat template from the file.

Parts: `import_gguf`. Law: what the file says and the directory cannot is refused by name before anything is
written; what was written is read again, and its ids are those of the file.
"""

import hashlib
import mmap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.gguf_config import config_of, scaling_of
from archipel.model.gguf_header import BadGguf, Header, read_header
from archipel.model.gguf_tokenizer import tokenizer_of
from archipel.model.gguf_weights import ROPE_FACTORS, Tell, numbers_of, weights_of
from archipel.model.new_directory import require_free
from archipel.model.tokenizer import Tokenizer

_HASH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Imported:
    """What became a directory."""

    name: str | None
    """By the file's own words, like the licence."""
    licence: str | None
    sha256: str
    """Of the file."""
    parameters: int
    packings: dict[str, int]
    """How its tensors were quantised: kind -> how many."""
    config: DecoderConfig


def import_gguf(file: Path, out: Path, dtype: torch.dtype, tell: Tell) -> Imported:
    """Write the model in `file` to the new directory `out`, its weights as `dtype`.

    Raises:
        BadGguf: the file is malformed, or holds something that is not known here.
        NoDequantiser: its weights are quantised and the `gguf` library is not installed.
        FileExistsError, OSError: something is at `out`, or it cannot be written.
    """
    require_free(out)
    with file.open("rb") as opened:
        if not file.stat().st_size:
            raise BadGguf(f"{file} is empty; fetch it again")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                return _import(view, out, dtype, tell)
            except BadGguf as error:
                raise BadGguf(f"{file}: {error}") from None
            finally:
                view.release()


def read_gguf(view: memoryview) -> tuple[Header, DecoderConfig, Tokenizer]:
    """What a file says besides its weights.

    Raises:
        BadGguf: it is malformed, or holds something that is not known here.
    """
    header = read_header(view)
    embedding = header.tensors.get("token_embd.weight")
    tokenizer = tokenizer_of(header.facts, 0 if embedding is None else embedding.shape[0])
    special = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_ids": tokenizer.end_ids,
        "pad_token_id": tokenizer.pad_id,
    }
    config = config_of(header, special)
    factors = header.tensors.get(ROPE_FACTORS)
    if factors is not None:
        scaling = scaling_of(numbers_of(view, factors).float().numpy(), config)
        config = config_of(header, special | {"rope_scaling": scaling})
    return header, config, tokenizer


def _import(view: memoryview, out: Path, dtype: torch.dtype, tell: Tell) -> Imported:
    header, config, tokenizer = read_gguf(view)
    state = weights_of(view, header.tensors, config, dtype, tell)
    write_model(out, state, config, tokenizer, dtype=dtype)
    facts = header.facts
    return Imported(
        _text(facts.get("general.name")),
        _text(facts.get("general.license")),
        _digest(view),
        sum(values.numel() for values in state.values()),
        dict(Counter(each.packing.name for each in header.tensors.values())),
        config,
    )


def _digest(view: memoryview) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(view), _HASH_BYTES):
        digest.update(view[start : start + _HASH_BYTES])
    return digest.hexdigest()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
