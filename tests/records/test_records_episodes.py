"""Episodes in recipes and records: masks that could be, named where they are used, and nowhere else a byte changes."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archipel.records.canonical import canonical_json
from archipel.records.episodes import PLAYED, EpisodeTerms, UnevenMask, turns_of, written_of
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.payload import BadPayload
from archipel.records.programmes import rl
from archipel.records.prompts import pack_prompts, unpack_tasks
from archipel.records.recipe import parse_recipe, recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.rollouts import (
    OutOfRange,
    Rollout,
    RolloutBounds,
    WrongShape,
    check_rollouts,
    max_rollout_bytes,
    pack_rollouts,
    unpack_rollouts,
)
from archipel.records.samples import samples_of
from archipel.records.statements import InvalidRecord, NodeJoined, decode, encode
from archipel.records.tasks import tasks_of
from archipel.records.terms import Vocabulary
from specimens import CAPABILITIES

PLAIN = '[run]\nname = "r"\nversions = 1\n[environment]\nname = "secret_order"\n'
DRAWERS = PLAIN.replace("secret_order", "drawers") + "[environment.parameters]\nhops = 3\n"
EPISODES = DRAWERS + "[episode]\nturns = 5\n"
VOCABULARY = Vocabulary(64, (2,))
TERMS = EpisodeTerms(
    environment="drawers-1", parameters={"hops": 3}, turns=3, tools="auto", chat_template="auto"
)
STOP = 1
NOTHING = BlobRef(digest="sha256:" + "1" * 64, size=0)
BOUNDS = RolloutBounds("r.1", "p", 1, 2, 8, 16, (STOP,), episodes=TERMS)
MASK = bytes((1, 1, 0, 0, 1, 1))
GOOD = Rollout((5, STOP, 7, STOP, 6, STOP), (-0.5, -0.25, 0.0, 0.0, -1.0, -2.0), True, MASK)
CUT = Rollout((5,) * 8, (-0.5,) * 8, False, bytes((1,) * 8))


def packed(*rollouts: Rollout) -> bytes:
    return pack_rollouts([rollouts], work="r.1", policy="p")


def test_a_recipe_without_episodes_has_the_bytes_of_older_ones() -> None:
    recipe = parse_recipe(PLAIN)
    assert b"episode" not in recipe.canonical_bytes()
    assert "episodes" not in rl.WORDS.pace_of(recipe, VOCABULARY).model_dump()
    assert rl.WORDS.pace_of(recipe, VOCABULARY).needs is None


def test_a_recipe_of_episodes_travels_and_its_pace_says_how_they_are_played() -> None:
    recipe = parse_recipe(EPISODES)
    again = recipe_from_canonical(recipe.canonical_bytes())
    assert (again.episode, again.digest) == (recipe.episode, recipe.digest)
    pace = rl.WORDS.pace_of(recipe, VOCABULARY)
    assert pace.episodes == TERMS.model_copy(update={"turns": 5})
    assert pace.needs == pace.plays == PLAYED["drawers"]
    exact = parse_recipe(EPISODES + '[sampling]\nengine = "exact"\nvariant = "w7a8"\n')
    pace = rl.WORDS.pace_of(exact, VOCABULARY)
    assert pace.needs == f"{pace.exact} {pace.plays}"
    assert rl.RlPace.model_validate_json(pace.model_dump_json()) == pace


@pytest.mark.parametrize(
    "text",
    [DRAWERS, PLAIN + "[episode]\n", EPISODES + "x = 1\n", EPISODES.replace("5", "65"),
     EPISODES.replace("hops = 3", "hops = 1.5"), EPISODES + 'tools = "xml"\n'],
)  # fmt: skip
def test_episodes_are_asked_for_where_they_are_played_and_nowhere_else(text: str) -> None:
    with pytest.raises(InvalidRecipe):
        parse_recipe(text)


def test_episodes_come_back_as_they_were_sampled() -> None:
    data = packed(GOOD, CUT)
    assert unpack_rollouts(data, BOUNDS) == [[GOOD, CUT]]
    assert check_rollouts(data, BOUNDS) == 4 + 8 == GOOD.num_sampled + CUT.num_sampled
    assert len(data) <= max_rollout_bytes(BOUNDS)


def test_masks_travel_only_where_the_run_asks_for_episodes() -> None:
    plain = [replace(each, sampled=None) for each in (GOOD, CUT)]
    with pytest.raises(BadPayload, match="tensors"):
        check_rollouts(packed(*plain), BOUNDS)
    with pytest.raises(BadPayload, match="tensors"):
        check_rollouts(packed(GOOD, CUT), replace(BOUNDS, episodes=None))


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"sampled": bytes((1, 1, 0, 0, 1, 2))}, OutOfRange),
        ({"sampled": bytes((1, 1, 0, 0, 1))}, WrongShape),
        ({"sampled": bytes((0, 1, 0, 0, 1, 1))}, UnevenMask),
        ({"sampled": bytes((1, 1, 0, 0, 1, 0))}, UnevenMask),
        ({"sampled": bytes(6)}, UnevenMask),
        ({"sampled": bytes((1,) * 6)}, UnevenMask),
        ({"sampled": bytes((1, 0, 0, 0, 1, 1))}, UnevenMask),
        ({"tokens": (STOP, STOP, 7, STOP, 6, STOP)}, UnevenMask),
        ({"tokens": (5, STOP, 7, STOP, 6, 6)}, WrongShape),
        ({"tokens": (5, STOP, 7, STOP, 6, 6), "finished": False}, WrongShape),
        ({"logprobs": (-0.5, -0.25, 0.0, -0.1, -1.0, -2.0)}, OutOfRange),
        ({"tokens": (5, STOP, 7, STOP, 6, 16)}, OutOfRange),
    ],
)
def test_what_no_episode_can_be_is_refused(changed: dict, refusal: type[BadPayload]) -> None:
    check_rollouts(packed(GOOD, GOOD), BOUNDS)
    with pytest.raises(refusal):
        check_rollouts(packed(GOOD, replace(GOOD, **changed)), BOUNDS)


RETELLS = replace(BOUNDS, episodes=TERMS.model_copy(update={"retells": True}))
RETOLD = replace(GOOD, sampled=bytes((1, 1, 2, 2, 1, 1)))


def test_a_context_told_anew_travels_in_runs_that_retell_alone() -> None:
    data = packed(RETOLD, GOOD)
    assert unpack_rollouts(data, RETELLS) == [[RETOLD, GOOD]]
    assert check_rollouts(data, RETELLS) == 8
    with pytest.raises(OutOfRange, match="0 to 1"):
        check_rollouts(data, BOUNDS)
    first, second = samples_of((9, 9), RETOLD)
    assert (first.prompt, first.rollout.tokens, first.rollout.finished) == (
        (9, 9),
        (5, STOP),
        False,
    )
    assert (second.prompt, second.first) == ((7, STOP), 4)
    assert second.rollout == Rollout((6, STOP), (-1.0, -2.0), True, bytes((1, 1)))
    assert [each.rollout for each in samples_of((9,), GOOD)] == [GOOD]


@pytest.mark.parametrize(
    ("mask", "refusal"),
    [
        ((1, 1, 2, 0, 1, 1), UnevenMask),
        ((1, 1, 0, 2, 1, 1), UnevenMask),
        ((2, 1, 0, 0, 1, 1), UnevenMask),
        ((1, 1, 2, 2, 1, 2), UnevenMask),
        ((1, 2, 2, 2, 1, 1), UnevenMask),
        ((1, 1, 3, 3, 1, 1), OutOfRange),
    ],
)
def test_contexts_that_no_episode_has_are_refused(
    mask: tuple[int, ...], refusal: type[BadPayload]
) -> None:
    with pytest.raises(refusal):
        check_rollouts(packed(GOOD, replace(GOOD, sampled=bytes(mask))), RETELLS)


@given(st.binary(max_size=24).map(lambda marks: bytes(mark % 3 for mark in marks)))
@settings(max_examples=200)
def test_of_any_mask_every_sampled_token_is_in_one_sample(mask: bytes) -> None:
    tokens = tuple(range(len(mask)))
    whole = Rollout(tokens, (-1.0,) * len(mask), True, mask)
    parts = samples_of((99,), whole)
    scored = [
        token
        for part in parts
        for token, mark in zip(part.rollout.tokens, part.rollout.sampled or b"", strict=True)
        if mark == 1
    ]
    assert scored == [token for token in tokens if mask[token] == 1]
    assert all(part.prompt for part in parts)


def test_what_a_run_retells_by_travels_in_its_pace_and_nowhere_else() -> None:
    told = EPISODES + 'rewritten = "new_sample"\n[prompt]\nsystem = "s"\ndate = "2026-01-02"\n'
    recipe = parse_recipe(told)
    assert recipe_from_canonical(recipe.canonical_bytes()).digest == recipe.digest
    terms = rl.WORDS.pace_of(recipe, VOCABULARY).episodes
    assert (terms.retells, terms.system, terms.date) == (True, "s", "2026-01-02")
    plain = parse_recipe(told.replace("new_sample", "refused"))
    assert b"rewritten" not in plain.canonical_bytes()
    written = rl.WORDS.pace_of(plain, VOCABULARY).episodes.model_dump()
    assert written.keys() == {"environment", "parameters", "turns", "tools", "chat_template"}
    chosen = parse_recipe(EPISODES + "[curriculum]\npool = 64\n")
    assert rl.WORDS.pace_of(chosen, VOCABULARY).episodes.chooses


def test_prompts_say_which_tasks_they_are_of_only_where_they_are_chosen() -> None:
    prompts = [(1, 2), (3,)]
    assert unpack_tasks(pack_prompts(prompts, batch=3, tasks=(7, 0))) == (3, prompts, (7, 0))
    assert unpack_tasks(pack_prompts(prompts, batch=3)) == (3, prompts, None)
    for tasks in ((7,), (7, -1), (1, 2, 3)):
        with pytest.raises(WrongShape):
            unpack_tasks(pack_prompts(prompts, batch=3, tasks=tasks))
    spec = RolloutSpec(
        run="r", version=0, policy="sha256:" + "0" * 64, groups=(6, 7), prompts=(NOTHING,)
    )
    pace = rl.WORDS.pace_of(parse_recipe(EPISODES + "[curriculum]\npool = 64\n"), VOCABULARY)
    pace = pace.model_copy(update={"groups_per_update": 2})
    assert tasks_of(spec, pace, lambda _: pack_prompts(prompts, batch=3, tasks=(7, 0))) == {
        6: 7,
        7: 0,
    }
    for data in (pack_prompts(prompts, batch=3), pack_prompts(prompts, batch=2, tasks=(7, 0))):
        with pytest.raises(WrongShape, match="which tasks"):
            tasks_of(spec, pace, lambda _, data=data: data)
    plain = rl.WORDS.pace_of(parse_recipe(EPISODES), VOCABULARY)
    assert tasks_of(spec, plain, lambda _: b"") is None


def test_turns_are_counted() -> None:
    many = Rollout(
        (STOP, 3, STOP, 3, STOP, 3, STOP), (-1.0, 0.0) * 3 + (-1.0,), True, bytes((1, 0) * 3 + (1,))
    )
    with pytest.raises(UnevenMask, match="4 turns, the run allows 3"):
        check_rollouts(packed(GOOD, many), BOUNDS)


def test_turns_and_answers_are_the_runs_of_a_mask() -> None:
    rng = random.Random(1)
    for _ in range(300):
        mask = bytes(rng.randrange(2) for _ in range(rng.randrange(1, 12)))
        marked = bytearray(len(mask))
        for start, end in turns_of(mask):
            assert start < end
            marked[start:end] = bytes((1,)) * (end - start)
        assert bytes(marked) == mask
        for start, end in written_of(mask):
            assert mask[start - 1] == 1 == mask[end]
            assert not any(mask[start:end])


def joined(**changed: object) -> bytes:
    said = NodeJoined(lab=AUTHOR, author=AUTHOR, seq=1, capabilities=CAPABILITIES)
    value = json.loads(encode(said))
    value["capabilities"] |= changed
    return canonical_json(value)


AUTHOR = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def test_what_a_node_plays_is_read_back_and_nothing_is_not_written() -> None:
    assert b"plays" not in joined()
    said = decode(joined(plays=["drawers-1"]))
    assert isinstance(said, NodeJoined)
    assert said.capabilities.plays == ("drawers-1",)
    assert encode(said) == joined(plays=["drawers-1"])


@pytest.mark.parametrize("value", [None, [], ["drawers"], "drawers-1", ["drawers-1"] * 17])
def test_one_value_has_one_encoding(value: object) -> None:
    with pytest.raises(InvalidRecord, match="plays"):
        decode(joined(plays=value))


@pytest.mark.parametrize(
    "changed", [{"turns": 0}, {"parameters": {"x": 1.5}}, {"environment": "drawers"}]
)
def test_terms_are_bounded(changed: dict) -> None:
    with pytest.raises(ValidationError):
        EpisodeTerms(**(TERMS.model_dump() | changed))
