"""What a batch answered: counted by the answer and not by its words, and what the commonest would earn."""

import pytest

from archipel.training.answers import answer_metrics, answers_of, constant_reward, final_answer
from archipel.training.grading import Submission


def shown(*texts: str, split: str = "train") -> list[Submission]:
    return [Submission(split, number, text, True) for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so it is\n#### 42", "42"),
        ("#### 41 no, #### 42\nand more", "42"),
        ("<answer> Paris </answer> I think", "paris"),
        ("<answer>a</answer> <answer>b\nc</answer>", "c"),
        ("First,\nthen\n\n  The   END. \n", "the end"),
        ("", ""),
        ("cab", "cab"),
    ],
)
def test_an_answer_is_what_a_text_comes_down_to(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_answers_in_other_words_are_one_answer() -> None:
    found = answers_of(shown("I say\n#### 7", "Surely #### 7", "#### 7", "#### 8"))
    assert found is not None
    assert (found.num_distinct, found.commonest_share) == (2, 0.75)


def test_the_order_of_completions_changes_nothing() -> None:
    texts = ("b", "a", "a.", "b", "A.", "c", "A.")
    one, other = answers_of(shown(*texts)), answers_of(shown(*texts[::-1]))
    assert one is not None
    assert other is not None
    assert one.example.completion == other.example.completion == "A."
    assert one.commonest_share == other.commonest_share == 4 / 7


def test_the_majority_baseline_is_the_reward_of_one_answer_to_every_task_once() -> None:
    """Tasks 0, 1 and 3 are answered twice each by the policy, which does not weigh them twice."""
    asked: list[Submission] = []

    def grade(batch: list[Submission]) -> list[float]:
        asked.extend(batch)
        return [float(each.index % 2 and each.completion == "yes") for each in batch]

    batch = shown("yes", "yes", "no", "yes")
    batch += batch
    found = answers_of(batch)
    assert found is not None
    assert constant_reward(found, batch, grade) == 0.5
    assert [(each.index, each.completion) for each in asked] == [(n, "yes") for n in range(4)]


def test_a_rare_answer_is_not_worth_a_grading() -> None:
    def never(batch: list[Submission]) -> list[float]:
        raise AssertionError

    metrics = answer_metrics(shown(*"abcde"), never)
    assert metrics == {"distinct_answers": 5, "commonest_answer_micro": 200_000}
    assert answer_metrics([], never) == {}
    asked = answer_metrics(shown(*"aabcd"), lambda batch: [0.5] * len(batch))
    assert asked["constant_reward_micro"] == 500_000
