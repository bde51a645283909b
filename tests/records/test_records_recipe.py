"""Recipes: closed, total, and the same recipe after any journey."""

import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.records.programmes import rl
from archipel.records.recipe import Recipe, parse_recipe, recipe_from_canonical
from archipel.records.recipe_form import MAX_RECIPE_BYTES, InvalidRecipe
from archipel.records.terms import Vocabulary

SMALLEST = '[run]\nname = "r"\nversions = 2\n[environment]\nname = "e"\n'

parameters = st.dictionaries(
    st.text("abcdefgh_", min_size=1, max_size=6),
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    max_size=5,
)


@given(parameters, st.floats(1e-12, 1.0), st.integers(0, 2**53 - 1))
def test_a_recipe_is_the_same_after_its_journey_as_canonical_bytes(
    settings: dict, learning_rate: float, seed: int
) -> None:
    recipe = Recipe.model_validate(
        {
            "run": {"name": "r", "versions": 2, "seed": seed},
            "environment": {"name": "e", "parameters": settings},
            "optimiser": {"learning_rate": learning_rate},
        }
    )
    back = recipe_from_canonical(recipe.canonical_bytes())
    assert back == recipe.by_variant(None)
    assert back.digest == recipe.digest
    for key, value in recipe.environment.parameters.items():
        assert type(back.environment.parameters[key]) is type(value)


def test_comments_and_layout_do_not_change_the_digest_and_every_value_does() -> None:
    same = parse_recipe("# a note\n" + SMALLEST.replace("\n", "\n\n"))
    assert same.digest == parse_recipe(SMALLEST).digest
    other = parse_recipe(SMALLEST + "[loss]\nclip_low = 0.21\n")
    assert other.digest != same.digest


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SMALLEST + "[loss]\nclip_lo = 0.2\n", "loss.clip_lo: unknown key"),
        (SMALLEST + "[nowhere]\n", "nowhere: unknown key"),
        (SMALLEST.replace("versions = 2", "versions = 0"), "run.versions"),
        (SMALLEST.replace("versions = 2\n", ""), "run.versions"),
        (SMALLEST.replace('"r"', '"R!"'), "run.name"),
        (SMALLEST + "[optimiser]\nlearning_rate = -1.0\n", "optimiser.learning_rate"),
        (SMALLEST + "[optimiser]\nlearning_rate = inf\n", "optimiser.learning_rate"),
        (SMALLEST + "[optimiser]\nminibatches = 64\n", "optimiser.minibatches is 64"),
        (SMALLEST + "[model]\nnum_heads = 4\nnum_kv_heads = 3\n", "num_kv_heads = 3"),
        (SMALLEST + "parameters = { a = nan }\n", "parameters.a"),
        (SMALLEST + 'parameters = { "ä" = 1 }\n', "ASCII"),
        (SMALLEST + "parameters = { a = 9007199254740992 }\n", "2^53"),
        (SMALLEST + "parameters = { a = [1] }\n", "parameters.a"),
        (SMALLEST + "[lease]\nmin_deadline_s = 0.01\n", "lease.min_deadline_s"),
        (SMALLEST + "[lease]\nmax_groups = 4096\n", "lease.max_groups"),
        ("[run\n", "not valid TOML"),
        ("#" * (MAX_RECIPE_BYTES + 1), "larger than"),
    ],
)
def test_a_fault_is_named_by_its_key(text: str, named: str) -> None:
    with pytest.raises(InvalidRecipe, match=re.escape(named)):
        parse_recipe(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"environment":1}',
        b'{"environment":{"name":"e","parameters":{"a":{"float":"x"}}}}',
        b'{"environment":{"name":"e","parameters":{"a":{"floaty":"1"}}}}',
        b"[" * 100_000,
        b"\xff",
        b" " * 10**6,
    ],
)
def test_bytes_that_are_no_recipe_are_refused_by_one_name(data: bytes) -> None:
    with pytest.raises(InvalidRecipe):
        recipe_from_canonical(data)


@pytest.mark.parametrize("recipe", ["secret-order", "reasoning-gym", "gsm8k"])
def test_every_shipped_recipe_can_pace_a_lab(recipe: str) -> None:
    text = files("archipel").joinpath(f"recipes/{recipe}.toml").read_text()
    pace = rl.WORDS.pace_of(parse_recipe(text), Vocabulary(64, (2,)))
    assert pace.group_size >= 2
    assert rl.WORDS.terms_of(parse_recipe(text)).versions >= 1


