"""A door for foreign bytes, as the fuzzer knows it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reader:
    """One door for foreign bytes."""

    read: Callable[[bytes], object]
    specimens: tuple[bytes, ...]
    errors: tuple[type[Exception], ...]
    """What its docstring promises; nothing else may come out."""
