"""Words about turns: one encoding each, bounds before anything is looked at, and bytes that never change."""

import hashlib

import pytest

from archipel.records import turns
from archipel.records.episodes import HOSTED, PLAYED, EpisodeTerms, playable
from archipel.records.fields import BlobRef
from archipel.records.programmes.rl import WORDS
from archipel.records.recipe import parse_recipe
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
from archipel.records.turns import BadTurns, Place, Reply, Said, TurnsAsked, TurnsAwaited, TurnsTold
from people import identity

DID = identity("node").did
ABOUT = {"lab": DID, "author": DID, "seq": 7}
BLOB = BlobRef(digest="sha256:" + "a" * 64, size=9)
RECIPE = '[run]\nname = "d"\nversions = 1\n[environment]\nname = "guess"\n'
TERMS = EpisodeTerms(environment=HOSTED, parameters={}, turns=3, tools="auto", chat_template="auto")
BOUNDS = RolloutBounds("run.1", "p", 1, 2, 6, 16, (2,), None, TERMS)


def test_a_words_bytes_are_the_published_ones() -> None:
    words = (
        TurnsAsked(**ABOUT, work="run.3", said=BLOB),
        TurnsAwaited(**ABOUT),
        TurnsTold(**ABOUT, work="run.3", asked=BLOB.digest, told=BLOB),
        TurnsTold(**ABOUT, work="run.3", asked=BLOB.digest, reason="no", fault="work"),
    )
    for word in words:
        assert turns.decode_word(turns.encode_word(word), DID) == word
    told = b"\n".join(map(turns.encode_word, words)).replace(DID.encode(), b"DID")
    assert hashlib.sha256(told).hexdigest() == (
        "36fc36c596b4be4ffc683d2ec0911dcbee53f8ad9ee69060cb83772bc8bdbd53"
    ), told


def test_what_a_seal_signs_is_the_published_bytes() -> None:
    place = Place("lab", "run", "run.3", 4, 1)
    signed = turns.seal_of(place, (5, 2, 7), b"\x01\x01\x00", 2, is_over=False)
    assert signed.startswith(b"DSSEv1 37 application/vnd.archipel.seal.v1+json ")
    assert hashlib.sha256(signed).hexdigest() == (
        "16a6af0d7eeb41df025592e0f7065530944a03dd535d18ec298f8b630f67a6c1"
    ), signed


def test_nobody_speaks_for_somebody_else() -> None:
    data = turns.encode_word(TurnsAwaited(**ABOUT))
    with pytest.raises(BadTurns, match="signed"):
        turns.decode_word(data, identity("other").did)


def test_words_in_other_bytes_than_the_signed_ones_are_none_and_it_is_said_where() -> None:
    data = turns.encode_word(TurnsAwaited(**ABOUT))
    with pytest.raises(BadTurns, match=r"no words about turns: .*canonical"):
        turns.decode_word(data.replace(b":", b": ", 1), DID)
    with pytest.raises(BadTurns, match=r"no words about turns: turns\.awaited\.seq: "):
        turns.decode_word(data.replace(b'"seq":7', b'"seq":-7'), DID)


def test_replies_come_out_as_they_went_in_and_none_is_no_answer() -> None:
    reply = Reply(group=3, rollout=1, turn=0, answer=(5, 6), is_over=False, seal="0a" * 64)
    assert turns.unpack_replies(turns.pack_replies([reply, reply])) == (reply, reply)
    with pytest.raises(BadTurns, match="no turns: "):
        turns.unpack_replies(b"[]")


def test_what_is_said_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said(group=0, rollout=0, turn=0, tokens=(5, 2))
    data = turns.pack_said([said] * 3)
    assert turns.unpack_said(data) == (said,) * 3
    monkeypatch.setattr(turns, "MAX_TURN_BYTES", len(data) - 1)
    with pytest.raises(BadTurns, match="at most"):
        turns.unpack_said(data)
    for bad in (b"[]", b"{}", b"[{}]", b'[{"group":0,"rollout":0,"turn":0,"tokens":[]}]'):
        with pytest.raises(BadTurns):
            turns.unpack_said(bad)
    with pytest.raises(BadTurns):
        turns.unpack_replies(data)


def test_a_recipe_of_hosted_episodes_tells_nodes_nothing_of_the_environment() -> None:
    recipe = parse_recipe(RECIPE + "[environment.parameters]\nguesses = 3\n[episode]\nturns = 3\n")
    pace = WORDS.pace_of(recipe, Vocabulary(size=16, stop_tokens=(2,)))
    assert pace.episodes == TERMS
    assert pace.needs == HOSTED
    assert "guesses" not in pace.model_dump_json()
    assert playable() == (*PLAYED.values(), HOSTED)
    with pytest.raises(InvalidRecipe, match=r"add \[episode\]"):
        parse_recipe(RECIPE)
    with pytest.raises(InvalidRecipe, match="answers no turns"):
        parse_recipe(RECIPE.replace("guess", "jsonl") + "[episode]\n")


def test_seals_travel_with_their_episodes() -> None:
    one = Rollout((5, 2), (-0.5, -0.5), True, b"\x01\x01", seal=b"\x07" * 64)
    other = Rollout(
        (5, 2, 9, 2), (-0.5, -0.5, 0.0, -0.1), True, b"\x01\x01\x00\x01", seal=b"\x08" * 64
    )
    data = pack_rollouts([[one, other]], work="run.1", policy="p")
    assert len(data) <= max_rollout_bytes(BOUNDS)
    ((first, second),) = unpack_rollouts(data, BOUNDS)
    assert (first.seal, second.seal) == (one.seal, other.seal)
    assert first.work == "run.1"
    bare = pack_rollouts(
        [[Rollout(*list_of(one)), Rollout(*list_of(other))]], work="run.1", policy="p"
    )
    with pytest.raises(ValueError, match="seals"):
        check_rollouts(bare, BOUNDS)


def list_of(rollout: Rollout) -> tuple:
    """Without its seal."""
    return rollout.tokens, rollout.logprobs, rollout.finished, rollout.sampled


def test_a_reply_has_a_whole_seal() -> None:
    with pytest.raises(ValueError, match="pattern"):
        Reply(group=0, rollout=0, turn=0, answer=(), is_over=True, seal="0" * 126)
