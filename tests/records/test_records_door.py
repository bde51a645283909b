"""A door's run in records: a recipe as what nodes are told, questions that start somewhere, words of both kinds."""

import pytest
from pydantic import ValidationError

from archipel.node.operator import needed_files
from archipel.records.door import AdaptQuestion, Begun, policy_of
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.adapt import AdaptSpec
from archipel.records.programmes import any_from_canonical, door, parse_any
from archipel.records.programmes.door import DoorPace
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.statements import ModelFile
from archipel.records.terms import Terms, Vocabulary
from archipel.records.words import Needs, Told
from people import ref
from questions import DOOR, DOOR_PACE, FORM, door_pace
from specimens import ANSWERS, SMALL, SPECS

RECIPE = f"""
[run]
name = "d"
programme = "door"
[door]
key = "{DOOR.did}"
adapt = "staked"
deposit = 17
rank = 5
turn_tokens = 7
sample_tokens = 11
question_mb = 2
answer_mb = 3
state_mb = 13
queued = 19
keep_s = 23.5
[lease]
min_deadline_s = 1.5
slack = 2.5
max_deadline_s = 29.25
adapt_price_micro = 31
sample_price_micro = 37
"""


def test_a_recipe_s_terms_and_pace_are_what_it_says_in_the_lab_s_units() -> None:
    recipe = parse_any(RECIPE)
    assert any_from_canonical(recipe.canonical_bytes()) == recipe
    assert door.WORDS.terms_of(recipe) == Terms(  # type: ignore[arg-type]  # of this programme
        versions=1,
        evaluate_every=1,
        checkpoint_every=1,
        keep_versions=1,
        trusted_deadline_ms=29_250,
    )
    pace = door.WORDS.pace_of(recipe, Vocabulary(64, ()))  # type: ignore[arg-type]  # of this programme
    assert pace == DoorPace(
        door=DOOR.did,
        adapt="staked",
        deposit_micro=17,
        rank=5,
        turn_tokens=7,
        sample_tokens=11,
        question_bytes=2_000_000,
        answer_bytes=3_000_000,
        state_bytes=13_000_000,
        queued=19,
        keep_ms=23_500,
        min_deadline_ms=1500,
        slack_milli=2500,
        adapt_per_million_micro=31,
        sample_per_million_micro=37,
    )
    assert (pace.needs, pace.named_blobs) == (None, ())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("deposit = 17", "", r'door.adapt = "staked" with door.deposit = 0'),
        ('adapt = "staked"', "", r'door.adapt = "trusted" with door.deposit = 17'),
        ("max_deadline_s = 29.25", "max_deadline_s = 1.0", "min_deadline_s = 1.5 is more"),
        ("[lease]", "[audit]\nfloor = 0.5\n[lease]", r"\[audit\] is not for a door"),
        ("[lease]", "[market]\nlots = 1\n[lease]", r"\[market\] is not for a door"),
        ("rank = 5", "rank = 1025", "rank"),
        ("queued = 19", "queued = 4097", "queued"),
        ("rank = 5", "ranks = 5", "ranks"),
        (DOOR.did, "did:key:somebody", "key"),
    ],
)
def test_a_recipe_that_could_not_work_is_refused(old: str, new: str, said: str) -> None:
    assert old in RECIPE
    with pytest.raises(InvalidRecipe, match=said):
        parse_any(RECIPE.replace(old, new))


@pytest.mark.parametrize(
    "given",
    [
        {"adapt": "staked"},
        {"deposit_micro": 5},
        {"exact": "exact-1-w7a8"},
        {"adapter": FORM},
        {"backend": "transformers"},
    ],
)
def test_a_pace_says_nothing_that_a_door_has_not(given: dict) -> None:
    assert DoorPace(**DOOR_PACE)
    with pytest.raises(ValidationError):
        DoorPace(**(DOOR_PACE | given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"operations": ref(b"o")},
        {"after": 1},
        {"again": 1, "operations": ref(b"o")},
        {"after": 1, "state": ref(b"s"), "operations": ref(b"o")},
        {"begins": Begun(form=FORM, seed=1), "after": 1, "operations": ref(b"o")},
    ],
)
def test_a_question_to_adapt_starts_from_one_thing_and_says_what_is_to_be_done(given: dict) -> None:
    with pytest.raises(ValidationError, match=r"starts from|operations go with"):
        AdaptQuestion(**given)


def test_the_words_of_both_kinds_name_what_is_needed_and_what_comes_of_it() -> None:
    adapt, sample = WORDS_OF["adapt"], WORDS_OF["sample"]
    spec = SPECS["adapt"]
    assert isinstance(spec, AdaptSpec)
    assert adapt.needs(spec) == Needs(blobs=(ref(b"operations"), ref(b"state")))
    begins = spec.model_copy(update={"state": None, "begins": Begun(form=FORM, seed=1)})
    assert adapt.needs(begins) == Needs(blobs=(ref(b"operations"),))
    assert sample.needs(SPECS["sample"]) == Needs(blobs=(ref(b"prompts"), ref(b"adapter")))
    values = {"num_tokens": 4096, "machine": "x86_64 avx2"}
    blobs = {"state": ref(b"state after"), "outcomes": ref(b"outcomes")}
    assert adapt.answer_of(spec, Told(values, blobs, 900)) == ANSWERS["adapt"]
    values = {"num_tokens": 300, "policy": SPECS["sample"].policy}  # type: ignore[attr-defined]
    told = Told(values, {"result": ref(b"samples")}, 80)
    assert sample.answer_of(SPECS["sample"], told) == ANSWERS["sample"]
    assert adapt.blobs(ANSWERS["adapt"]) == (ref(b"state after"), ref(b"outcomes"))
    assert sample.blobs(ANSWERS["sample"]) == (ref(b"samples"),)
    with pytest.raises(ValidationError):
        AdaptSpec(run="r", question=1, operations=ref(b"o"), num_tokens=1)


def test_a_policy_does_not_hang_on_the_order_of_the_model_s_files() -> None:
    files = [("a.json", ref(b"a").digest), ("b.json", ref(b"b").digest)]
    assert policy_of(files, None) == policy_of(files[::-1], None)
    assert policy_of(files, None) != policy_of(files[:1], None)


def test_nodes_of_a_door_s_run_take_the_weights_that_it_was_opened_with() -> None:
    opened = SMALL["run.opened (door)"].model_copy(
        update={
            "model": tuple(ModelFile(name=n, blob=ref(b"")) for n in ("m.safetensors", "c.json"))
        }
    )
    assert needed_files(opened, trusted=False) == {"m.safetensors", "c.json"}  # type: ignore[arg-type]
    assert door_pace().lies_over
