"""Guess: answers that only the secret gives, a game that its answers can win, and a supervised stage that shows no more."""

import pytest

from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import EnvironmentSection, parse_recipe
from archipel.training.environments.environment import make_environment, require_gradable
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.guess import Guess
from archipel.training.environments.task import InvalidEnvironment, MissingSecret
from archipel.training.episodes import conduct_of
from archipel.training.grading import Grader, Submission
from archipel.training.sft import episode_examples

RECIPE = '[run]\nname = "d"\nversions = 1\n[environment]\nname = "guess"\n[episode]\n'
SECRET = b"only the trusted role knows"
GUESS = Guess({}, 5, SECRET)


def halved(environment: Guess, index: int) -> tuple[list[Turn], str]:
    """Guesses by halving what is left, and the letter."""
    task = environment.task("train", index)
    left, said = task.detail["letters"], []
    while True:
        middle = left[len(left) // 2]
        said.append(Turn(middle))
        answer = environment.reply(task, said)
        if answer is None:
            return said, middle
        left = left[: left.index(middle)] if answer == ("<",) else left[left.index(middle) + 1 :]


def test_the_answers_lead_to_the_letter_and_nothing_else_is_worth_as_much():
    for index in range(60):
        task = GUESS.task("train", index)
        said, letter = halved(GUESS, index)
        assert GUESS.reward(task, said, True) == 1.0
        assert GUESS.reward(task, said, False) == 0.0
        wrong = next(each for each in task.detail["letters"] if each != letter)
        assert GUESS.reward(task, [*said[:-1], Turn(wrong)], True) <= 0.5
        assert GUESS.reward(task, [Turn("??")], True) == 0.0


def test_the_letter_follows_from_the_secret_and_the_task_alone():
    letters = [halved(GUESS, index)[1] for index in range(40)]
    assert letters == [halved(Guess({}, 5, SECRET), index)[1] for index in range(40)]
    assert letters != [halved(Guess({}, 5, b"another"), index)[1] for index in range(40)]
    public = Guess({}, 5, None)
    assert [public.task("train", n) for n in range(40)] == [
        GUESS.task("train", n) for n in range(40)
    ]
    with pytest.raises(MissingSecret):
        public.reply(public.task("train", 0), [Turn("a")])
    with pytest.raises(MissingSecret):
        require_gradable(EnvironmentSection(name="guess"), None)


def test_a_guess_that_is_none_is_told_so_and_the_last_one_ends_it():
    task = GUESS.task("dev", 0)
    outside = "z" if "z" not in task.detail["letters"] else "a"
    wrong = [Turn(outside)] * 4
    assert GUESS.reply(task, wrong[:1]) == GUESS.reply(task, [Turn("ab")]) == ("?",)
    assert GUESS.reply(task, wrong) is None


def test_ranges_are_held_out_whole():
    seen = {
        split: {GUESS.task(split, index).prompt for index in range(300)}
        for split in ("train", "dev", "test")
    }
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))


def test_the_supervised_stage_needs_no_secret_and_follows_no_answer():
    recipe, tokenizer = parse_recipe(RECIPE), character_tokenizer()
    public = make_environment(recipe.environment, 0, None)
    assert isinstance(public, Episodic)
    conduct = conduct_of(recipe, public, tokenizer)
    assert conduct is not None
    assert conduct.is_hosted
    assert episode_examples(public, conduct, recipe)(0) is not None
    agrees = 0
    for index in range(200):
        task, said = public.demonstration(index)
        answers = [
            public.reply(task, [Turn(str(one)) for one in said[: n + 1]]) for n in range(len(said))
        ]
        assert answers[-1] is None
        if len(said) > 1:
            agrees += (said[1] < said[0]) == (answers[0] == ("<",))
    assert 60 < agrees < 160, "what comes second has little to do with what was answered"


def test_a_control_answers_by_chance_and_another_rewards_by_it():
    coin = Guess({"answers": "coin"}, 5, SECRET)
    told = [
        coin.reply(coin.task("train", n), [Turn(coin.task("train", n).detail["letters"][0])])
        for n in range(60)
    ]
    assert {("<",), (">",)} <= set(told)
    chance = Guess({"reward": "chance"}, 5, SECRET)
    rewards = {chance.reward(chance.task("train", n), [Turn("a")], True) for n in range(30)}
    assert rewards == {0.0, 1.0}


def test_its_own_grader_gives_its_rewards():
    said, _ = halved(GUESS, 3)
    shown = [Submission("train", 3, said[-1].text, True, turns=tuple(said))]
    with Grader(EnvironmentSection(name="guess"), seed=5, secret=SECRET) as grader:
        assert grader.grade(shown) == (1.0,)


def test_impossible_ranges_are_refused():
    with pytest.raises(InvalidEnvironment, match="more than largest"):
        Guess({"smallest": 9, "largest": 8}, 0, None)
    with pytest.raises(InvalidEnvironment, match="allow more sizes"):
        Guess({"smallest": 24, "largest": 24}, 0, None)
