"""Choices of experts travel with the rollouts of runs that ask for them, and nowhere else a byte changes."""

from dataclasses import replace

import pytest

from archipel.records.experts import OPEN, ExpertTerms, WrongChoices
from archipel.records.payload import BadPayload
from archipel.records.programmes import rl
from archipel.records.recipe import parse_recipe, recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.rollouts import (
    Rollout,
    RolloutBounds,
    check_rollouts,
    max_rollout_bytes,
    pack_rollouts,
    unpack_rollouts,
)
from archipel.records.terms import Vocabulary

PLAIN = '[run]\nname = "r"\nversions = 1\n[environment]\nname = "secret_order"\n'
REPLAYS = PLAIN + "[sampling]\nreplays_routing = true\n"
TERMS = ExpertTerms(layers=2, count=4, chosen=2, prompt_tokens=6)
BOUNDS = RolloutBounds("r.1", "p", 2, 2, 8, 16, (1,), experts=TERMS)


def rollout(prompt: int, length: int) -> Rollout:
    choices = bytes(index % 4 for index in range((prompt + length - 1) * TERMS.per_token))
    opened = choices[:-1] + bytes([OPEN])
    tokens = (*(5,) * (length - 1), 1)
    return Rollout(tokens, (-0.5,) * length, True, experts=opened)


GROUPS = [[rollout(3, 4), rollout(3, 8)], [rollout(6, 1), rollout(6, 2)]]


def packed(groups: list[list[Rollout]] = GROUPS, terms: ExpertTerms | None = TERMS) -> bytes:
    return pack_rollouts(groups, work="r.1", policy="p", experts=terms)


def test_choices_come_back_as_they_were_made() -> None:
    assert unpack_rollouts(packed(), BOUNDS) == GROUPS
    assert check_rollouts(packed(), BOUNDS) == 15
    longest = [[rollout(6, 8)] * 2] * 2
    assert len(packed(longest)) <= max_rollout_bytes(BOUNDS)
    assert max_rollout_bytes(replace(BOUNDS, experts=None)) == 4 * (8 * 8 + 5) + 4096


def test_they_travel_only_where_the_run_asks_for_them() -> None:
    with pytest.raises(BadPayload, match="tensors"):
        check_rollouts(packed(terms=None), BOUNDS)
    with pytest.raises(BadPayload, match="tensors"):
        check_rollouts(packed(), replace(BOUNDS, experts=None))


@pytest.mark.parametrize(
    ("groups", "refusal"),
    [
        ([[replace(rollout(3, 4), experts=b""), rollout(3, 8)], GROUPS[1]], "length is outside"),
        ([[rollout(3, 4), rollout(2, 8)], GROUPS[1]], "bytes for"),
        ([[rollout(7, 4), rollout(7, 8)], GROUPS[1]], "length is outside"),
        ([[replace(GROUPS[0][0], experts=bytes([4] * 24)), GROUPS[0][1]], GROUPS[1]], "number"),
    ],
)
def test_choices_of_other_tokens_or_experts_are_refused(
    groups: list[list[Rollout]], refusal: str
) -> None:
    with pytest.raises(WrongChoices, match=refusal):
        check_rollouts(packed(groups), BOUNDS)


def test_a_recipe_without_replay_has_the_bytes_of_older_ones() -> None:
    recipe = parse_recipe(PLAIN)
    assert b"routing" not in recipe.canonical_bytes()
    assert b"experts" not in recipe.canonical_bytes()
    assert "experts" not in rl.WORDS.pace_of(recipe, Vocabulary(64, (2,), TERMS)).model_dump()


def test_a_recipe_of_replay_travels_and_its_pace_says_what_is_chosen() -> None:
    recipe = parse_recipe(REPLAYS)
    assert recipe_from_canonical(recipe.canonical_bytes()).sampling.replays_routing
    pace = rl.WORDS.pace_of(recipe, Vocabulary(64, (2,), TERMS))
    assert pace.experts == TERMS
    assert rl.RlPace.model_validate_json(pace.model_dump_json()) == pace
    with pytest.raises(ValueError, match="mixtures of experts"):
        rl.WORDS.pace_of(recipe, Vocabulary(64, (2,)))
    drawers = REPLAYS.replace("secret_order", "drawers") + "[episode]\nturns = 2\n"
    with pytest.raises(InvalidRecipe, match="replays_routing"):
        parse_recipe(drawers + "[environment.parameters]\nhops = 3\n")
