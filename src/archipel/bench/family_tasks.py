"""Tasks as people bring them: question files, a reward in Python, and tasks of reasoning-gym; all with labels.

Parts: `Family`, `FAMILIES`. Law: nothing here depends on chance; which question is held out, its environment says.
Where a family has one answer that is right often, `guess` says so: a policy may fall for it.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, permutations
from pathlib import Path

Question = tuple[str, str]
"""What is asked, and the right answer."""
Value = str | int | float | bool
LETTERS, LENGTH, EVERY = "abcdefghij", 5, 7
"""Of the arrangements every seventh is asked."""
SUMMANDS = range(30)
COMPARED = range(10, 90)


@dataclass(frozen=True)
class Family:
    """One kind of task."""

    name: str
    environment: str
    """As a recipe names it."""
    parameters: Mapping[str, Value]
    max_new_tokens: int
    supervised_steps: int = 300
    """After which a small model does better than one answer to everything, and is often wrong."""
    guess: str = ""
    """What a policy may answer to everything, and earn by it."""
    questions: Callable[[], Iterator[Question]] | None = None
    """Of a question file."""
    code: str = field(default="", repr=False)
    """Of a Python file."""

    @property
    def digest(self) -> str:
        """Of what is asked, 16 hex digits."""
        told = json.dumps([*self.parameters.items(), self.code, *self._asked()])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _asked(self) -> Iterator[Question]:
        return iter(()) if self.questions is None else self.questions()

    def placed(self, folder: Path) -> dict[str, Value]:
        """The environment's parameters, with the file that it reads, written now."""
        if self.questions is not None:
            path = folder / f"{self.name}.jsonl"
            lines = [
                json.dumps({"question": question, "answer": f"#### {answer}"})
                for question, answer in self._asked()
            ]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        elif self.code:
            path = folder / f"{self.name}.py"
            path.write_text(self.code, encoding="utf-8")
        else:
            return dict(self.parameters)
        return {"path": str(path), **self.parameters}


def _sums() -> Iterator[Question]:
    return ((f"{a}+{b}=", f"{a + b}") for a in SUMMANDS for b in SUMMANDS)


def _larger() -> Iterator[Question]:
    """Which of two numbers is larger; A in nearly two thirds of them."""
    draw = random.Random("larger")  # noqa: S311 - tasks, not secrets
    for a in COMPARED:
        for b in COMPARED:
            if a > b or (a < b and draw.random() < 0.6):
                yield f"A {a} B {b}? ", "A" if a > b else "B"


def _sorted() -> Iterator[Question]:
    arranged = islice(permutations(LETTERS, LENGTH), 0, None, EVERY)
    return ((f"{''.join(each)}: ", "".join(sorted(each))) for each in arranged)


CHANGE = '''"""Pay an amount in coins, without one kind of them: the nearer the sum, the more it earns."""

COINS = (1, 2, 5, 10, 20, 50)


def tasks(highest=150):
    for amount in range(2, highest):
        for missing in COINS[1:]:
            yield {"prompt": f"pay {amount} without {missing}: ", "amount": amount, "missing": missing}


def paid(task, completion):
    words = completion.split()
    if not words or not all(word.isdecimal() and int(word) in COINS for word in words):
        return None
    return None if str(task["missing"]) in words else sum(map(int, words))


def close(task, completion):
    total = paid(task, completion)
    return 0.0 if total is None else max(0.0, 1.0 - abs(total - task["amount"]) / task["amount"])


def right(task, completion):
    return float(paid(task, completion) == task["amount"])


REWARDS = {"close": close, "right": right}
WEIGHTS = {"close": 0.3, "right": 0.7}


def answer(task):
    left, coins = task["amount"], []
    for coin in reversed(COINS):
        while coin <= left and coin != task["missing"]:
            coins.append(str(coin))
            left -= coin
    return " ".join(coins)
'''
"""An own reward, as the how-to page has one: partly right is worth something."""


def _own(**parameters: Value) -> dict[str, Value]:
    return {"template": "{question}", **parameters}


FAMILIES = {
    each.name: each
    for each in (
        Family("sums", "jsonl", _own(), 9, 600, questions=_sums),
        Family(
            "larger",
            "jsonl",
            _own(answer_kind="choice", choices="A,B"),
            8,
            guess="A",
            questions=_larger,
        ),
        Family("sorted", "jsonl", _own(answer_kind="text"), 12, questions=_sorted),
        Family("change", "python", {}, 28, 600, guess="20 20 10", code=CHANGE),
        Family("bits", "reasoning_gym", {"task": "count_bits", "max_n": 1023}, 4, guess="5"),
        Family(
            "letters",
            "reasoning_gym",
            {"task": "letter_counting", "min_words": 1, "max_words": 3},
            4,
            guess="1",
        ),
        Family("divisors", "reasoning_gym", {"task": "gcd", "max_value": 60}, 4, guess="1"),
        Family(
            "backward",
            "reasoning_gym",
            {"task": "spell_backward", "min_word_len": 3, "max_word_len": 5},
            8,
        ),
    )
}
"""By name."""
