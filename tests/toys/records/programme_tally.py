"""Tally: strangers add up numbers until enough was added."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Count
from archipel.records.recipe_form import RecipeForm, RunHeader
from archipel.records.terms import ProgrammeWords, RunPace, Terms, Vocabulary


class TallyHeader(RunHeader):
    """The run's own section."""

    programme: Literal["tally"]
    enough: Annotated[int, Field(ge=1, le=10**9)]
    price_micro: Annotated[int, Field(ge=0)] = 5


class TallyRecipe(RecipeForm):
    """A whole run."""

    run: TallyHeader


class TallyPace(RunPace):
    """When it is over."""

    programme: Literal["tally"] = "tally"
    enough: Count
    price_micro: Count


def _terms(recipe: TallyRecipe) -> Terms:
    return Terms(
        versions=1,
        evaluate_every=1,
        checkpoint_every=1,
        keep_versions=1,
        trusted_deadline_ms=60_000,
    )


def _pace(recipe: TallyRecipe, vocabulary: Vocabulary) -> TallyPace:
    return TallyPace(enough=recipe.run.enough, price_micro=recipe.run.price_micro)


WORDS = ProgrammeWords(recipe=TallyRecipe, pace=TallyPace, terms_of=_terms, pace_of=_pace)
