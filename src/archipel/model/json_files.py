"""JSON objects of a model directory, read with a bound: the files come from outside."""

import json
from pathlib import Path
from typing import Any

MAX_CONFIG_BYTES = 1024 * 1024
"""Largest config.json or generation_config.json that is read."""


class BadJsonFile(ValueError):
    """The file is missing, too large, or not a JSON object."""


def read_json_object(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        BadJsonFile: no such file, larger than `max_bytes`, not JSON, or not an object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BadJsonFile(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > max_bytes:
        raise BadJsonFile(f"{path} is larger than {max_bytes} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadJsonFile(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadJsonFile(f"{path} holds {type(value).__name__}; expected an object")
    return value
