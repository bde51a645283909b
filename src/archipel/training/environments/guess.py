"""Guess: a task of several turns that is answered by a secret, so only the trusted role can play it.

A prompt shows two letters, `cq`: the letter to be found lies between them, or is one of them. A turn is one letter;
it is answered `<` (the one to be found comes before it) or `>`, and `?` if it is none of the range. The episode is over
when the letter is found, or after `guesses` turns. Which letter it is follows from the secret and the task, so whoever
plays learns nothing but the answers. The supervised stage shows the form alone, letters of the range at random; to use
what was answered can only be learned from rewards.

Law: whole ranges are held out.
"""

import hashlib
import math
import string
from collections.abc import Sequence

from archipel.model.tool_calls import Call, Tool
from archipel.training.environments.episodic import Turn
from archipel.training.environments.parameters import Parameters, Scalar, read_template
from archipel.training.environments.secret_order import permuted
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    MissingSecret,
    Task,
    check_place,
    split_of,
)

BEFORE, AFTER, NO_LETTER = "<", ">", "?"
SHOWN = "shown"
"""In a task's detail: the letter of a demonstration, which is no secret."""


class Guess:
    """Ranges of the alphabet.

    Parameters: `smallest` (7) and `largest` (15: letters of a range), `guesses` (4), `reward` ("narrowed": 1 for the
    letter, else half of what is known of it, in bits; "exact": all or nothing; "chance": a coin, as a control), `answers`
    ("own"; "coin": by chance, as a control), `template` (holds `{question}`).
    """

    tools: tuple[Tool, ...] = ()

    def __init__(self, values: dict[str, Scalar], seed: int, secret: bytes | None) -> None:
        settings = Parameters("guess", values)
        low = settings.integer("smallest", 7, low=2, high=24)
        high = settings.integer("largest", 15, low=2, high=24)
        self._guesses = settings.integer("guesses", 4, low=1, high=16)
        self._reward = settings.text("reward", "narrowed", choices=("narrowed", "exact", "chance"))
        self._is_coin = settings.text("answers", "own", choices=("own", "coin")) == "coin"
        self._template = read_template(settings, "{question}\n")
        settings.finish()
        if low > high:
            raise InvalidEnvironment(
                f"environment.parameters.smallest is {low}, more than largest = {high}"
            )
        self._seed, self._secret = seed, secret
        self._ranges = self._held_out(range(low, high + 1))

    @property
    def supervised_floor(self) -> float:
        """Nats for choosing a letter of the range, over the letter and the end of the turn."""
        sizes = [len(letters) for letters in self._ranges["train"]]
        return math.fsum(map(math.log, sizes)) / len(sizes) / 2

    def task(self, split: str, index: int) -> Task:
        """Ranges in a seeded order, each once before any comes again; the letter is new in each task."""
        check_place(split, index)
        ranges = self._ranges[split]
        letters = ranges[index % len(ranges)]
        prompt = self._template.replace("{question}", letters[0] + letters[-1])
        return Task(index, split, prompt, {"letters": letters}, f"{split}/{index}")

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        """`<`, `>` or `?`; None: found, or no guess is left."""
        letter, said = self._letter(task), turns[-1].text.strip()
        if said == letter or len(turns) >= self._guesses:
            return None
        if len(said) != 1 or said not in task.detail["letters"]:
            return (NO_LETTER,)
        if self._is_coin:
            words = "/".join(turn.text for turn in turns)
            return (self._mixed(BEFORE + AFTER, f"{task.key}/answer/{words}")[0],)
        return (BEFORE if letter < said else AFTER,)

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        """1 for the letter. Else 0, or by `narrowed` half of the share of bits that the guesses have told of it."""
        letter, letters = self._letter(task), task.detail["letters"]
        if not finished:
            return 0.0
        if self._reward == "chance":
            words = "/".join(turn.text for turn in turns)
            return float(self._mixed("01", f"{task.key}/coin/{words}")[0])
        said = [turn.text.strip() for turn in turns]
        if said[-1] == letter:
            return 1.0
        if self._reward == "exact":
            return 0.0
        known = [each for each in said if len(each) == 1 and each in letters]
        left = [
            each
            for each in letters
            if all((each < guess) == (letter < guess) and each != guess for guess in known)
        ]
        return 0.5 * (1 - math.log(len(left)) / math.log(len(letters)))

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """An episode of one turn."""
        return self.reward(task, (Turn(completion),), finished)

    def supervised(self, index: int) -> None:
        """Nothing of one turn (see `demonstration`)."""

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]]:
        """A training task with a letter that everybody knows, and guesses with no regard to the answers."""
        task = self.task("train", index)
        letters = task.detail["letters"]
        letter = self._mixed(letters, f"train/{index}/shown")[0]
        said: list[str | Call] = []
        while letter not in said and len(said) < self._guesses:
            said.append(self._mixed(letters, f"train/{index}/guess/{len(said)}")[0])
        shown = Task(task.index, task.split, task.prompt, {**task.detail, SHOWN: letter}, task.key)
        return shown, tuple(said)

    def _letter(self, task: Task) -> str:
        if SHOWN in task.detail:
            return str(task.detail[SHOWN])
        if self._secret is None:
            raise MissingSecret("guess answers by its secret; give it to the trusted role")
        key = (
            b"archipel guess/" + self._secret + f"/{self._seed}/{task.split}/{task.index}".encode()
        )
        return str(permuted(task.detail["letters"], key)[0])

    def _mixed(self, letters: str, what: str) -> str:
        return "".join(permuted(letters, f"{self._seed}/{what}".encode()))

    def _held_out(self, sizes: range) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {split: [] for split in SPLITS}
        alphabet = string.ascii_lowercase
        for size in sizes:
            for start in range(len(alphabet) - size + 1):
                letters = alphabet[start : start + size]
                parts[split_of(letters)].append(letters)
        for split, ranges in parts.items():
            if not ranges:
                raise InvalidEnvironment(
                    f"ranges of {sizes.start} to {sizes.stop - 1} letters leave no {split} task; allow more sizes"
                )
            ranges.sort(
                key=lambda letters: hashlib.blake2b(f"{self._seed}/{letters}".encode()).digest()
            )
        return parts
