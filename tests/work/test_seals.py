"""Seals: what a node may change of an episode without being found out is nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.rollouts import Rollout
from archipel.records.statements import RunOpened
from archipel.records.turns import NO_SEAL, Place
from archipel.training.episodes import is_void
from archipel.work.episodes import upheld
from archipel.work.seals import Answered, check_of, is_reply_sealed, is_sealed, seal_for
from people import EOS, identity
from specimens import SMALL

TRUSTED = identity("learner")
KEYS = (identity("spare").did, TRUSTED.did)
PLACE = Place("lab", "run", "run.3", 4, 1)
TURNS = ((5, EOS), (6, EOS), (9, 9, EOS))
ANSWERS = ((7, 8), (3,), ())


def episode(turns: int, *, is_over: bool = True, place: Place = PLACE) -> Rollout:
    """Ended by the environment at that turn."""
    told = (*ANSWERS[: turns - 1], ())
    made = Answered(TURNS[:turns], told)
    tokens, mask, _ = made.flat()
    seal = seal_for(TRUSTED.sign_bytes, place, made, is_over=is_over)
    return Rollout(tokens, (-0.5,) * len(tokens), is_over, mask, seal=seal)


def cut_short() -> Rollout:
    """The limit of tokens was reached within the second turn."""
    tokens, mask, _ = Answered(TURNS[:1], ANSWERS[:1]).flat()
    seal = seal_for(TRUSTED.sign_bytes, PLACE, Answered(TURNS[:1], ANSWERS[:1]), is_over=False)
    return Rollout((*tokens, 6), (-0.5,) * (len(tokens) + 1), False, mask + b"\x01", seal=seal)


SOUND = {
    "over": episode(3),
    "one": episode(1),
    "cut": episode(2, is_over=False),
    "short": cut_short(),
    "never": Rollout((5, 6), (-0.5, -0.5), False, b"\x01\x01", seal=NO_SEAL),
}


def holds(rollout: Rollout, place: Place = PLACE) -> bool:
    return is_sealed(rollout, place, (EOS,), KEYS)


@pytest.mark.parametrize("name", SOUND)
def test_what_was_answered_holds(name: str) -> None:
    assert holds(SOUND[name])


@settings(max_examples=40)
@given(st.sampled_from(sorted(SOUND)), st.data())
def test_no_change_of_what_was_answered_or_heard_holds(name: str, data: st.DataObject) -> None:
    sound = SOUND[name]
    place = data.draw(st.integers(0, len(sound.tokens) - 1))
    other = data.draw(st.integers(0, 15).filter(lambda token: token != sound.tokens[place]))
    tokens = (*sound.tokens[:place], other, *sound.tokens[place + 1 :])
    changed = holds(replace(sound, tokens=tokens))
    last_turn = (
        max(i for i, token in enumerate(sound.sampled or b"") if not token)
        if 0 in (sound.sampled or b"")
        else -1
    )
    is_unheard = name in ("short", "never") and place > last_turn and other != EOS
    assert changed == is_unheard, "only a turn that never ended was heard by nobody"


@pytest.mark.parametrize("name", ["over", "one", "cut", "short"])
def test_a_seal_is_for_one_episode_of_one_work_alone(name: str) -> None:
    for other in (
        replace(PLACE, rollout=2),
        replace(PLACE, group=5),
        replace(PLACE, work="run.4"),
        replace(PLACE, run="other"),
        replace(PLACE, lab="other"),
    ):
        assert not holds(SOUND[name], other)


def test_an_episode_ends_where_it_was_told_to() -> None:
    over = SOUND["over"]
    assert not holds(replace(over, finished=False))
    assert not holds(replace(SOUND["cut"], finished=True))
    first = len(TURNS[0])
    short = replace(over, tokens=over.tokens[:first], sampled=(over.sampled or b"")[:first])
    for finished in (False, True):
        for seal in (over.seal, NO_SEAL, SOUND["short"].seal):
            assert not holds(replace(short, finished=finished, seal=seal))
    longer = replace(over, tokens=(*over.tokens, 5), sampled=(over.sampled or b"") + b"\x01")
    assert not holds(longer)


def test_nobody_elses_seal_holds() -> None:
    forger = identity("node")
    made = Answered(TURNS[:1], ((),))
    seal = seal_for(forger.sign_bytes, PLACE, made, is_over=True)
    assert not holds(replace(SOUND["one"], seal=seal))
    assert not holds(replace(SOUND["one"], seal=None))
    assert not holds(replace(SOUND["over"], seal=NO_SEAL))


def test_what_does_not_hold_is_void_and_told_by_its_number() -> None:
    rollouts = [SOUND["one"], replace(SOUND["one"], tokens=(6, EOS))]
    told: list[int] = []
    kept = upheld(lambda group, number, rollout: holds(rollout), 4, rollouts, told.append)
    assert [is_void(each) for each in kept] == [False, True]
    assert told == [1]


def test_nothing_goes_on_behind_a_seal_that_says_it_is_over_nor_two_turns_behind_any() -> None:
    made = Answered(TURNS[:1], ANSWERS[:1])
    tokens, mask, _ = made.flat()
    for is_over in (True, False):
        seal = seal_for(TRUSTED.sign_bytes, PLACE, made, is_over=is_over)
        for more, finished in (
            ((b"\x01",), True),
            ((b"\x01", b"\x00", b"\x01"), False),
            ((b"\x01", b"\x00", b"\x01"), True),
        ):
            longer = (*tokens, *([6] * len(more)))
            rollout = Rollout(
                longer, (-0.5,) * len(longer), finished, mask + b"".join(more), seal=seal
            )
            assert not holds(rollout)


def test_a_reply_is_sealed_as_it_comes_by_a_trusted_key_for_what_was_said() -> None:
    made = Answered(TURNS[:2], ANSWERS[:2])
    seal = seal_for(TRUSTED.sign_bytes, PLACE, made, is_over=False)

    def told(place=PLACE, episode=made, is_over=False, seal=seal, keys=KEYS) -> bool:
        return is_reply_sealed(place, episode, is_over=is_over, seal=seal, keys=keys)

    assert told()
    assert not told(place=replace(PLACE, group=5))
    assert not told(episode=Answered(TURNS[:2], (ANSWERS[0], (4,))))
    assert not told(is_over=True)
    assert not told(seal=NO_SEAL)
    assert not told(keys=KEYS[:1])


def test_a_runs_check_holds_a_rollout_against_its_own_lab_run_work_and_keys() -> None:
    run = SMALL["run.opened"]
    assert isinstance(run, RunOpened)
    pace = run.pace.model_copy(update={"stop_tokens": (EOS,)})
    opened = run.model_copy(update={"trusted": KEYS, "pace": pace})
    place = Place(opened.lab, opened.run, "w.1", 4, 1)
    rollout = replace(episode(3, place=place), work="w.1")
    holds_here = check_of(opened)
    assert holds_here(4, 1, rollout)
    assert not holds_here(5, 1, rollout)
    assert not holds_here(4, 0, rollout)
    assert not holds_here(4, 1, replace(rollout, work="w.2"))
    assert not check_of(opened.model_copy(update={"trusted": KEYS[:1]}))(4, 1, rollout)
    never = replace(SOUND["never"], work="w.1")
    assert holds_here(4, 1, never)
    assert not holds_here(4, 1, replace(never, tokens=(5, EOS))), "a turn that ended was answered"
