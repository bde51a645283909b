"""Questions and traces as files: JSON, and safetensors with one matrix for each step. Everything is bounded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from archipel.engine.exact.steps import Step, steps_of
from archipel.engine.exact.trace import BadQuestion, Question, Trace
from archipel.model.config import DecoderConfig

FORMAT = "archipel.exact.trace.v1"
MAX_QUESTION_BYTES = 1 << 20
QUESTION_FIELDS = ("contract", "weights", "prompt", "tokens", "seed", "rollout", "temperature")


class BadTrace(ValueError):
    """A file that holds no trace of this model."""


def question_from(fields: Any) -> Question:
    """A question from what JSON gave; a seed may be a text, since many readers have no integers of 64 bits.

    Raises:
        BadQuestion: says what is wrong.
    """
    if not isinstance(fields, dict) or set(fields) != set(QUESTION_FIELDS):
        raise BadQuestion(f"expected an object with {', '.join(QUESTION_FIELDS)}, and nothing else")
    seed = fields["seed"]
    if isinstance(seed, str) and seed.isascii() and seed.isdecimal() and len(seed) <= 20:
        seed = int(seed)
    lists = [fields["prompt"], fields["tokens"]]
    sound = (
        all(isinstance(each, list) and all(type(n) is int for n in each) for each in lists)
        and type(seed) is int and type(fields["rollout"]) is int
        and type(fields["temperature"]) in (int, float)
        and isinstance(fields["contract"], str) and isinstance(fields["weights"], str)
    )  # fmt: skip
    if not sound:
        raise BadQuestion(
            "expected prompt and tokens as lists of integers, seed and rollout as integers, temperature "
            "as a number, contract and weights as texts"
        )
    return Question(
        fields["contract"], fields["weights"], tuple(lists[0]), tuple(lists[1]), seed,
        fields["rollout"], float(fields["temperature"]),
    )  # fmt: skip


def fields_of(question: Question) -> dict[str, Any]:
    """As JSON says it."""
    fields = {name: getattr(question, name) for name in QUESTION_FIELDS}
    return fields | {
        "prompt": list(question.prompt), "tokens": list(question.tokens), "seed": str(question.seed),
    }  # fmt: skip


def read_question(path: Path) -> Question:
    """From a file.

    Raises:
        BadQuestion: says what is wrong.
        BadTrace: it is no plain file.
        OSError: it cannot be read.
    """
    _check_file(path)
    with path.open("rb") as file:
        data = file.read(MAX_QUESTION_BYTES + 1)
    if len(data) > MAX_QUESTION_BYTES:
        raise BadQuestion(f"{path} has more than {MAX_QUESTION_BYTES} bytes")
    return _question(data, path)


def write_trace(path: Path, trace: Trace) -> None:
    """One matrix for each step, by its number; the question beside them.

    Raises:
        OSError: the disk is full, or the place closed.
    """
    tensors = {
        f"{number:05d} {step}": np.ascontiguousarray(rows)
        for number, (step, rows) in enumerate(zip(trace.steps, trace.values, strict=True))
    }
    question = json.dumps(fields_of(trace.question))
    try:
        save_file(tensors, path, metadata={"format": FORMAT, "question": question})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from None


def read_trace(path: Path, config: DecoderConfig) -> Trace:
    """Back; its question must be one for this model, and its matrices of the right shapes.

    Raises:
        BadTrace, BadQuestion: it is no trace of this model.
        OSError: it cannot be read.
    """
    _check_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise BadTrace(f"{path} is no trace: its format is {metadata.get('format')!r:.60}")
            question = _question(metadata.get("question", "").encode(), path)
            question.check(config)
            steps = steps_of(config)
            values = [_rows(file, path, question, step, n) for n, step in enumerate(steps)]
    except SafetensorError as error:
        raise BadTrace(f"{path} cannot be read: {error}") from None
    return Trace(config, question, tuple(values))


def _rows(file: Any, path: Path, question: Question, step: Step, number: int) -> np.ndarray:
    name, num = f"{number:05d} {step}", len(question.tokens if step.late else question.fed)
    held = file.get_slice(name)
    shape, kind = tuple(held.get_shape()), held.get_dtype()
    if shape != (num, step.width):
        raise BadTrace(f"{path}: {name} has shape {shape}, expected {(num, step.width)}")
    if kind != "F32":
        raise BadTrace(f"{path}: {name} holds {kind}, expected F32")
    rows: np.ndarray = file.get_tensor(name)
    return rows


def _check_file(path: Path) -> None:
    """Refuse what is no plain file: a pipe would be waited for, and a device has no end."""
    if not path.is_file():
        raise BadTrace(f"{path} is no plain file; name a file that was written here")


def _question(data: bytes, path: Path) -> Question:
    try:
        return question_from(json.loads(data))
    except BadQuestion as error:
        raise BadQuestion(f"{path}: {error}") from None
    except (ValueError, RecursionError):
        raise BadQuestion(f"{path} holds no JSON") from None
    except OverflowError:
        raise BadQuestion(f"{path}: temperature is beyond all numbers") from None
