"""What a batch answered, whatever words it used: how many answers there are, and what the commonest would earn.

A policy that gives one answer to everything can earn more and more by it, so a reward alone does not show it.
Beside it stands the majority baseline: the reward of that answer given to every task. Both are measurements
only. Law: nothing here reaches a reward or a gradient.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from archipel.training.environments.answers import MARK
from archipel.training.grading import Submission

MICRO = 1_000_000
WORTH_ASKING = 0.25
"""Share of the commonest answer from which its reward is asked for: gradings may be dear."""
MAX_ANSWER_CHARS = 4096
"""Of a longer answer only so much is compared."""
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)

Grade = Callable[[Sequence[Submission]], Sequence[float]]


@dataclass(frozen=True)
class Answers:
    """The answers of one batch."""

    num_distinct: int
    commonest_share: float
    """Of all completions that give the most frequent answer."""
    example: Submission
    """A completion that gives it: the most frequent one."""


def final_answer(text: str) -> str:
    """What a completion comes down to, by the marks in use: `<answer>`, else `####`, else its last line.

    For counting only; which answers are right, an environment says. Case, white space and a full stop at the
    end do not make two answers of one.
    """
    tagged = _TAGGED.findall(text)
    _, mark, marked = text.rpartition(MARK)
    said = tagged[-1] if tagged else marked if mark else text
    lines = said.strip().splitlines() or [""]
    line = lines[0] if mark and not tagged else lines[-1]
    plain = " ".join(unicodedata.normalize("NFC", line[:MAX_ANSWER_CHARS]).split())
    return plain.removesuffix(".").casefold()


def answers_of(shown: Sequence[Submission]) -> Answers | None:
    """What was answered; None to nothing. The result does not hang on the order of completions."""
    if not shown:
        return None
    said = [final_answer(each.completion) for each in shown]
    often = Counter(said)
    commonest = min(often, key=lambda answer: (-often[answer], answer))
    completions = Counter(
        (each.completion, each.finished)
        for each, answer in zip(shown, said, strict=True)
        if answer == commonest
    )
    text, finished = min(completions, key=lambda key: (-completions[key], key))
    example = replace(shown[0], completion=text, finished=finished)
    return Answers(len(often), often[commonest] / len(shown), example)


def constant_reward(answers: Answers, shown: Sequence[Submission], grade: Grade) -> float:
    """Mean reward if the commonest answer were given to each of the tasks once."""
    tasks = dict.fromkeys((each.split, each.index) for each in shown)
    constant = [replace(answers.example, split=split, index=index) for split, index in tasks]
    return math.fsum(grade(constant)) / len(constant)


def answer_metrics(
    shown: Sequence[Submission], grade: Grade, worth_asking: float = WORTH_ASKING
) -> dict[str, int]:
    """For a record: `distinct_answers`, `commonest_answer_micro`, perhaps `constant_reward_micro`."""
    answers = answers_of(shown)
    if answers is None:
        return {}
    metrics = {
        "distinct_answers": answers.num_distinct,
        "commonest_answer_micro": round(answers.commonest_share * MICRO),
    }
    is_one_turn = not getattr(answers.example, "turns", ())
    if answers.commonest_share >= worth_asking and is_one_turn:
        metrics["constant_reward_micro"] = round(constant_reward(answers, shown, grade) * MICRO)
    return metrics
