"""A recipe of any programme: named by its run, translated into terms and pace, and read back."""

import pytest

from archipel.records import programmes
from archipel.records.programmes import any_from_canonical, parse_any, rl
from archipel.records.recipe import Recipe, parse_recipe
from archipel.records.recipe_form import InvalidRecipe, RecipeForm, RunHeader
from archipel.records.requests import (
    MAX_ROLLOUTS,
    MAX_STOPS,
    MAX_TEMPERATURE,
    InvalidRequest,
    Request,
)
from archipel.records.terms import Terms, Vocabulary

RECIPE = """
[run]
name = "r"
versions = 7
groups_per_update = 5
group_size = 3
max_staleness = 2
seed = 11
checkpoint_every = 13
keep_versions = 17
[environment]
name = "e"
secret = "word"
[sampling]
max_new_tokens = 19
temperature = 0.75
[evaluation]
every = 23
[lease]
min_deadline_s = 1.5
slack = 2.5
update_deadline_s = 29.25
max_groups = 31
price_micro = 37
"""


def test_a_recipe_s_terms_are_what_it_says_in_the_lab_s_units() -> None:
    assert rl.WORDS.terms_of(parse_recipe(RECIPE)) == Terms(
        versions=7,
        evaluate_every=23,
        checkpoint_every=13,
        keep_versions=17,
        trusted_deadline_ms=29_250,
    )


def test_a_recipe_s_pace_is_what_it_says_in_the_lab_s_units() -> None:
    pace = rl.WORDS.pace_of(parse_recipe(RECIPE), Vocabulary(64, (2, 3)))
    assert pace == rl.RlPace(
        groups_per_update=5,
        group_size=3,
        max_staleness=2,
        seed=11,
        vocab_size=64,
        max_new_tokens=19,
        temperature_micro=750_000,
        stop_tokens=(2, 3),
        max_groups_per_lease=31,
        min_deadline_ms=1500,
        slack_milli=2500,
        price_micro=37,
    )
    assert pace.programme == rl.WORDS.name == programmes.DEFAULT == "rl"


def test_a_recipe_names_its_programme_or_means_reinforcement_learning() -> None:
    named = parse_any(RECIPE.replace("[run]", '[run]\nprogramme = "rl"'))
    assert named == parse_any(RECIPE) == parse_recipe(RECIPE)
    assert any_from_canonical(named.canonical_bytes()) == named.openings[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[run]\nprogramme = "chess"\n',
            r"run.programme is 'chess'; expected one of \['door', 'pretrain', 'rl'\]",
        ),
        ("[run]\nprogramme = 5\n", "run.programme is 5"),
        ("[run]\nprogramme = []\n", r"run.programme is \[\]"),
        ("run = 5\n", "run"),
        ("[run\n", "not valid TOML"),
        ("", "run: "),
    ],
)
def test_a_recipe_of_no_programme_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        parse_any(text)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"run":5}', b'{"run":{"programme":"chess"}}', b"[" * 100_000, b"5"]
)
def test_bytes_of_no_programme_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRecipe):
        any_from_canonical(data)


def test_a_recipe_without_more_than_a_header_has_a_digest_and_no_secret() -> None:
    plain = RecipeForm(run=RunHeader(name="r", programme="p"))
    assert plain.canonical_bytes() == b'{"run":{"name":"r","programme":"p"}}'
    assert plain.secret_name is None
    assert parse_recipe(RECIPE).secret_name == "word"
    assert isinstance(parse_recipe(RECIPE), Recipe)


FIT = {
    "key": "k", "prompt": (1,), "seed": 0, "num_rollouts": 1, "max_new_tokens": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fit", "unfit"),
    [
        ("prompt", [(1,), (1, 2)], [()]),
        ("seed", [0, 2**64 - 1], [-1, 2**64]),
        ("num_rollouts", [1, MAX_ROLLOUTS], [0, MAX_ROLLOUTS + 1]),
        ("max_new_tokens", [1, 10**9], [0]),
        ("temperature", [0, 0.5, MAX_TEMPERATURE], [-0.1, 100.1, float("nan"), float("inf")]),
        ("stop_tokens", [(), (1,) * MAX_STOPS], [(1,) * (MAX_STOPS + 1)]),
    ],
)
def test_a_request_is_taken_up_to_its_bounds(name: str, fit: list, unfit: list) -> None:
    for value in fit:
        assert getattr(Request(**(FIT | {name: value})), name) == value
    for value in unfit:
        with pytest.raises(InvalidRequest, match=r"request 'k': .*; expected "):
            Request(**(FIT | {name: value}))


def test_a_request_that_says_nothing_of_it_samples_at_temperature_1_without_stops() -> None:
    assert (Request(**FIT).temperature, Request(**FIT).stop_tokens) == (1.0, ())
    assert (MAX_ROLLOUTS, MAX_STOPS, MAX_TEMPERATURE) == (4096, 64, 100.0)
