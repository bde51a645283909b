"""Questions whose answers can be checked: what a cascade is calibrated by.

Parts: `Probe`, `read_probes` (a question file), `probes_of` (a recipe's held-out tasks). Law: a reference answer is right by its own check.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from archipel.records.document import BadDocument, read_document
from archipel.records.recipe import Recipe
from archipel.serve.question import Question, Settings
from archipel.training.environments.answers import make_reader
from archipel.training.environments.environment import Environment

Check = Literal["exact", "contains", "number"]
MAX_LINE_BYTES = 256 * 1024
MAX_PROBES = 100_000


class BadProbes(ValueError):
    """A question file cannot be used; the message names the file and line."""


@dataclass(frozen=True)
class Probe:
    """One question."""

    question: str
    """Of people; what a text model goes on from."""
    messages: tuple[Mapping[str, Any], ...]
    """The same as turns; empty where it is `question` alone."""
    digest: str
    """Of all that decides how it is asked and graded."""
    grade: Callable[[str, bool], float]
    """(text, whether the answer ended by itself) -> how good it is, 0 to 1."""
    kind: str = ""
    """What sort of question, for tables."""

    def asked(self, model: str, has_template: bool, max_new_tokens: int) -> Question:
        """As it is put to a model: greedily; as one turn where the model takes turns."""
        settings = Settings(max_new_tokens=max_new_tokens, temperature=0.0)
        if not has_template and not self.messages:
            return Question(model, settings, text=self.question)
        said = self.messages or ({"role": "user", "content": self.question},)
        return Question(model, settings, messages=said)


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    question: Annotated[str, Field(max_length=MAX_LINE_BYTES)] = ""
    messages: Annotated[tuple[dict[str, Any], ...], Field(max_length=1000)] = ()
    answer: str = ""
    check: Check | None = None
    kind: Annotated[str, Field(max_length=80)] = ""


def read_probes(path: Path, check: Check | None) -> list[Probe]:
    """A JSON object a line: `question` or `messages`, `answer`, and `check` where it is another than this.

    check: None where nobody answers; lines then need no answer.

    Raises:
        BadProbes: see there. OSError: it cannot be read.
    """
    found = []
    with path.open("rb") as lines:
        for number, line in enumerate(_bounded(lines, path), 1):
            if line.strip():
                found.append(parse_probe(line, check, f"{path}:{number}"))
            if len(found) > MAX_PROBES:
                raise BadProbes(f"{path} holds more than {MAX_PROBES} questions; take a sample")
    if not found:
        raise BadProbes(f"{path} holds no question")
    return found


def _bounded(lines: Any, path: Path) -> Iterator[bytes]:
    while line := lines.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise BadProbes(f"{path}: a line is longer than {MAX_LINE_BYTES} bytes")
        yield line


def parse_probe(line: bytes, check: Check | None, where: str) -> Probe:
    """Raises BadProbes."""
    try:
        row = read_document(_Line, line)
    except BadDocument as error:
        raise BadProbes(f"{where}: {error}; expected question and answer as texts") from None
    if not row.question and not row.messages:
        raise BadProbes(f"{where}: neither question nor messages; expected one of them")
    said = row.question or str(row.messages[-1].get("content", ""))
    if check is None:
        return Probe(said, row.messages, "", lambda text, finished: 0.0, row.kind)
    kind = row.check or check
    right = _reader(kind)(row.answer)
    if right is None:
        raise BadProbes(f"{where}: the answer {row.answer!r:.60} holds no {kind} answer")
    told = json.dumps([row.question, row.messages, right, kind])
    digest = hashlib.sha256(told.encode()).hexdigest()[:32]
    return Probe(said, row.messages, digest, _grader(kind, right), row.kind)


def probes_of(recipe: Recipe, environment: Environment, split: str, num: int) -> list[Probe]:
    """The first `num` tasks of a part of the recipe's environment, graded by it."""
    found = []
    for index in range(num):
        task = environment.task(split, index)
        named = f"{recipe.digest}/{split}/{index}"

        def grade(text: str, finished: bool, task: Any = task) -> float:
            return min(1.0, max(0.0, environment.grade(task, text, finished)))

        digest = hashlib.sha256(named.encode()).hexdigest()[:32]
        found.append(Probe(task.prompt, (), digest, grade))
    return found


def _reader(kind: Check) -> Callable[[str], str | None]:
    """A text -> its answer in the one form that is compared."""
    if kind == "contains":
        return lambda text: " ".join(text.split()).casefold() or None
    return make_reader("number" if kind == "number" else "text", True, (), ignore_case=True)


def _grader(kind: Check, right: str) -> Callable[[str, bool], float]:
    read = _reader(kind)
    if kind == "contains":
        return lambda text, finished: float(right in (read(text) or ""))
    return lambda text, finished: float(finished and read(text) == right)
