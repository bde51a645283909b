"""Procedural tasks of the `reasoning-gym` package (extra `gym`), by name and parameters.

The entry of a task is generated from a seed of its own; the question's hash decides its split,
so no question is in two splits. Scores are the dataset's own `score_answer`.
Law: the package is imported when an environment is made, not before (over a second).
"""

import copy
import hashlib
from typing import Any

from archipel.training.environments.gym_entries import ENTRY_FAULTS, Entries
from archipel.training.environments.parameters import Parameters, Scalar, read_template
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    Task,
    check_place,
    split_of,
)

MAX_ATTEMPTS = 1000
"""Entries drawn for one task before its split counts as empty."""

MAX_KEPT_ENTRIES = 4096


class ReasoningGym:
    """One dataset of the gym.

    Parameters: `task` (the dataset's name), `labels` (what the supervised stage shows: "own", the
    right answers; "other", the answer of another question, which teaches form only), `template` (holds
    `{question}`; the question as it is unless given), and the dataset's own settings (lists as JSON text).
    """

    supervised_floor = None

    def __init__(self, values: dict[str, Scalar], seed: int) -> None:
        settings = Parameters("reasoning_gym", values)
        name = settings.text("task")
        self._own_labels = settings.text("labels", "own", choices=("own", "other")) == "own"
        self._template = read_template(settings, "{question}")
        self._entries = Entries(name, settings.rest())
        self._seed = seed
        self._kept: dict[tuple[str, int, str], dict[str, Any]] = {}
        for split in SPLITS:
            self._entry(split, 0)  # what cannot be made is told now, not in the middle of a run

    def task(self, split: str, index: int) -> Task:
        """The first entry of this place's seeds whose question belongs to `split`."""
        check_place(split, index)
        entry = self._entry(split, index)
        detail = {"answer": entry["answer"]}
        return Task(index=index, split=split, prompt=self._prompt(entry), detail=detail)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """The dataset's score of the extracted answer; 0 for an unfinished completion.

        The answer that the dataset itself gives is right, whatever its score says of it.
        """
        if not finished:
            return 0.0
        entry, answer = self._entry(task.split, task.index), extract_answer(completion)
        if isinstance(entry["answer"], str) and answer == entry["answer"].strip():
            return 1.0
        return float(self._entries.score(answer, entry))

    @property
    def foreign_scorer(self) -> Any:
        """The data set's own method, which `grade` calls."""
        return self._entries.scorer

    def foreign_entry(self, split: str, index: int) -> dict[str, Any]:
        """What `grade` gives that method of a task: a copy of its own, each time."""
        return self._entry(split, index)

    def supervised(self, index: int) -> tuple[str, str] | None:
        """A training question with its answer, or with one that says nothing about it.

        None where the dataset scores answers without giving one.
        """
        entry = self._entry("train", index)
        told = entry if self._own_labels else self._entry("train", index, purpose="label")
        return None if told["answer"] is None else (self._prompt(entry), str(told["answer"]))

    def _prompt(self, entry: dict[str, Any]) -> str:
        return self._template.replace("{question}", entry["question"])

    def _entry(self, split: str, index: int, purpose: str = "task") -> dict[str, Any]:
        """Kept, and copied: making one may take ten times as long as grading an answer to it."""
        place = (split, index, purpose)
        if place not in self._kept:
            if len(self._kept) >= MAX_KEPT_ENTRIES:
                self._kept.clear()
            self._kept[place] = self._made(split, index, purpose)
        return copy.deepcopy(self._kept[place])

    def _made(self, split: str, index: int, purpose: str) -> dict[str, Any]:
        refused: Exception | None = None
        for attempt in range(MAX_ATTEMPTS):
            key = f"{self._seed}/{purpose}/{split}/{index}/{attempt}".encode()
            # 48 bits: entries seed NumPy as well in places, and collisions stay improbable
            number = int.from_bytes(hashlib.blake2b(key, digest_size=6).digest())
            try:
                entry = self._entries[number]
            except ENTRY_FAULTS as error:
                refused = error
                continue
            if split_of(entry["question"]) == split:
                return entry
        reason = f"; the last one failed: {refused!r:.200}" if refused else ""
        raise InvalidEnvironment(
            f"no {split} question among {MAX_ATTEMPTS} entries: this task has too few questions{reason}"
        )


def extract_answer(completion: str) -> str:
    """What stands in the last `<answer>...</answer>`, else the whole completion, stripped."""
    head, closing, _ = completion.rpartition("</answer>")
    if closing:
        _, opening, inside = head.rpartition("<answer>")
        if opening:
            return inside.strip()
    return completion.strip()
