"""What a model is measured on before a variant of the exact contract is chosen for it.

Three sources: the shipped text, a file of somebody's own (plain text, or JSON lines), and a recipe's
held-out prompts with the model's own answers, which are what its rollouts will be.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from torch import Tensor

from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.forcing import Line
from archipel.model.config import DecoderConfig
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.seeds import evaluation_seed
from archipel.training.environments.environment import make_environment
from archipel.training.evaluation import evaluation_tasks
from archipel.training.groups import stop_ids, task_ids
from archipel.training.wording import wording_of_recipe

WINDOW = 256
"""Tokens of a text that are read together."""
MAX_FILE_BYTES = 64 * 1024 * 1024
SHIPPED = "calibration.txt"


class NothingToMeasure(ValueError):
    """The source has no text that a distance could be measured on."""


def shipped_text() -> str:
    """A few pages of prose, dialogue, sums, code and lists, in English."""
    return files("archipel.work").joinpath(SHIPPED).read_text(encoding="utf-8")


def lines_of_text(
    text: str, tokenizer: Tokenizer, config: DecoderConfig, num_windows: int
) -> list[Line]:
    """The first windows of a text; each token but a window's first is scored.

    Raises:
        UnknownText: the vocabulary has no ids for some character.
        NothingToMeasure: less than two tokens.
    """
    tokens = tokenizer.encode(text, parse_special=False)
    size = min(WINDOW, config.max_position_embeddings)
    windows = [tuple(tokens[at : at + size]) for at in range(0, len(tokens), size)]
    found = [w for w in windows if len(w) > 1][:num_windows]
    return _some([Line(i, w[:1], w[1:]) for i, w in enumerate(found)], "the text is too short")


def lines_of_file(
    path: Path, tokenizer: Tokenizer, config: DecoderConfig, num_windows: int
) -> list[Line]:
    """Of plain text, or of JSON lines with `text`, or with `prompt` and `completion` (scored alone).

    Raises:
        OSError: not readable.
        UnknownText: the vocabulary has no ids for some character.
        NothingToMeasure: too large, not such lines, or nothing in them.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise NothingToMeasure(f"{path} is larger than {MAX_FILE_BYTES} bytes; give a part of it")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NothingToMeasure(f"{path} is not UTF-8 text: {error}") from None
    if path.suffix != ".jsonl":
        return lines_of_text(text, tokenizer, config, num_windows)
    pairs = [
        _pair(path, number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    found = list[Line]()
    for prompt, completion in pairs[:num_windows]:
        given = tokenizer.encode(prompt, parse_special=False) if prompt else []
        told = given + tokenizer.encode(completion, parse_special=False)
        told, begin = told[: config.max_position_embeddings], max(1, len(given))
        if len(told) > begin:
            found.append(Line(len(found), tuple(told[:begin]), tuple(told[begin:])))
    return _some(found, f"{path} has no line with something to score")


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        fields = json.loads(line)
        if isinstance(fields, dict):
            prompt, text = fields.get("prompt", ""), fields.get("completion", fields.get("text"))
            if isinstance(prompt, str) and isinstance(text, str):
                return prompt, text
    except (ValueError, RecursionError):
        pass
    raise NothingToMeasure(
        f"{path}, line {number}: got {line!r:.40}, expected an object with text, or prompt and completion"
    )


def lines_of_recipe(
    recipe: Recipe,
    model: tuple[DecoderConfig, Tokenizer, Mapping[str, Tensor]],
    secret: bytes | None,
    num_tasks: int,
    on_progress: Callable[[int], None] = lambda tokens: None,
) -> list[Line]:
    """Held-out prompts of a recipe, and the answers that the model samples to them in fp32.

    Raises:
        InvalidEnvironment: the environment cannot be made.
    """
    config, tokenizer, state = model
    environment = make_environment(recipe.environment, recipe.run.seed, secret)
    wording = wording_of_recipe(recipe, tokenizer)
    requests = [
        Request(
            key=str(task.index),
            prompt=task_ids(recipe, environment, tokenizer, task),
            seed=evaluation_seed(recipe.run.seed, 0, task.index),
            num_rollouts=1,
            max_new_tokens=recipe.sampling.max_new_tokens,
            temperature=recipe.sampling.temperature,
            stop_tokens=stop_ids(tokenizer),
        )
        for task in evaluation_tasks(environment, "dev", num_tasks)
    ]
    if wording is not None and wording.stops is not None:
        requests = [replace(each, ending=wording.stops) for each in requests]
    engine = LocalEngine(config)
    engine.load(state)
    answers = engine.generate(requests, on_progress)
    return [
        Line(at, request.prompt, answer.tokens)
        for at, (request, (answer,)) in enumerate(zip(requests, answers, strict=True))
    ]


def digest_of(lines: Iterable[Line]) -> str:
    """sha256 of the tokens: of each line its prompt's length, its length and its tokens, as int64."""
    digest = hashlib.sha256()
    for line in lines:
        row = [len(line.prompt), len(line.tokens), *line.prompt, *line.tokens]
        digest.update(np.array(row, dtype="<i8").tobytes())
    return f"sha256:{digest.hexdigest()}"


def _some(lines: list[Line], what: str) -> list[Line]:
    if not lines:
        raise NothingToMeasure(f"{what}: expected at least two tokens of the model's")
    return lines
