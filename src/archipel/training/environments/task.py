"""What every environment offers: tasks by number and a reward for an answer.

Parts: `Task`, the `Environment` protocol, `split_of` (which held-out part a prompt belongs to).
Law: a task is a pure function of (settings, seed, split, index); a grade is a pure function of
(task, completion, finished). Neither reads a clock, a network or chance.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

SPLITS = ("train", "dev", "test")
"""dev is for tuning and curves; test is looked at once, for a final figure."""


class InvalidEnvironment(ValueError):
    """The recipe's environment section cannot be used as it stands."""


class MissingSecret(InvalidEnvironment):
    """Grading needs a secret that only the trusted role holds."""


@dataclass(frozen=True)
class Task:
    """One prompt and what its grader needs to know about it."""

    index: int
    split: str
    prompt: str
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Never holds a secret: a task may be shown to anyone."""
    key: str = ""
    """What tells it from other tasks, where its prompt does not."""


class Environment(Protocol):
    """Tasks with random access, and their reward."""

    @property
    def supervised_floor(self) -> float | None:
        """Nats per answer token (end token included) below which no model gets on the supervised data."""

    def task(self, split: str, index: int) -> Task:
        """The `index`-th task of `split` ("train", "dev" or "test"); any index from 0 up.

        Raises:
            ValueError: an unknown split or a negative index.
        """

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """A reward in [0, 1]; 1 is a right answer. `finished`: the model ended it by itself."""

    def supervised(self, index: int) -> tuple[str, str] | None:
        """The `index`-th (prompt, answer) of the supervised stage; None if there is no such stage."""


def check_place(split: str, index: int) -> None:
    """Refuse a split or index that no environment has."""
    if split not in SPLITS:
        raise ValueError(f"got split {split!r}, expected one of {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"got task index {index}, expected 0 or more")


def is_text(value: str) -> bool:
    """Whether it can be written down: JSON can carry half a surrogate pair, UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def split_of(content: str) -> str:
    """The split that owns `content`: a tenth is dev, a tenth is test, for ever.

    It depends on the content alone, so no seed or index can move a held-out task into training.

    Raises:
        InvalidEnvironment: the content is no text that can be written down.
    """
    if not is_text(content):
        raise InvalidEnvironment(
            f"a question holds half of a surrogate pair, as of an emoji that was cut: {content!r:.80}"
        )
    return {0: "dev", 1: "test"}.get(zlib.crc32(content.encode()) % 10, "train")
