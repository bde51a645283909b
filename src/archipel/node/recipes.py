"""A run's recipe as its lab keeps it: believed if its bytes have the digest that the operator signed."""

from archipel.node.client import LabReader
from archipel.node.exchange import Bounds, LabRefused
from archipel.records.canonical import sha256_digest
from archipel.records.programmes import any_from_canonical
from archipel.records.recipe_alarms import AlarmSection
from archipel.records.recipe_form import MAX_CANONICAL_BYTES, InvalidRecipe, RecipeForm
from archipel.records.statements import RunOpened


async def recipe_of(lab: LabReader, opened: RunOpened) -> RecipeForm | None:
    """The recipe; None where the lab keeps it no more, or this software cannot read it.

    Raises:
        LabUnreachable: from the lab.
    """
    digest = opened.recipe.digest
    try:
        data = await lab.get_bytes(f"/blobs/{digest}", Bounds(max_bytes=MAX_CANONICAL_BYTES))
        return any_from_canonical(data) if sha256_digest(data) == digest else None
    except (LabRefused, InvalidRecipe):
        return None


def alarms_of(recipe: RecipeForm | None) -> AlarmSection:
    """The bounds of its alarms; the defaults where it says nothing of them."""
    bounds = getattr(recipe, "alarms", None)
    return bounds if isinstance(bounds, AlarmSection) else AlarmSection()
