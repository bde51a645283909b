"""The exact contract in recipes and records: named where it is used, and nowhere else a byte changes."""

import json
from dataclasses import replace

import pytest

from archipel.records.canonical import canonical_json
from archipel.records.exact import CONTRACTS, variant_named
from archipel.records.programmes import rl
from archipel.records.recipe import parse_recipe, recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.rollouts import (
    Rollout,
    RolloutBounds,
    WrongLabel,
    check_rollouts,
    pack_rollouts,
)
from archipel.records.statements import InvalidRecord, NodeJoined, decode, encode
from archipel.records.terms import Vocabulary
from specimens import CAPABILITIES

W7A8 = CONTRACTS["w7a8"]
PLAIN = '[run]\nname = "r"\nversions = 1\n[environment]\nname = "secret_order"\n'
EXACT = PLAIN + '[sampling]\nengine = "exact"\nvariant = "w7a8"\n'
VOCABULARY = Vocabulary(64, (2,))
BOUNDS = RolloutBounds("r.1", "p", 1, 2, 3, 8, (1,))
GROUPS = [[Rollout((5, 6, 7), (-0.1, -0.2, -0.3), False), Rollout((4, 1), (-0.5, -0.4), True)]]
AUTHOR = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def test_a_recipe_that_says_nothing_of_it_has_the_bytes_of_older_ones() -> None:
    told = json.loads(parse_recipe(PLAIN).canonical_bytes())["sampling"]
    assert told == {"max_new_tokens": 64, "temperature": "1.0"}
    for engine in ("any", "auto"):
        said = parse_recipe(f'{PLAIN}[sampling]\nengine = "{engine}"\n')
        assert said.digest == parse_recipe(PLAIN).digest


def test_a_recipe_that_leaves_the_engine_open_is_recorded_as_one_that_states_it() -> None:
    left = parse_recipe(PLAIN)
    assert left.sampling.engine == "auto"
    read = recipe_from_canonical(left.canonical_bytes())
    assert (read.sampling.engine, read.sampling.contract) == ("any", None)
    assert read == left.by_variant(None)
    named = {name: left.by_variant(name) for name in CONTRACTS}
    assert left.openings == (read, *named.values())
    assert len({opening.digest for opening in left.openings}) == len(CONTRACTS) + 1
    assert {name: each.sampling.contract for name, each in named.items()} == CONTRACTS
    for stated in left.openings:
        assert stated.openings == (stated,)
        assert recipe_from_canonical(stated.canonical_bytes()) == stated


def test_an_exact_recipe_travels_and_its_pace_names_the_contract() -> None:
    recipe = parse_recipe(EXACT)
    assert recipe_from_canonical(recipe.canonical_bytes()) == recipe
    assert rl.WORDS.pace_of(recipe, VOCABULARY).exact == W7A8
    assert "exact" not in rl.WORDS.pace_of(parse_recipe(PLAIN), VOCABULARY).model_dump()
    assert variant_named(W7A8) == "w7a8"


@pytest.mark.parametrize(
    "sampling",
    ['engine = "exact"', 'variant = "w7a8"', 'engine = "exact"\nvariant = "w8a8"',
     'engine = "any"\nvariant = "w7a8"', 'engine = "auto"\nvariant = "w7a8"', 'engine = "vllm"'],
)  # fmt: skip
def test_an_exact_recipe_names_its_variant_and_no_other_does(sampling: str) -> None:
    with pytest.raises(InvalidRecipe, match=r"sampling"):
        parse_recipe(f"{PLAIN}[sampling]\n{sampling}\n")


def joined(**changed: object) -> bytes:
    said = NodeJoined(lab=AUTHOR, author=AUTHOR, seq=1, capabilities=CAPABILITIES)
    value = json.loads(encode(said))
    value["capabilities"] |= changed
    return canonical_json(value)


def test_what_a_node_cannot_is_not_written_and_what_it_can_is_read_back() -> None:
    assert b"exact" not in joined()
    said = decode(joined(exact=[W7A8]))
    assert isinstance(said, NodeJoined)
    assert said.capabilities.exact == (W7A8,)
    assert encode(said) == joined(exact=[W7A8])


@pytest.mark.parametrize("value", [None, [], ["w7a8"], W7A8, [W7A8 + "0"], [W7A8] * 17])
def test_one_value_has_one_encoding(value: object) -> None:
    with pytest.raises(InvalidRecord, match="exact"):
        decode(joined(exact=value))


@pytest.mark.parametrize(
    ("used", "asked"), [(W7A8, None), (None, W7A8), (W7A8, CONTRACTS["w13a15"])]
)
def test_a_payload_of_another_contract_is_refused(used: str | None, asked: str | None) -> None:
    named = {"work": BOUNDS.work, "policy": BOUNDS.policy}
    data = pack_rollouts(GROUPS, **named, exact=used)
    assert check_rollouts(data, replace(BOUNDS, exact=used)) > 0
    with pytest.raises(WrongLabel, match="exact"):
        check_rollouts(data, replace(BOUNDS, exact=asked))
    assert pack_rollouts(GROUPS, **named, exact=None) == pack_rollouts(GROUPS, **named)