@given(
    st.integers(1, 10**6),
    st.integers(1, 65_536),
    st.integers(0, 64),
    st.floats(0.1, 86_400.0),
    st.floats(1e-6, 10.0),
)
def test_every_valid_recipe_can_pace_a_lab(
    versions: int, batch: int, staleness: int, deadline_s: float, temperature: float
) -> None:
    recipe = Recipe.model_validate(
        {
            "run": {
                "name": "r",
                "versions": versions,
                "groups_per_update": batch,
                "max_staleness": staleness,
            },
            "environment": {"name": "e"},
            "lease": {"min_deadline_s": deadline_s, "update_deadline_s": deadline_s},
            "sampling": {"temperature": temperature},
        }
    )
    assert rl.WORDS.pace_of(recipe, Vocabulary(64, ())).min_deadline_ms >= 100


def sampling(temperature: float) -> Recipe:
    return Recipe.model_validate(
        {
            "run": {"name": "r", "versions": 1},
            "environment": {"name": "e"},
            "sampling": {"temperature": temperature},
        }
    )


@given(st.floats(1e-6, 10.0))
def test_both_sides_of_a_run_compute_with_one_and_the_same_temperature(temperature: float) -> None:
    recipe = sampling(temperature)
    pace = rl.WORDS.pace_of(recipe, Vocabulary(64, ()))
    assert isinstance(pace, rl.RlPace)
    assert pace.temperature_micro / 1e6 == recipe.sampling.temperature
    assert recipe_from_canonical(recipe.canonical_bytes()) == recipe.by_variant(None)
    assert abs(recipe.sampling.temperature - temperature) <= 0.5e-6 + 1e-15


@pytest.mark.parametrize("temperature", [0.0, 4e-7, -1.0, 10.1])
def test_a_temperature_that_cannot_travel_is_refused_in_a_sentence(temperature: float) -> None:
    text = f"[run]\nname='r'\nversions=1\n[environment]\nname='e'\n[sampling]\ntemperature={temperature}"
    with pytest.raises(InvalidRecipe, match=r"sampling\.temperature: got .*, expected a number "):
        parse_recipe(text)


def test_files_are_what_a_parameter_called_path_says() -> None:
    parameters = {"path": "a", "test_path": "/b", "pathway": "c", "far_path": 3, "other_path": ""}
    section = {"name": "jsonl", "parameters": parameters}
    recipe = Recipe.model_validate({"run": {"name": "r", "versions": 1}, "environment": section})
    assert recipe.data_paths == ("a", "/b")


ADAPTER = SMALLEST + "[adapter]\n"


def test_a_recipe_without_an_adapter_has_the_bytes_and_the_pace_of_older_ones() -> None:
    recipe = parse_recipe(SMALLEST)
    assert (
        recipe.digest == "sha256:d446fea66d76db0144e883932d267cad805c50aac4f3a48bdc0601c6cbce9ae0"
    )
    assert b"adapter" not in recipe.canonical_bytes()
    assert "adapter" not in rl.WORDS.pace_of(recipe, Vocabulary(9, (2,))).model_dump(mode="json")


def test_an_adapter_travels_in_the_recipe_and_its_form_in_the_pace() -> None:
    text = 'rank = 8\nalpha = 12.5\ntargets = ["v_proj", "q_proj"]\nrank_stabilised = true\n'
    recipe = parse_recipe(ADAPTER + text)
    back = recipe_from_canonical(recipe.canonical_bytes())
    assert (back.adapter, back.digest) == (recipe.adapter, recipe.digest)
    form = rl.WORDS.pace_of(recipe, Vocabulary(9, (2,))).adapter
    assert form == recipe.adapter.form
    assert form.targets == ("q_proj", "v_proj"), "one set of layers has one encoding"
    assert (form.scale, form.alpha) == (12.5 / 8**0.5, 12.5)
    assert str(form) == "rsLoRA of rank 8, alpha 12.5, on q_proj, v_proj"
    plain = parse_recipe(ADAPTER)
    assert plain.adapter.form.scale == 2.0
    assert plain.digest != parse_recipe(SMALLEST).digest


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rank = 0", "adapter.rank"),
        ("rank = 1025", "adapter.rank"),
        ("alpha = 0.0", "adapter.alpha"),
        ('targets = ["lm_head"]', "adapter.targets"),
        ("targets = []", "adapter.targets"),
        ('targets = ["q_proj", "q_proj"]', "name each once"),
        ("dropout = 0.1", "adapter.dropout: unknown key"),
    ],
)
def test_a_fault_in_an_adapter_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidRecipe, match=re.escape(named)):
        parse_recipe(ADAPTER + text)
