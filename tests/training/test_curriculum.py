"""Which tasks come next: chosen by what was earned, the same for whoever replays, no task twice in a batch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import SamplingSection
from archipel.records.rollouts import Rollout
from archipel.training.curriculum import Curriculum, NotChosen, shown_as
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.grading import Submission
from archipel.training.groups import prompt_ids
from archipel.training.rl import Rehearsal, reinforce
from archipel.training.trainer import Trainer
from training.tiny_learner import tiny_model, tiny_recipe

BATCH = 4


def recipe(staleness=1, versions=12, **curriculum):
    run = {"versions": versions, "max_staleness": staleness, "groups_per_update": BATCH}
    return tiny_recipe(run=run, curriculum={"pool": 20} | curriculum)


def batch_of(curriculum, number):
    return [curriculum.task(group) for group in range(number * BATCH, (number + 1) * BATCH)]


def learn(curriculum, number, earned):
    """Batch `number` is learned from; `earned`: task -> reward of each of its rollouts."""
    groups = range(number * BATCH, (number + 1) * BATCH)
    curriculum.learned({group: [earned(curriculum.task(group))] * 2 for group in groups})


def played(earned, batches, **given):
    """A curriculum after so many batches, and the tasks of all batches that it named."""
    curriculum = Curriculum(recipe(**given))
    named = [batch_of(curriculum, n) for n in range(curriculum._run.max_staleness + 1)]
    for number in range(batches):
        learn(curriculum, number, earned)
        named.append(batch_of(curriculum, number + 1 + curriculum._run.max_staleness))
    return curriculum, named


@settings(max_examples=25, deadline=None)
@given(
    staleness=st.integers(0, 3),
    fresh=st.sampled_from([0.0, 0.25, 1.0]),
    pool=st.sampled_from([4, 5, 20]),
    rates=st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0]), min_size=20, max_size=20),
)
def test_a_batch_is_whole_and_has_no_task_twice(staleness, fresh, pool, rates):
    _, named = played(lambda task: rates[task], 7, staleness=staleness, fresh=fresh, pool=pool)
    assert all(len(set(batch)) == BATCH for batch in named)
    assert all(0 <= task < pool for batch in named for task in batch)


def test_what_is_solved_sometimes_comes_again_and_again():
    """Of 20 tasks 5 are of use: three quarters of the later batches are of them."""
    _, named = played(lambda task: 0.5 if task < 5 else float(task % 2), 9, fresh=0.25)
    late = [task for batch in named[8:] for task in batch]
    assert sum(task < 5 for task in late) >= 0.7 * len(late)
    _, blind = played(lambda task: 0.5 if task < 5 else float(task % 2), 9, fresh=1.0)
    flat = [task for batch in blind[8:] for task in batch]
    assert sum(task < 5 for task in flat) < 0.5 * len(flat)


def test_what_was_too_hard_is_tried_again_once_everything_was_tried():
    _, named = played(lambda task: 0.5 if task == 3 else 0.0, 9, fresh=0.5)
    tried = [task for batch in named for task in batch]
    assert set(tried) == set(range(20))
    assert len(tried) > 20


def test_a_task_whose_skill_was_gained_leaves_the_band():
    curriculum = Curriculum(recipe(staleness=0, memory=1.0))
    first = batch_of(curriculum, 0)
    learn(curriculum, 0, lambda task: 0.5)
    assert curriculum.measures() == {"curriculum_tried": BATCH, "curriculum_in_band": BATCH}
    again = batch_of(curriculum, 1)
    assert set(first) & set(again)
    learn(curriculum, 1, lambda task: 1.0)
    left = BATCH - len(set(first) & set(again))
    assert curriculum.measures()["curriculum_in_band"] == left


def test_the_choice_for_a_batch_hangs_on_rewards_up_to_its_staleness_before_it_and_no_later():
    """Batch n is named once batch n - S - 1 was learned from, and stays what it was."""
    one, _ = played(lambda task: 0.5, 3, staleness=2)
    named = [batch_of(one, number) for number in range(3, 6)]
    learn(one, 3, lambda task: 1.0)
    assert [batch_of(one, number) for number in range(3, 6)] == named
    with pytest.raises(NotChosen, match="those of 4 batches are known"):
        one.task(7 * BATCH)


def test_the_order_in_which_groups_come_changes_nothing():
    one, other = Curriculum(recipe()), Curriculum(recipe())
    rewards = {group: [0.25 * group, 0.0] for group in range(BATCH)}
    one.learned(rewards)
    other.learned(dict(reversed(rewards.items())))
    assert one.notes() == other.notes()


@pytest.mark.parametrize("at", [1, 3, 5])
def test_what_was_noted_is_taken_up_again(at):
    def earned(task):
        return (task * 7 % 10) / 10

    whole, named = played(earned, 8, staleness=2)
    part, _ = played(earned, at, staleness=2)
    again = Curriculum.of(recipe(staleness=2), part.notes(), at)
    for number in range(at, 8):
        assert batch_of(again, number + 2) == named[number + 2]
        learn(again, number, earned)
    assert again.notes() == whole.notes()


def test_notes_of_another_version_or_none_are_refused():
    part, _ = played(lambda task: 0.5, 2)
    with pytest.raises(NotChosen, match="of version 2, expected 3"):
        Curriculum.of(recipe(), part.notes(), 3)
    for broken in ({}, {"curriculum": []}, {"curriculum": {"learned": 3, "rates": [1]}}):
        with pytest.raises(NotChosen, match="without its curriculum"):
            Curriculum.of(recipe(), broken, 3)
    assert Curriculum.of(tiny_recipe(), {}, 3) is None


def test_another_seed_or_batch_is_another_order():
    other = recipe()
    other = other.model_copy(update={"run": other.run.model_copy(update={"seed": 1})})
    first = Curriculum(recipe())
    assert batch_of(first, 0) != batch_of(Curriculum(other), 0)
    assert batch_of(first, 0) != batch_of(first, 1)


def test_tasks_and_gradings_go_by_the_chosen_number_and_held_out_ones_by_their_own():
    environment = SecretOrder({"length": 3}, 5, b"secret")
    curriculum = Curriculum(recipe())
    over = curriculum.over(environment)
    for group in range(2 * BATCH):
        task = curriculum.task(group)
        assert over.task("train", group) == environment.task("train", task)
        (shown,) = shown_as(curriculum, [Submission("train", group, "abc", True)])
        assert (shown.index, shown.completion) == (task, "abc")
    assert over.task("dev", 9999) == environment.task("dev", 9999)
    assert over.supervised(3) == environment.supervised(3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pool": 3}, "a batch has no task twice; raise it"),
        ({"low": 0.9, "high": 0.1}, "swap them"),
    ],
)
def test_a_curriculum_that_cannot_be_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        recipe(**given)


def test_the_loop_in_one_process_asks_for_the_chosen_tasks_and_a_killed_one_goes_on_with_them(
    tmp_path,
):
    tokenizer, environment = character_tokenizer(), SecretOrder({"length": 3}, 5, b"secret")
    given = recipe(staleness=0, versions=5, memory=1.0)
    given = given.model_copy(update={"sampling": SamplingSection(max_new_tokens=4)})

    def loop(trainer, asked, until=5):
        def sample(state, requests):
            asked.append([request.prompt for request in requests])
            both = [Rollout((7, 2), (-1.0, -1.0), True), Rollout((9, 2), (-1.0, -2.0), True)]
            return [both * 2 for _ in requests]

        def grade(shown):
            return [float((each.index + place) % 3 == 0) for place, each in enumerate(shown)]

        curriculum = Curriculum.of(given, trainer.notes, trainer.version)
        rehearsal = Rehearsal(given, environment, tokenizer, sample, grade, curriculum)

        def watched(report):
            if report.version == until:
                raise KeyboardInterrupt

        reinforce(trainer, rehearsal, watched if until < 5 else lambda report: None, tmp_path)

    def fresh():
        return Trainer(tiny_model(vocab_size=64, max_position_embeddings=32), given)

    whole, part = [], []
    loop(fresh(), whole)
    first = Curriculum(given)
    own = [environment.task("train", first.task(group)).prompt for group in range(BATCH)]
    assert whole[0] == [prompt_ids(tokenizer, text) for text in own]
    assert len({prompt for batch in whole for prompt in batch}) < len(whole) * BATCH
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        loop(fresh(), part, until=3)
    again = Trainer.restore(tmp_path)
    assert again.version == 2, "version 3 was told and not saved"
    loop(again, part)
    assert part == [*whole[:3], *whole[2:]]
