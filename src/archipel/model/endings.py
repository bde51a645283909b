"""Which ids end a completion, and how its makers sample a model: what a directory says beside its network.

Ends are read as `transformers` reads them:
generation_config.json counts where it names end tokens, else config.json; a tokenizer's own end token
is the last resort. Law: all of a directory's end tokens count, not only the first.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archipel.model.json_files import BadJsonFile, read_json_object

CONFIG_FILE, GENERATION_FILE = "config.json", "generation_config.json"
MAX_END_IDS = 16
"""As many as a run's pace holds; published models have up to seven."""

SAMPLING_FIELDS = (
    *(
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
    ),
    *("repetition_penalty", "no_repeat_ngram_size", "length_penalty", "num_beams", "penalty_alpha"),
)
"""What generation_config.json may say of drawing tokens; lengths and caches are the reader's business."""


def ids_of(value: Any) -> tuple[int, ...]:
    """An `eos_token_id` as a tuple: it is written as nothing, one number, or a list.

    Raises:
        BadJsonFile: something else.
    """
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if len(listed) > MAX_END_IDS or not all(type(each) is int and each >= 0 for each in listed):
        raise BadJsonFile(
            f"eos_token_id is {value!r:.60}; expected an id or a list of at most {MAX_END_IDS} ids"
        )
    return tuple(dict.fromkeys(listed))


def read_end_ids(path: Path, config: Mapping[str, Any]) -> tuple[int, ...]:
    """The end ids of the model directory `path`, whose config.json holds `config`; () for none.

    Raises:
        BadJsonFile: generation_config.json or an `eos_token_id` is malformed.
    """
    generation = path / GENERATION_FILE
    if generation.is_file() and (named := ids_of(read_json_object(generation).get("eos_token_id"))):
        return named
    return ids_of(config.get("eos_token_id"))


def read_sampling_defaults(path: Path) -> tuple[tuple[str, float], ...]:
    """The fields of `SAMPLING_FIELDS` that generation_config.json sets, numbers and truth values as they are.

    Raises:
        BadJsonFile: the file is malformed, or a field is set to something else.
    """
    generation = path / GENERATION_FILE
    fields = read_json_object(generation) if generation.is_file() else {}
    named = {name: fields[name] for name in SAMPLING_FIELDS if fields.get(name) is not None}
    for name, value in named.items():
        is_number = type(value) in (bool, int) or (type(value) is float and math.isfinite(value))
        if not is_number:
            raise BadJsonFile(f"{generation}: {name} is {value!r:.60}; expected a number")
    return tuple(named.items())
