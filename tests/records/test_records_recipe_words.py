"""What a refused recipe says: words of a recipe file, none of the library that reads it."""

import pytest

from archipel.records.recipe import parse_recipe
from archipel.records.recipe_form import InvalidRecipe

HEAD = '[run]\nname = "r"\nversions = 2\n[environment]\nname = "guess"\n'


@pytest.mark.parametrize(
    "sections",
    [
        '[sampling]\nstop = "x"',
        '[sampling]\nstop = ["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"]',
        '[adapter]\ntargets = ["q"]',
        '[sampling]\nengine = "exact"\nvariant = "w7a8"\nallowed = "ab"',
        '[model]\nbackend = "transformers"\n[adapter]\nrank = 2',
    ],
)
def test_a_refusal_has_no_word_of_the_reader_and_no_dump_of_the_recipe(sections):
    with pytest.raises(InvalidRecipe) as fault:
        parse_recipe(HEAD + sections)
    for word in ("uple", "Value error", "after validation", "{", "not 0"):
        assert word not in str(fault.value)
