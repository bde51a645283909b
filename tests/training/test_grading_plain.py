"""A foreign grader shares a process only where its code can neither evaluate a text nor keep anything of it."""

import copy
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from archipel.training.environments.reasoning_gym import ReasoningGym
from archipel.work.grading.cell import Question
from archipel.work.grading.plain_code import holds_plain_values, is_plain
from archipel.work.grading.process import _sharing

EVALUATING = [
    "binary_matrix",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "number_sorting",
    "polynomial_multiplication",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
]
KEEPING = ["decimal_arithmetic", "tower_of_hanoi"]
PLAIN = [
    "letter_counting",
    "gsm_symbolic",
    "game_of_life",
    "sudoku",
    "word_sorting",
]
HOSTILE = [
    "",
    "0",
    "[" * 2000,
    "9" * 6000,
    "\x00",
    "1 2 3",
    '{"a": 1}',
    "__import__('os')",
    "nan",
    "1e999",
]
SEEN: list[str] = []
WORDS = ("yes", "no")


def _told(text: str) -> float:
    return float(text.strip() == "yes")


def _kept(text: str) -> float:
    SEEN.append(text)
    return 0.0


def _noted(method: Callable[..., float]) -> Callable[..., float]:
    return method


def _shown(self: object, answer: str, entry: dict[str, Any]) -> float:
    return float(str(self) == answer)


