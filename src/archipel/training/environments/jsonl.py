"""Question and answer files in GSM8K's form: one JSON object a line, `answer` ends in `#### N`.

Parts: `read_problems` (bounded, errors name the line), `Jsonl` (the environment). What an answer may be
besides a number, and when two are the same, stands in `answers`.
Law: a question that stands in the test part is in no other part, whatever the files say.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from archipel.training.environments.answers import KINDS, Reader, make_reader
from archipel.training.environments.parameters import Parameters, Scalar, read_template
from archipel.training.environments.task import (
    InvalidEnvironment,
    Task,
    check_place,
    is_text,
    split_of,
)

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
MAX_PROBLEMS = 1_000_000

DEFAULT_TEMPLATE = "Question: {question}\nAnswer:"

_NUMBERS = make_reader("number", anywhere=False, choices=(), ignore_case=False)


class BadProblemFile(InvalidEnvironment):
    """A question file cannot be read; the message names the file and line."""


@dataclass(frozen=True)
class Problem:
    """One line of the file."""

    question: str
    answer: str
    """As the file gives it: worked, and what a supervised stage shows."""
    right: str
    """The canonical form of the answer: what a completion's has to equal."""


class Jsonl:
    """Questions with one right answer each, graded exactly.

    Parameters: `path` (required), `test_path` (a separate test file; without it a tenth of `path`
    is the test part; both relative to the recipe's file), `template` (holds `{question}`),
    `answer_kind` ("number", "text", "choice" or "set"), `choices` ("A,B,C,D": what may be chosen),
    `ignore_case` (false; of texts and sets), `answer_anywhere` (false: the answer stands after
    `####`; true: without it, the last number of the text or else its last line).
    """

    supervised_floor = None

    def __init__(self, values: dict[str, Scalar], seed: int) -> None:
        settings = Parameters("jsonl", values)
        path, test_path = settings.text("path"), settings.text("test_path", "")
        self._template = read_template(settings, DEFAULT_TEMPLATE)
        self._read = _reader_of(settings)
        settings.finish()
        test = read_problems(Path(test_path), self._read) if test_path else None
        self._parts = _split(read_problems(Path(path), self._read), test, seed)

    def task(self, split: str, index: int) -> Task:
        """Problems in a seeded order, each once before any comes again."""
        check_place(split, index)
        problem = self._problem(split, index)
        detail = {"answer": problem.right}
        return Task(index=index, split=split, prompt=self._prompt(problem), detail=detail)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """1 for the same answer, else 0; an unfinished completion may be cut inside its answer."""
        return float(finished and self._read(completion) == task.detail["answer"])

    def supervised(self, index: int) -> tuple[str, str]:
        """A training question and its worked answer."""
        problem = self._problem("train", index)
        return self._prompt(problem), " " + problem.answer

    def _prompt(self, problem: Problem) -> str:
        return self._template.replace("{question}", problem.question)

    def _problem(self, split: str, index: int) -> Problem:
        part = self._parts[split]
        return part[index % len(part)]


def _reader_of(settings: Parameters) -> Reader:
    kind = settings.text("answer_kind", "number", choices=KINDS)
    choices = [choice.strip() for choice in settings.text("choices", "A,B,C,D").split(",")]
    if not all(choices) or len(set(choices)) < max(2, len(choices)):
        raise InvalidEnvironment(
            "environment.parameters.choices: expected two or more different ones with commas, "
            "such as 'A,B,C,D'"
        )
    ignore_case = settings.flag("ignore_case", False)
    return make_reader(kind, settings.flag("answer_anywhere", False), choices, ignore_case)


def read_problems(path: Path, read: Reader = _NUMBERS) -> list[Problem]:
    """Read a whole file, bounded; `read` finds the answer in what the file gives.

    Raises:
        BadProblemFile: missing, too large, not JSON, a missing field, text that is not Unicode, or
            an answer that `read` does not find; the message says which line.
    """
    problems: list[Problem] = []
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadProblemFile(f"{path} is larger than {MAX_FILE_BYTES} bytes; split it")
        with path.open("rb") as lines:
            number = 0
            while line := lines.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise BadProblemFile(
                        f"{path}:{number}: line is longer than {MAX_LINE_BYTES} bytes"
                    )
                if line.strip():
                    problems.append(_parse(line, f"{path}:{number}", read))
                if len(problems) > MAX_PROBLEMS:
                    raise BadProblemFile(f"{path} holds more than {MAX_PROBLEMS} problems")
    except OSError as error:
        raise BadProblemFile(f"cannot read {path}: {error.strerror or error}") from None
    if not problems:
        raise BadProblemFile(f"{path} holds no problem")
    return problems


def _parse(line: bytes, where: str, read: Reader) -> Problem:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadProblemFile(f"{where}: not a JSON object: {error}") from None
    fields = [row.get(key) if isinstance(row, dict) else None for key in ("question", "answer")]
    question, answer = fields
    if not isinstance(question, str) or not isinstance(answer, str):
        raise BadProblemFile(f"{where}: expected text fields 'question' and 'answer'")
    if not is_text(question) or not is_text(answer):
        raise BadProblemFile(
            f"{where}: holds half of a surrogate pair, as of an emoji that was cut; mend or remove the line"
        )
    right = read(answer)
    if right is None:
        raise BadProblemFile(
            f"{where}: the answer does not end with '#### ' and an answer of the recipe's kind (a number, "
            "unless environment.parameters.answer_kind says otherwise)"
        )
    return Problem(question, answer, right)


def _split(rows: list[Problem], test: list[Problem] | None, seed: int) -> dict[str, list[Problem]]:
    held_out = {problem.question for problem in test or []}
    parts: dict[str, list[Problem]] = {"train": [], "dev": [], "test": list(test or [])}
    for problem in rows:
        split = split_of(problem.question)
        if test is not None:
            if problem.question in held_out:
                continue
            split = "train" if split == "test" else split
        parts[split].append(problem)
    for split, part in parts.items():
        if not part:
            raise InvalidEnvironment(
                f"the file is too small: no problem falls into the {split} part"
            )
        part.sort(key=lambda problem: _order(seed, problem.question))
    return parts


def _order(seed: int, question: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{question}".encode(), digest_size=16).digest()
