"""What a refused recipe says: words of a recipe file, none of the library that reads it."""

import pytest

from archipel.records.recipe import Recipe, parse_recipe, recipe_from_canonical
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


def _refusal(text: str) -> str:
    with pytest.raises(InvalidRecipe) as fault:
        parse_recipe(text)
    return str(fault.value)


PLAIN = '[run]\nname = "r"\nversions = 2\n[environment]\nname = "e"\n'
WRITTEN = {
    "string": '"1"',
    "integer": "1",
    "number": "1.0",
    "boolean": "true",
    "date": "1979-05-27",
    "array": "[[1]]",
}
"""A value of each type of TOML."""
FITS = {"number": {"number", "integer"}}


def _keys() -> list[tuple[str, str, str]]:
    """(section, key, JSON type) of every key of a recipe that has one type."""
    schema = Recipe.model_json_schema()
    found = []
    for name, form in schema["properties"].items():
        ref = form.get("$ref") or form["anyOf"][0]["$ref"]
        for key, told in schema["$defs"][ref.rpartition("/")[2]]["properties"].items():
            kinds = [each["type"] for each in told.get("anyOf", [told]) if each["type"] != "null"]
            found += [(name, key, kind) for kind in kinds if kind != "object"]
    return found


def test_every_key_takes_its_own_type_alone_and_says_what_it_got_and_expected():
    keys = _keys()
    assert len(keys) > 90
    for section, key, kind in keys:
        for other in WRITTEN.keys() - FITS.get(kind, {kind}):
            head = PLAIN if section not in ("run", "environment") else ""
            said = _refusal(f"{head}[{section}]\n{key} = {WRITTEN[other]}\n")
            mine = [each for each in said.split("; ") if each.startswith(f"{section}.{key}: got ")]
            assert len(mine) == 1, (section, key, other, said)
            assert "expected " in mine[0], said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[adapter]\nrank = true", "adapter.rank: got true, expected an integer"),
        ("[adapter]\nrank = 2.0", "adapter.rank: got 2.0, expected an integer"),
        (
            '[memory]\nrecompute_layers = "yes"',
            "memory.recompute_layers: got 'yes', expected true or false",
        ),
        ('[sampling]\nstop = ["a", 1]', "sampling.stop.1: got 1, expected a string"),
        ('[sampling]\nstop = "a"', "sampling.stop: got 'a', expected a list"),
        (
            "parameters = { a = 1979-05-27 }",
            "environment.parameters.a: got 1979-05-27, expected a string, an integer, a finite float or true or false",
        ),
        (
            '[algorithm]\npart_weights = { a = "1" }',
            "algorithm.part_weights.a: got '1', expected a float or an integer",
        ),
        ("[[sampling]]\ntop_k = 3", "sampling: got [a table], expected a table"),
        (
            "[adapter]\nalpha = -1",
            "adapter.alpha: got -1, expected a number greater than or equal to 0.000001",
        ),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_sentence(text, said):
    assert _refusal(PLAIN + text) == said


def test_a_whole_number_may_stand_for_a_float_and_is_the_same_recipe():
    one, other = (parse_recipe(f"{PLAIN}[adapter]\nalpha = {each}") for each in ("8", "8.0"))
    assert one.digest == other.digest
    typed = parse_recipe(PLAIN + 'parameters = { a = 1, b = 1.0, c = true, d = "1" }')
    assert [type(each) for each in typed.environment.parameters.values()] == [int, float, bool, str]


def test_a_stop_string_that_allowed_characters_cannot_write_is_refused_and_an_old_run_still_read():
    told = '[sampling]\nstop = ["1;", "END"]\nallowed = "0123;"'
    assert _refusal(PLAIN + told) == (
        "sampling.stop: 'END' has 'E', which sampling.allowed has not, so that nothing can ever end there; allow it, or "
        "remove the stop string"
    )
    parse_recipe(PLAIN + told.replace(', "END"', ""))
    sections = {"stop": ("END",), "allowed": "0123"}
    base = {"run": {"name": "r", "versions": 1}, "environment": {"name": "e"}}
    old = Recipe.model_validate(base | {"sampling": sections})
    assert recipe_from_canonical(old.canonical_bytes()).sampling.stop == ("END",)
