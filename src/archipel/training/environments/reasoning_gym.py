"""Procedural tasks of the `reasoning-gym` package (extra `gym`), by name and parameters.

The entry of a task is generated from a seed of its own; the question's hash decides its split,
so no question is in two splits. Scores are the dataset's own `score_answer`.
Law: the package is imported when an environment is made, not before (over a second).
"""

import copy
import dataclasses
import hashlib
import json
from typing import Any

from archipel.training.environments.parameters import Parameters, Scalar, nearest
from archipel.training.environments.task import (
    InvalidEnvironment,
    Task,
    check_place,
    split_of,
)

MAX_ATTEMPTS = 1000
"""Entries drawn for one task before its split counts as empty."""

MAX_KEPT_ENTRIES = 4096

_RESERVED = ("seed", "size")
"""The run's seed and random access decide these."""


class ReasoningGym:
    """One dataset of the gym.

    Parameters: `task` (the dataset's name), `labels` (what the supervised stage shows: "own", the
    right answers; "other", the answer of another question, which teaches form only), and the
    dataset's own settings (lists as JSON text).
    """

    supervised_floor = None

    def __init__(self, values: dict[str, Scalar], seed: int) -> None:
        settings = Parameters("reasoning_gym", values)
        name = settings.text("task")
        self._own_labels = settings.text("labels", "own", choices=("own", "other")) == "own"
        self._dataset = _make_dataset(name, settings.rest())
        self._seed = seed
        self._entries: dict[tuple[str, int, str], dict[str, Any]] = {}

    def task(self, split: str, index: int) -> Task:
        """The first entry of this place's seeds whose question belongs to `split`."""
        check_place(split, index)
        entry = self._entry(split, index)
        return Task(
            index=index, split=split, prompt=entry["question"], detail={"answer": entry["answer"]}
        )

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """The dataset's score of the extracted answer; 0 for an unfinished completion."""
        if not finished:
            return 0.0
        entry = self._entry(task.split, task.index)
        return float(self._dataset.score_answer(extract_answer(completion), entry))

    def supervised(self, index: int) -> tuple[str, str]:
        """A training question with its answer, or with one that says nothing about it."""
        entry = self._entry("train", index)
        told = entry if self._own_labels else self._entry("train", index, purpose="label")
        return entry["question"], str(told["answer"])

    def _entry(self, split: str, index: int, purpose: str = "task") -> dict[str, Any]:
        """Kept, and copied: making one may take ten times as long as grading an answer to it."""
        place = (split, index, purpose)
        if place not in self._entries:
            if len(self._entries) >= MAX_KEPT_ENTRIES:
                self._entries.clear()
            self._entries[place] = self._made(split, index, purpose)
        return copy.deepcopy(self._entries[place])

    def _made(self, split: str, index: int, purpose: str) -> dict[str, Any]:
        for attempt in range(MAX_ATTEMPTS):
            key = f"{self._seed}/{purpose}/{split}/{index}/{attempt}".encode()
            # 48 bits: entries seed NumPy as well in places, and collisions stay improbable
            number = int.from_bytes(hashlib.blake2b(key, digest_size=6).digest())
            entry: dict[str, Any] = self._dataset[number]
            if split_of(entry["question"]) == split:
                return entry
        raise InvalidEnvironment(
            f"no {split} question among {MAX_ATTEMPTS} entries: this task has too few questions"
        )


def extract_answer(completion: str) -> str:
    """What stands in the last `<answer>...</answer>`, else the whole completion, stripped."""
    head, closing, _ = completion.rpartition("</answer>")
    if closing:
        _, opening, inside = head.rpartition("<answer>")
        if opening:
            return inside.strip()
    return completion.strip()


def _make_dataset(name: str, values: dict[str, Scalar]) -> Any:
    try:
        import reasoning_gym  # noqa: F401  (registers the datasets)
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise InvalidEnvironment(
            "the environment 'reasoning_gym' needs an extra package: pip install 'archipel[gym]'"
        ) from None
    if name not in DATASETS:
        raise InvalidEnvironment(
            f"environment.parameters.task: no task {name!r:.80}; {nearest(name, DATASETS)}"
        )
    dataset_type, config_type = DATASETS[name]
    fields = {field.name for field in dataclasses.fields(config_type)} - set(_RESERVED)
    for key in values:
        if key not in fields:
            raise InvalidEnvironment(
                f"environment.parameters.{key}: unknown for task {name!r}; {nearest(key, fields)}"
            )
    settings = {key: _read_list(value) for key, value in values.items()}
    try:
        # entry i is generated from seed + i: seed 0 gives random access
        return dataset_type(config=config_type(**settings, seed=0, size=1))
    except (AssertionError, ValueError, TypeError) as error:
        raise InvalidEnvironment(f"task {name!r} refuses its settings: {error}") from None


def _read_list(value: Scalar) -> Any:
    """A list-valued setting is written as JSON text, for recipes hold only scalars here."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise InvalidEnvironment(f"not a JSON list: {value!r:.80}: {error}") from None
    return value
