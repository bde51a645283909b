"""A charter in a recipe, and what owners say: closed, exact, and of older recipes nothing changes."""

import re
from pathlib import Path

import pytest

from archipel.records.canonical import canonical_json
from archipel.records.ownership import ProposalOpened, Spending
from archipel.records.programmes.rl import WORDS
from archipel.records.recipe import parse_recipe, recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.statements import InvalidRecord, decode, encode
from archipel.records.terms import Vocabulary
from specimens import SMALL

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-a-model-together.md"
RECIPE = '[run]\nname = "r"\nversions = 1\n[environment]\nname = "secret_order"\n'


def charter_of_the_page() -> str:
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_the_charter_of_the_how_to_page_is_one_and_comes_back_from_its_bytes() -> None:
    recipe = parse_recipe(RECIPE + charter_of_the_page())
    assert recipe_from_canonical(recipe.canonical_bytes()).charter == recipe.charter is not None
    terms = WORDS.pace_of(recipe, Vocabulary(size=64, stop_tokens=(1,))).charter
    assert terms is not None
    assert (terms.providers, terms.sponsors, terms.data, terms.treasury) == (
        600_000, 200_000, 100_000, 100_000,
    )  # fmt: skip
    assert [each.weight for each in terms.contributors or ()] == [2, 1]
    assert terms.voting_ms == 604_800_000


def test_a_recipe_without_a_charter_says_nothing_of_one() -> None:
    recipe = parse_recipe(RECIPE)
    assert b"charter" not in recipe.canonical_bytes()
    pace = WORDS.pace_of(recipe, Vocabulary(size=64, stop_tokens=(1,)))
    assert b"charter" not in canonical_json(pace.model_dump(mode="json"))
    assert parse_recipe(RECIPE + "[charter]\n").digest != recipe.digest


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("providers = 0.8", "add up to 1.1, expected 1"),
        ("data = 0.1\ntreasury = 0.0", "name whose that part is"),
        ("majority = 0.4", "charter.majority"),
        ("voting_s = 0.5", "charter.voting_s"),
        ("quorom = 0.5", "charter.quorom"),
        ('[charter.contributors]\n"did:key:me" = 1', "charter.contributors"),
    ],
)
def test_a_charter_that_cannot_be_is_refused_with_its_key(said: str, why: str) -> None:
    with pytest.raises(InvalidRecipe, match=why):
        parse_recipe(f"{RECIPE}[charter]\n{said}\n")


def test_a_proposal_says_what_it_is_about_and_nothing_else() -> None:
    opened = SMALL["proposal.opened"]
    assert isinstance(opened, ProposalOpened)
    fields = opened.model_dump(mode="json")
    for changes in (
        {"about": "price"},
        {"about": "other"},
        {"price_micro": 3},
        {"licence": "what I like"},
        {"text": ""},
    ):
        with pytest.raises(InvalidRecord):
            decode(canonical_json(fields | changes))
    fields.pop("licence")
    with pytest.raises(InvalidRecord, match="says nothing"):
        decode(canonical_json(fields))
    assert decode(canonical_json(fields | {"about": "other"}))
    with pytest.raises(ValueError, match="a spending of nothing"):
        Spending(to=opened.author)
    assert b"null" not in encode(SMALL["vote.delegated (to nobody)"])
