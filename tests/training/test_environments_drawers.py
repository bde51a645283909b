"""Drawers: notes that anybody can read again, a path that only the secret knows, and rules that keep their name."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.model.tokenizer import character_tokenizer
from archipel.model.tool_calls import Call, read_calls
from archipel.records.episodes import HOSTABLE, PLAYED, SAMPLED
from archipel.records.recipe import EnvironmentSection, parse_recipe
from archipel.training.environments.drawers import Drawers
from archipel.training.environments.environment import _ENVIRONMENTS, make_environment
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.task import MissingSecret
from archipel.training.episodes import conduct_of
from archipel.training.grading import Grader, Submission
from archipel.training.sft import episode_examples

RECIPE = """
[run]
name = "d"
versions = 1
[environment]
name = "drawers"
[episode]
"""
SECRET = b"only the verifier knows"
DRAWERS = Drawers({}, 5, SECRET)
PUBLIC = Drawers({}, 5, None)


def get(letter: str) -> Turn:
    return Turn(f"get({letter})", (Call("get", {"drawer": letter}),))


def played(environment: Drawers, index: int, said: list[Turn]) -> list[str]:
    task = environment.task("train", index)
    answers = [environment.reply(task, said[: n + 1]) for n in range(len(said))]
    return [answer[0] for answer in answers if answer is not None]


def test_the_secrets_path_leads_to_the_answer_and_no_other_answer_is_worth_as_much():
    for index in range(50):
        task = DRAWERS.task("train", index)
        first, second, third, answer = DRAWERS.solution(task)
        assert first in task.detail["letters"]
        notes = played(DRAWERS, index, [get(first), get(second), get(third)])
        assert second in notes[0]
        assert third in notes[1]
        assert sorted(notes[2]) == sorted(answer)
        path = [get(first), get(second), get(third)]
        assert DRAWERS.reward(task, [*path, Turn(answer)], True) == 1.0
        assert DRAWERS.reward(task, [*path, Turn("xy")], True) == 3 / 4
        assert DRAWERS.reward(task, [get(first), get(first), Turn("x")], True) == 1 / 4
        assert DRAWERS.reward(task, [*path, Turn(answer)], False) == 0.0
        exact = Drawers({"reward": "exact"}, 5, SECRET)
        assert exact.reward(task, [*path, Turn(answer[::-1])], True) == 0.0


def test_the_grading_process_is_told_every_turn():
    task = DRAWERS.task("train", 0)
    first, second, third, answer = DRAWERS.solution(task)
    path = (get(first), get(second), get(third))
    episodes = [
        (*path, Turn(answer)), (*path, Turn("xy")), (get(first), Turn("xy")), (Turn(answer),), (Turn("xy"),)
    ]  # fmt: skip
    shown = [Submission("train", 0, turns[-1].text, True, turns=turns) for turns in episodes]
    with Grader(EnvironmentSection(name="drawers"), 5, SECRET) as grader:
        rewards = grader.grade([*shown, replace(shown[0], finished=False)])
    assert rewards == (1.0, 3 / 4, 1 / 4, 1.0, 0.0, 0.0)


def test_answers_need_no_secret_and_grading_does():
    for index in range(20):
        assert PUBLIC.task("dev", index) == DRAWERS.task("dev", index)
        said = [get("a"), get("n"), get("?"), Turn("get()", fault="a call is not json")]
        assert played(PUBLIC, index, said) == played(DRAWERS, index, said)
    with pytest.raises(MissingSecret):
        PUBLIC.reward(PUBLIC.task("dev", 0), [Turn("abc")], True)


def test_notes_are_of_one_task_alone_and_a_control_gives_those_of_another():
    other = Drawers({"notes": "other"}, 5, SECRET)
    assert played(other, 3, [get("a")]) == played(DRAWERS, 4, [get("a")])
    assert len({played(DRAWERS, index, [get("a")])[0] for index in range(200)}) > 110


def test_letters_of_held_out_tasks_are_in_no_other_part():
    parts = {
        split: {"".join(sorted(DRAWERS.task(split, n).detail["letters"])) for n in range(600)}
        for split in ("train", "dev", "test")
    }
    assert not parts["train"] & (parts["dev"] | parts["test"])
    assert not parts["dev"] & parts["test"]


def test_a_coin_pays_alike_for_all_that_can_be_said():
    coin = Drawers({"reward": "chance"}, 5, SECRET)
    task = coin.task("train", 1)
    said = [coin.reward(task, [Turn(f"{n}")], True) for n in range(2000)]
    assert 900 < sum(said) < 1100
    assert said == [coin.reward(task, [Turn(f"{n}")], True) for n in range(2000)]


def test_demonstrations_follow_the_rules_and_say_nothing_of_the_secret():
    tokenizer = replace(character_tokenizer())
    recipe = parse_recipe(RECIPE)
    conduct = conduct_of(recipe, PUBLIC, tokenizer)
    example = episode_examples(PUBLIC, conduct, recipe)
    ranks: Counter[int] = Counter()
    for index in range(300):
        prompt, tokens, mask = example(index)
        task = PUBLIC.task("train", index)
        assert tokenizer.decode(prompt) == task.prompt
        shown = tokenizer.decode(tokens).split("\n")
        assert 2 <= len(shown) <= 5
        assert [tokens[at] for at, is_said in enumerate(mask) if is_said].count(
            tokenizer.eos_id
        ) == len(shown)
        assert len(mask) == len(tokens)
        assert mask[0] == mask[-1] == SAMPLED
        order = sorted(task.detail["letters"], key=DRAWERS._rank.__getitem__)
        ranks[order.index(shown[0][4])] += 1
    assert min(ranks.values()) > 100, "the first letter is any of the two"
    assert PUBLIC.supervised_floor == pytest.approx(3.8123 / 20.5, abs=1e-3)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_nothing_that_is_said_breaks_a_reply_or_a_reward(said):
    turns = []
    for text in said:
        turns.append(Turn(text, read_calls(text, "plain", Drawers.tools)))
    task = DRAWERS.task("train", 0)
    answer = DRAWERS.reply(task, turns)
    assert answer is None or all(len(text) < 100 for text in answer)
    assert 0.0 <= DRAWERS.reward(task, turns, True) <= 1.0


def test_rules_with_a_name_stay_as_they_are():
    """A node says which rules it plays by; whoever changes them gives them another number."""
    hasher = hashlib.sha256()
    for split in ("train", "dev"):
        for index in range(20):
            task = PUBLIC.task(split, index)
            notes = [PUBLIC.reply(task, [get(letter)]) for letter in "abcdefghijklmn?"]
            hasher.update(json.dumps([task.prompt, notes]).encode())
    pinned = {"drawers-1": DIGEST}
    assert pinned == {PLAYED["drawers"]: hasher.hexdigest()}


DIGEST = "b3d6af1daba43f05530a0ef6920bb7ca1c5585d1e31d6667772f7593843f83d1"


def test_what_nodes_may_play_is_what_answers_turns():
    named = {name: make_environment(EnvironmentSection(name=name), 0, None) for name in PLAYED}
    assert all(isinstance(each, Episodic) for each in named.values())
    elsewhere = {*PLAYED, *HOSTABLE}  # these answer at the trusted role
    others = [kind for name, (kind, _) in _ENVIRONMENTS.items() if name not in elsewhere]
    assert not any(hasattr(kind, "reply") for kind in others)
