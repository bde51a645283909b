"""Which tensors a payload is about: their names and shapes, within bounds, under one digest.

Law: both sides know the table from the manifest of the version; only its digest travels.
"""

import hashlib
import math
import re
from collections.abc import Mapping

from archipel.records.canonical import canonical_json

Shapes = Mapping[str, tuple[int, ...]]
"""Names -> shapes of the weights."""

MAX_TENSORS = 65_536
MAX_RANK = 4
MAX_VALUES = 2**37
"""Of all tensors together: 256 GiB of weights in two bytes each."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")


class BadTable(ValueError):
    """Names or shapes that no version of weights has."""


def num_values(shape: tuple[int, ...]) -> int:
    """How many values a tensor of this shape has."""
    return math.prod(shape)


def checked(shapes: Shapes) -> Shapes:
    """The same, once it is known to be within the bounds.

    Raises:
        BadTable: too many tensors, dimensions or values, or a name that no tensor has.
    """
    if not 1 <= len(shapes) <= MAX_TENSORS:
        raise BadTable(f"{len(shapes)} tensors, expected 1 to {MAX_TENSORS}")
    for name, shape in shapes.items():
        if _NAME.fullmatch(name) is None:
            raise BadTable(f"{name!r:.60} is no name of a tensor: letters, digits, _ and . alone")
        if len(shape) > MAX_RANK or any(length < 1 for length in shape):
            raise BadTable(f"tensor {name} is {shape!r:.60}, expected {MAX_RANK} lengths above 0")
    total = sum(map(num_values, shapes.values()))
    if total > MAX_VALUES:
        raise BadTable(f"{total} values, expected at most {MAX_VALUES}")
    return shapes


def table_digest(shapes: Shapes) -> bytes:
    """SHA-256 of the canonical JSON of [name, shape] in the order of names, 32 bytes."""
    table = [[name, list(shapes[name])] for name in sorted(shapes)]
    return hashlib.sha256(canonical_json(table)).digest()
