"""The programmes that a run may follow: one row each. What a programme is stands in its own file.

A further programme is a file here and one in `lab.programmes`, and a row in each of the two tables; its
kinds of work are rows of `records.kinds`.
"""

import json
import tomllib
from typing import TYPE_CHECKING, Any, TypeAlias

from archipel.records.programmes import door, pretrain, rl
from archipel.records.recipe_form import InvalidRecipe, RecipeForm, read_canonical, read_toml
from archipel.records.terms import AnyProgramme, RunPace
from archipel.records.words import one_of

WORDS: tuple[AnyProgramme, ...] = (rl.WORDS, pretrain.WORDS, door.WORDS)

WORDS_OF = {words.name: words for words in WORDS}
if len(WORDS_OF) != len(WORDS):
    raise TypeError("two programmes have the same name")

DEFAULT = rl.WORDS.name

if TYPE_CHECKING:
    Pace: TypeAlias = RunPace
else:
    Pace = one_of(tuple(words.pace for words in WORDS), by="programme")


def parse_any(text: str) -> RecipeForm:
    """Read the recipe of whatever programme its `run.programme` names.

    Raises:
        InvalidRecipe: not TOML, no such programme, or not a recipe of it.
    """
    try:
        sections = tomllib.loads(text)
    except (ValueError, RecursionError):  # TOML's own error is one; so is a number of 5,000 digits
        sections = {}  # said better below
    form: type[RecipeForm] = _named(sections).recipe
    return read_toml(text, form)


def any_from_canonical(data: bytes) -> RecipeForm:
    """Read back what `RecipeForm.canonical_bytes` of any programme wrote.

    Raises:
        InvalidRecipe: too large, not JSON, no such programme, or not a recipe of it.
    """
    try:
        sections = json.loads(data)
    except (ValueError, RecursionError):
        sections = {}
    form: type[RecipeForm] = _named(sections).recipe
    return read_canonical(data, form)


def _named(sections: Any) -> AnyProgramme:
    run = sections.get("run") if isinstance(sections, dict) else None
    name = run.get("programme", DEFAULT) if isinstance(run, dict) else DEFAULT
    if not isinstance(name, str) or name not in WORDS_OF:
        raise InvalidRecipe(f"run.programme is {name!r:.80}; expected one of {sorted(WORDS_OF)}")
    return WORDS_OF[name]