class Graders:
    """Each method scores, in a way of its own."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(size=3, words=["a"])
        self.count = 0

    def compares(self, answer: str, entry: dict[str, Any]) -> float:
        """With its text."""
        return 1.0 if isinstance(answer, str) and answer.strip() == entry["answer"] else 0.01

    def reads(self, answer: str, entry: dict[str, Any]) -> float:
        """Numbers, of the settings too."""
        try:
            found = [int(each) for each in answer.split()[: self.config.size]]
        except ValueError:
            return 0.0
        total = 0
        for each in found:
            total += each
        return math.exp(-abs(total - len(entry)))

    def looks(self, answer: str, entry: dict[str, Any]) -> float:
        """By a constant pattern, and calls others."""
        return (
            _told(json.loads(answer))
            if re.search(r"[a-z]", answer)
            else self.compares(answer, entry)
        )

    def names(self, answer: str, entry: dict[str, Any]) -> float:
        """What nothing can change."""
        return float(answer in WORDS)

    def catches(self, answer: str, entry: dict[str, Any]) -> float:
        """What another module raises."""
        try:
            return float(json.loads(answer) == entry["answer"])
        except json.JSONDecodeError:
            return 0.0

    @staticmethod
    def _same(answer: str, known: str) -> bool:
        return answer == known

    def shares(self, answer: str, entry: dict[str, Any]) -> float:
        """A function that needs no owner."""
        return float(self._same(answer, entry["answer"]))

    def writes(self, answer: str, entry: dict[str, Any]) -> float:
        json.dump(answer, entry["answer"])
        return 0.0

    @_noted
    def decorated(self, answer: str, entry: dict[str, Any]) -> float:
        return float(answer == entry["answer"])

    def delegates(self, answer: str, entry: dict[str, Any]) -> float:
        return self.counts(answer, entry)

    def evaluates(self, answer: str, entry: dict[str, Any]) -> float:
        return float(eval(answer))

    def hides(self, answer: str, entry: dict[str, Any]) -> float:
        evaluate = eval
        return float(evaluate(answer))

    def maps(self, answer: str, entry: dict[str, Any]) -> float:
        return sum(map(eval, [answer]))

    def counts(self, answer: str, entry: dict[str, Any]) -> float:
        self.count += 1
        return 0.0

    def adds(self, answer: str, entry: dict[str, Any]) -> float:
        words = self.config.words
        words += [answer]
        return 0.0

    def appends(self, answer: str, entry: dict[str, Any]) -> float:
        self.config.words.append(answer)
        return 0.0

    def puts(self, answer: str, entry: dict[str, Any]) -> float:
        SEEN[:] = [answer]
        return 0.0

    def calls(self, answer: str, entry: dict[str, Any]) -> float:
        return _kept(answer)

    def declares(self, answer: str, entry: dict[str, Any]) -> float:
        global WORDS
        WORDS = (answer, "no")
        return 0.0

    def imports(self, answer: str, entry: dict[str, Any]) -> float:
        import os

        return float(os.system(answer))

    def reaches(self, answer: str, entry: dict[str, Any]) -> float:
        return float(answer.__class__.__name__ == "str")

    def passes(self, answer: str, entry: dict[str, Any]) -> float:
        return float(str(self) == answer)

    def formats(self, answer: str, entry: dict[str, Any]) -> float:
        return float(len(answer.format(self.config)))

    def patterns(self, answer: str, entry: dict[str, Any]) -> float:
        return float(re.search(answer, "a") is not None)

    def contexts(self, answer: str, entry: dict[str, Any]) -> float:
        return float(Decimal(answer) / 3)

    def lambdas(self, answer: str, entry: dict[str, Any]) -> float:
        return (lambda text: float(text))(answer)

    def mixes(self, answer: str, entry: dict[str, Any]) -> float:
        count = len([SEEN for SEEN in [answer]])  # noqa: C416
        seen = SEEN
        seen += [answer]
        return float(count)

    def remembers(self, answer: str, entry: dict[str, Any], seen: list[str] = []) -> float:  # noqa: B006
        seen += [answer]
        return float(len(seen))


PLAIN_METHODS = ["compares", "reads", "looks", "names", "catches", "shares"]
OTHERS = [name for name in vars(Graders) if not name.startswith("_") and name not in PLAIN_METHODS]


@pytest.mark.parametrize("name", PLAIN_METHODS)
def test_a_grader_that_only_compares_is_plain(name: str) -> None:
    assert is_plain(getattr(Graders(), name))


@pytest.mark.parametrize("name", OTHERS)
def test_a_grader_that_evaluates_keeps_or_reaches_out_is_not(name: str) -> None:
    assert not is_plain(getattr(Graders(), name))


def test_a_method_put_on_the_object_is_not_taken_for_its_class_s() -> None:
    graders = Graders()
    graders.compares = graders.counts  # type: ignore[method-assign]
    assert not is_plain(graders.looks)


def test_a_function_is_read_itself_and_not_what_it_says_it_wraps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_kept, "__wrapped__", _told, raising=False)
    monkeypatch.setitem(globals(), "_told", _kept)
    assert not is_plain(Graders().looks)


def test_a_function_of_the_module_that_became_a_method_does_not_pass_its_owner_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Graders, "names", _shown)
    assert not is_plain(Graders().names)


def test_a_name_of_the_module_that_hides_a_builtin_is_not_the_builtin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "float", _kept)
    assert not is_plain(Graders().names)


def test_values_with_operators_of_their_own_are_not_plain() -> None:
    assert holds_plain_values({"a": [1, (2.0, "x", None, True)]})
    assert not holds_plain_values({"a": [Decimal(1)]})
    assert not holds_plain_values({"a": defaultdict(list)}), "reading it changes it"


def test_only_tasks_whose_own_entry_is_plain_share_a_cell() -> None:
    environment = ReasoningGym({"task": "gsm_symbolic"}, 0)
    shares = _sharing(environment, is_ours=False)
    found = {}
    for index in range(60):
        entry = environment.foreign_entry("train", index)
        found[holds_plain_values(entry)] = index
        assert shares(Question(0, "train", index, "1", True)) == holds_plain_values(entry)
    assert found.keys() == {True, False}, "some have fractions"


@pytest.mark.parametrize("task", EVALUATING + KEEPING)
def test_data_sets_that_evaluate_or_keep_get_a_cell_for_each_text(task: str) -> None:
    assert not is_plain(ReasoningGym({"task": task}, 0).foreign_scorer)


@pytest.mark.parametrize("task", PLAIN)
def test_no_text_changes_what_a_plain_data_set_holds_or_a_later_reward(task: str) -> None:
    environment = ReasoningGym({"task": task}, 0)
    scorer = environment.foreign_scorer
    assert is_plain(scorer)
    assert holds_plain_values(environment.foreign_entry("train", 0))
    asked = environment.task("train", 0)
    before = copy.deepcopy(vars(scorer.__self__))
    rewards = [_reward(environment, asked, text) for text in HOSTILE]
    assert [_reward(environment, asked, text) for text in HOSTILE] == rewards
    assert vars(scorer.__self__).keys() == before.keys()
    assert vars(scorer.__self__)["config"] == before["config"]


def _reward(environment: ReasoningGym, task: Any, text: str) -> float | str:
    try:
        return environment.grade(task, text, True)
    except Exception as error:  # noqa: BLE001  (a reward of 0 then)
        return type(error).__name__
