"""`made.json`: what a model directory was made from by `archipel sft`, so that a stranger makes it again.

Laws: closed, canonical JSON, bounded; it is its maker's word, and whoever makes the weights again needs none of it.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.fields import Closed, Count, Digest
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.recipe_form import MAX_CANONICAL_BYTES

NAME: Final = "made.json"
MAX_MADE_BYTES = 2 * MAX_CANONICAL_BYTES


class Made(Closed):
    """Of weights that a supervised stage ended with."""

    form: Literal[1] = 1
    recipe: Annotated[str, Field(max_length=MAX_CANONICAL_BYTES)]
    """As its canonical JSON, the run's seed in it."""
    first_example: Count
    """Where its data began."""
    began: Digest | None
    """State digest of the weights that it began with; None: random ones, which follow from the seed."""
    weights: Digest
    """State digest of what came out, in bf16."""
    software: Annotated[str, Field(max_length=64)]
    machine: Annotated[str, Field(max_length=200)]
    """Class of the machine: sums of floats may come out otherwise on another; empty: not said."""
    threads: Annotated[int, Field(ge=1, le=1024)]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    def followed(self) -> Recipe:
        """The recipe.

        Raises:
            InvalidRecipe: it is none of this software's.
        """
        return recipe_from_canonical(self.recipe.encode())


def read_made(data: bytes) -> Made:
    """What `to_bytes` wrote.

    Raises:
        ValueError: it is no such file; the message names the fault (pydantic's ValidationError and NotCanonical are
            ValueErrors).
    """
    if len(data) > MAX_MADE_BYTES:
        raise ValueError(f"{NAME} has {len(data)} bytes; at most {MAX_MADE_BYTES}")
    parse_canonical(data)
    return Made.model_validate_json(data)
