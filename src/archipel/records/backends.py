"""Who computes a run's model, by name, for those who pass it on without computing."""

from typing import Annotated, Literal, get_args

from pydantic import Field

Backend = Literal["archipel", "transformers"]
"""This software's own networks, whose sampling is batch-invariant; or whatever the library `transformers` makes."""
Foreign = Literal["transformers"]
"""Those of another's making: what sampling gives may depend, in the last bits, on what else is sampled."""
FOREIGN: tuple[str, ...] = get_args(Foreign)
BackendName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
BackendNames = Annotated[tuple[BackendName, ...], Field(min_length=1, max_length=8)]
"""As nodes state them, known here or not."""
