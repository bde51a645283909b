"""Question and answer files in GSM8K's form: one JSON object a line, `answer` ends in `#### N`.

Parts: `read_problems` (bounded, errors name the line), `Jsonl` (the environment).
Law: a question that stands in the test part is in no other part, whatever the files say.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from archipel.training.environments.answers import final_number
from archipel.training.environments.parameters import Parameters, Scalar
from archipel.training.environments.task import (
    InvalidEnvironment,
    Task,
    check_place,
    split_of,
)

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
MAX_PROBLEMS = 1_000_000

DEFAULT_TEMPLATE = "Question: {question}\nAnswer:"


class BadProblemFile(InvalidEnvironment):
    """A question file cannot be read; the message names the file and line."""


@dataclass(frozen=True)
class Problem:
    """One line of the file."""

    question: str
    answer: str


class Jsonl:
    """Numbers as answers, graded exactly.

    Parameters: `path` (required), `test_path` (a separate test file; without it a tenth of `path`
    is the test part), `template` (holds `{question}`), `answer_anywhere` (false: the completion
    must say `#### N`).
    """

    supervised_floor = None

    def __init__(self, values: dict[str, Scalar], seed: int) -> None:
        settings = Parameters("jsonl", values)
        path, test_path = settings.text("path"), settings.text("test_path", "")
        self._template = settings.text("template", DEFAULT_TEMPLATE)
        self._anywhere = settings.flag("answer_anywhere", False)
        settings.finish()
        if "{question}" not in self._template:
            raise InvalidEnvironment("environment.parameters.template must hold {question}")
        test = read_problems(Path(test_path)) if test_path else None
        self._parts = _split(read_problems(Path(path)), test, seed)

    def task(self, split: str, index: int) -> Task:
        """Problems in a seeded order, each once before any comes again."""
        check_place(split, index)
        problem = self._problem(split, index)
        answer = str(final_number(problem.answer))
        return Task(
            index=index, split=split, prompt=self._prompt(problem), detail={"answer": answer}
        )

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """1 for the exact number, else 0; an unfinished completion may be cut inside its number."""
        if not finished:
            return 0.0
        given = final_number(completion, anywhere=self._anywhere)
        return float(given is not None and str(given) == task.detail["answer"])

    def supervised(self, index: int) -> tuple[str, str]:
        """A training question and its worked answer."""
        problem = self._problem("train", index)
        return self._prompt(problem), " " + problem.answer

    def _prompt(self, problem: Problem) -> str:
        return self._template.replace("{question}", problem.question)

    def _problem(self, split: str, index: int) -> Problem:
        part = self._parts[split]
        return part[index % len(part)]


def read_problems(path: Path) -> list[Problem]:
    """Read a whole file, bounded.

    Raises:
        BadProblemFile: missing, too large, not JSON, a missing field, or an answer without a
            number; the message says which line.
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
                    problems.append(_parse(line, f"{path}:{number}"))
                if len(problems) > MAX_PROBLEMS:
                    raise BadProblemFile(f"{path} holds more than {MAX_PROBLEMS} problems")
    except OSError as error:
        raise BadProblemFile(f"cannot read {path}: {error.strerror or error}") from None
    if not problems:
        raise BadProblemFile(f"{path} holds no problem")
    return problems


def _parse(line: bytes, where: str) -> Problem:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadProblemFile(f"{where}: not a JSON object: {error}") from None
    fields = [row.get(key) if isinstance(row, dict) else None for key in ("question", "answer")]
    question, answer = fields
    if not isinstance(question, str) or not isinstance(answer, str):
        raise BadProblemFile(f"{where}: expected text fields 'question' and 'answer'")
    if final_number(answer) is None:
        raise BadProblemFile(f"{where}: the answer does not end with '#### ' and a number")
    return Problem(question, answer)


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
