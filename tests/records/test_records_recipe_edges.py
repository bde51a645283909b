"""What a recipe means when it says nothing, and how large and how uneven it may be."""

import pytest

from archipel.records import prompts
from archipel.records import recipe_form as recipes
from archipel.records.canonical import parse_canonical, sha256_digest
from archipel.records.programmes import parse_any
from archipel.records.recipe import (
    Recipe,
    SamplingSection,
    parse_recipe,
    recipe_from_canonical,
)
from archipel.records.recipe_form import InvalidRecipe

SMALLEST = '[run]\nname = "r"\nversions = 2\n[environment]\nname = "e"\n'


def test_recipes_have_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SMALLEST + "# é"
    data = parse_recipe(text).canonical_bytes()
    for name, size, read, given in (
        ("MAX_RECIPE_BYTES", len(text.encode()), parse_recipe, text),
        ("MAX_CANONICAL_BYTES", len(data), recipe_from_canonical, data),
    ):
        monkeypatch.setattr(recipes, name, size)
        assert read(given).run.name == "r"
        monkeypatch.setattr(recipes, name, size - 1)
        with pytest.raises(InvalidRecipe, match=f"larger than {size - 1} bytes"):
            read(given)


def test_as_many_minibatches_as_groups_and_heads_that_divide_are_fit() -> None:
    base = {
        "run": {"name": "r", "versions": 1, "groups_per_update": 4},
        "environment": {"name": "e"},
    }
    for section, values, is_fit in (
        ("optimiser", {"minibatches": 4}, True),
        ("optimiser", {"minibatches": 5}, False),
        ("model", {"num_heads": 6, "num_kv_heads": 3}, True),
        ("model", {"num_heads": 6, "num_kv_heads": 4}, False),
    ):
        try:
            Recipe.model_validate(base | {section: values})
        except ValueError:
            assert not is_fit, (section, values)
        else:
            assert is_fit, (section, values)


def test_a_digest_is_that_of_the_canonical_bytes_and_floats_stand_as_text() -> None:
    recipe = Recipe.model_validate(
        {
            "run": {"name": "r", "versions": 2},
            "environment": {"name": "e", "parameters": {"f": 0.5, "i": 1, "t": "0.5", "b": True}},
        }
    )
    assert recipe.digest == sha256_digest(recipe.canonical_bytes())
    values = parse_canonical(recipe.canonical_bytes())
    assert values["environment"]["parameters"] == {
        "f": {"float": "0.5"}, "i": 1, "t": "0.5", "b": True,
    }  # fmt: skip
    assert values["loss"]["clip_low"] == "0.2"


def test_the_largest_recipe_fits_its_canonical_bound() -> None:
    room = recipes.MAX_RECIPE_BYTES - len(SMALLEST) - len("[environment.parameters]\n")
    lines = [f"p{number}=.5\n" for number in range(room // 10)]
    text = SMALLEST + "[environment.parameters]\n" + "".join(lines).replace("=.5", "=1e0")
    text = text[: recipes.MAX_RECIPE_BYTES].rpartition("\n")[0]
    recipe = parse_recipe(text)
    assert recipe_from_canonical(recipe.canonical_bytes()) == recipe.by_variant(None)


def test_a_canonical_recipe_with_a_fault_names_its_key() -> None:
    with pytest.raises(InvalidRecipe, match="run: Field required"):
        recipe_from_canonical(b'{"environment":{"name":"e","parameters":{}}}')


def test_a_prompt_may_be_as_long_as_a_completion() -> None:
    sampling = {"max_new_tokens": prompts.MAX_PROMPT_TOKENS}
    assert SamplingSection.model_validate(sampling)
    with pytest.raises(ValueError, match="max_new_tokens"):
        SamplingSection.model_validate({"max_new_tokens": prompts.MAX_PROMPT_TOKENS + 1})


DEFAULTS = {
    "run": {
        "groups_per_update": 32,
        "group_size": 8,
        "max_staleness": 1,
        "seed": 0,
        "anchor_every": 20,
    },
    "environment": {"parameters": {}, "secret": None, "time_limit_s": 5.0},
    "model": {
        "family": "llama",
        "hidden_size": 128,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 4,
        "head_dim": None,
        "intermediate_size": 352,
        "max_position_embeddings": 256,
        "tie_embeddings": True,
        "rope_theta": 10000.0,
        "tokenizer": "characters",
    },
    "sampling": {"max_new_tokens": 64, "temperature": 1.0},
    "algorithm": {"name": "grpo", "scale_by_std": False},
    "loss": {
        "name": "trust_region",
        "clip_low": 0.2,
        "clip_high": 0.28,
        "ratio_cap": 2.0,
        "cispo_low": 0.0,
        "cispo_high": 4.0,
        "trust_delta": 0.2,
        "kl_coefficient": 0.001,
    },
    "optimiser": {
        "learning_rate": 1e-06,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-08,
        "weight_decay": 0.0,
        "warmup_steps": 5,
        "schedule": "constant",
        "final_fraction": 0.0,
        "clip_norm": 1.0,
        "minibatches": 1,
        "micro_batch_tokens": 16384,
    },
    "evaluation": {"every": 20, "num_tasks": 256, "samples_per_task": 1},
    "supervised": {
        "steps": 600,
        "batch_size": 128,
        "learning_rate": 0.003,
        "beta1": 0.9,
        "beta2": 0.98,
        "weight_decay": 0.01,
        "warmup_steps": 20,
        "decay_steps": 80,
        "gate": None,
        "clip_norm": 1.0,
    },
    "lease": {
        "min_deadline_s": 30.0,
        "slack": 4.0,
        "update_deadline_s": 600.0,
        "max_groups": 64,
        "price_micro": 1000,
    },
}


@pytest.mark.parametrize("section", DEFAULTS)
def test_a_recipe_that_is_silent_means_what_it_always_meant(section: str) -> None:
    """Defaults are part of what a recipe says; to change one is to change every recipe."""
    recipe = parse_recipe(SMALLEST + "[supervised]\n")
    assert (
        getattr(recipe, section).model_dump()
        == getattr(recipe, section).model_dump() | (DEFAULTS[section])
    )


@pytest.mark.parametrize("spoilt", ["x = " + "9" * 5000, "x = " + "[" * 3000, "\ud800"])
def test_text_that_brings_a_parser_down_is_no_recipe(spoilt: str) -> None:
    for read in (parse_recipe, parse_any):
        with pytest.raises(InvalidRecipe):
            read(spoilt)
