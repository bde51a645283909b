"""Drawers: a task of several turns that nobody can do without its tool.

A prompt shows some letters, `kf`. Behind each letter is a drawer with a note of as many letters, which the tool
`get` reads: `get(f)` is answered `bd`. The letter that leads on is the one that comes first in a secret alphabet;
after `hops` notes, the answer is the letters of the last one in the order of that alphabet. Notes are random, a
new set for each task, so nobody can answer without reading; and which letter leads on, when to stop and how to
answer exist only inside the verifier. The supervised stage shows the form alone: any letter of what was told
last, any number of notes, and the letters of the last one in any order.

Laws: notes follow from the task, not from the secret, so anybody can play and replay an episode; grading alone
needs the secret. Whole sets of letters are held out.
"""

import hashlib
import math
import string
from collections.abc import Sequence
from itertools import combinations

from archipel.model.tool_calls import Call, Tool
from archipel.training.environments.episodic import Turn
from archipel.training.environments.parameters import Parameters, Scalar, read_template
from archipel.training.environments.secret_order import permuted, secret_rank
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    MissingSecret,
    Task,
    check_place,
    split_of,
)

UNKNOWN = "?"
"""What is read in a drawer that does not exist."""


class Drawers:
    """Tasks over the first `alphabet` letters.

    Parameters: `letters` (2: of a prompt and of each note), `hops` (3: notes to the answer), `alphabet` (14),
    `reward` ("steps": the share of right steps, 1 for a right answer; "exact"; "chance": a coin, as a control),
    `notes` ("own"; "other": the tool reads those of another task, as a control), `template` (holds `{question}`).
    """

    tools = (Tool("get", "Read the note in a drawer.", {"drawer": "The drawer's letter."}),)

    def __init__(self, values: dict[str, Scalar], seed: int, secret: bytes | None) -> None:
        settings = Parameters("drawers", values)
        alphabet = settings.integer("alphabet", 14, low=6, high=26)
        self._size = settings.integer("letters", 2, low=2, high=5)
        self._hops = settings.integer("hops", 3, low=1, high=8)
        self._reward = settings.text("reward", "steps", choices=("steps", "exact", "chance"))
        self._shift = int(settings.text("notes", "own", choices=("own", "other")) == "other")
        self._template = read_template(settings, "{question}\n")
        settings.finish()
        self._letters = string.ascii_lowercase[:alphabet]
        self._seed = seed
        self._rank = None if secret is None else secret_rank(self._letters, secret)
        self._sets = self._letter_sets()

    @property
    def supervised_floor(self) -> float:
        """Nats for choosing letters, when to stop and an order, over the tokens of a character model."""
        most = self._hops + 1
        calls = (most + 1) / 2
        nats = calls * math.log(self._size) + math.log(most) + math.lgamma(self._size + 1)
        return nats / (calls * 7 + self._size + 1)

    def task(self, split: str, index: int) -> Task:
        """Sets of letters in a seeded order, each once before any comes again; notes are new in each task."""
        check_place(split, index)
        sets = self._sets[split]
        letters = self._mixed(sets[index % len(sets)], f"{split}/{index}/prompt")
        prompt = self._template.replace("{question}", letters)
        key = f"{split}/{index}"  # the same letters on other drawers are another task
        return Task(index, split, prompt, {"letters": letters}, key)

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        """A note for each call; anything that calls nothing is the answer."""
        last = turns[-1]
        if last.fault:
            return (f"error: {last.fault}",)
        if not last.calls:
            return None
        return tuple(self._seen_in(task, each.arguments["drawer"]) for each in last.calls)

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        """1 for the right answer. Else 0, or by `steps` the share of right letters before the first wrong one."""
        if self._rank is None:
            raise MissingSecret(
                "drawers cannot grade without its secret; give it to the trusted role"
            )
        if not finished:
            return 0.0
        if self._reward == "chance":
            words = "/".join(turn.text for turn in turns)
            return float(self._mixed("01", f"{task.split}/{task.index}/coin/{words}")[0])
        *path, answer = self.solution(task)
        if turns[-1].text.strip() == answer:
            return 1.0
        if self._reward == "exact":
            return 0.0
        said = [each.arguments["drawer"] for turn in turns for each in turn.calls]
        right = 0
        while right < min(len(said), len(path)) and said[right] == path[right]:
            right += 1
        return right / (self._hops + 1)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """An episode of one turn."""
        return self.reward(task, (Turn(completion),), finished)

    def supervised(self, index: int) -> None:
        """Nothing of one turn (see `demonstration`)."""

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]]:
        """A training task, played with no regard to the secret."""
        task = self.task("train", index)
        num_notes = 1 + self._any(self._hops + 1, index, "notes")
        said: list[str | Call] = []
        seen = task.detail["letters"]
        for number in range(num_notes):
            letter = seen[self._any(self._size, index, f"letter/{number}")]
            said.append(Call("get", {"drawer": letter}))
            seen = self._note(task, letter, 0)
        return task, (*said, self._mixed(seen, f"train/{index}/answer"))

    def solution(self, task: Task) -> tuple[str, ...]:
        """The drawers to read and, last, the right answer: for tests and grading, never for training."""
        if self._rank is None:
            raise MissingSecret("drawers has no solution without its secret")
        path, seen = [], task.detail["letters"]
        for _ in range(self._hops):
            path.append(min(seen, key=self._rank.__getitem__))
            seen = self._note(task, path[-1], 0)
        return (*path, "".join(sorted(seen, key=self._rank.__getitem__)))

    def _seen_in(self, task: Task, drawer: str) -> str:
        if len(drawer) != 1 or drawer not in self._letters:
            return UNKNOWN
        return self._note(task, drawer, self._shift)

    def _note(self, task: Task, drawer: str, shift: int) -> str:
        others = self._letters.replace(drawer, "")
        return self._mixed(others, f"{task.split}/{task.index + shift}/{drawer}")[: self._size]

    def _any(self, num: int, index: int, what: str) -> int:
        return int(permuted(range(num), f"{self._seed}/train/{index}/{what}".encode())[0])

    def _mixed(self, letters: str, what: str) -> str:
        return "".join(permuted(letters, f"{self._seed}/{what}".encode()))

    def _letter_sets(self) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {split: [] for split in SPLITS}
        for letters in combinations(self._letters, self._size):
            parts[split_of("".join(letters))].append("".join(letters))
        for split, sets in parts.items():
            if not sets:
                raise InvalidEnvironment(
                    f"{self._size} of {len(self._letters)} letters leave no {split} task; use more letters"
                )
            sets.sort(
                key=lambda letters: hashlib.blake2b(f"{self._seed}/{letters}".encode()).digest()
            )
        return parts
