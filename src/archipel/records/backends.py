"""Who computes a run's model, by name, for those who pass it on without computing."""

from typing import Annotated, Literal, get_args

from pydantic import Field

Backend = Literal["archipel", "transformers"]
"""This software's own networks, whose sampling is batch-invariant; or whatever the library `transformers` makes."""
Foreign = Literal["transformers"]
"""Those of another's making: what sampling gives may depend, in the last bits, on what else is sampled."""
OWN_ENGINE = "archipel"
"""What a node states that samples with one engine of this software; `engine_words` for others."""
FOREIGN: tuple[str, ...] = get_args(Foreign)
BackendName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
BackendNames = Annotated[tuple[BackendName, ...], Field(min_length=1, max_length=8)]
"""As nodes state them, known here or not."""


def engine_words(name: str, count: int) -> str:
    """What a node states of its engine, or of so many of them side by side."""
    return name if count == 1 else f"{count} x {name}"
