"""Sorting under a secret alphabet: a task that supervised data cannot have taught.

The prompt is a set of distinct letters, "qhcafm="; the right answer is the same letters in an
order that exists only inside the verifier. The supervised answers are the letters in uniformly
random order, so they are statistically independent of the secret: before reinforcement learning
an exact answer has probability 1/L! at best, and no prompt can elicit what no weight contains.
The supervised stage teaches the form (copy, each letter once); rewards alone teach the order.

Law: the secret comes from `secret` bytes, never from the run's seed. Whole letter sets are held
out, so no arrangement of a test set is ever trained on.
"""

import hashlib
import math
import string
from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

from archipel.training.environments.parameters import Parameters, Scalar
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    MissingSecret,
    Task,
    check_place,
    split_of,
)

T = TypeVar("T")

MAX_LETTER_SETS = 300_000
"""All sets are enumerated once; more would cost seconds at every start."""


class SecretOrder:
    """Tasks over the first `alphabet` letters, `length` of them at a time.

    Parameters: `length` (6) or `lengths` ("3-8": index i has the (i mod n)-th of the n lengths),
    `alphabet` (16), `reward` ("pair" or "exact").
    """

    def __init__(self, values: dict[str, Scalar], seed: int, secret: bytes | None) -> None:
        settings = Parameters("secret_order", values)
        alphabet = settings.integer("alphabet", 16, low=2, high=26)
        self._lengths = _read_lengths(settings, alphabet)
        self._pairwise = settings.text("reward", "pair", choices=("pair", "exact")) == "pair"
        settings.finish()
        self._letters = string.ascii_lowercase[:alphabet]
        self._seed = seed
        self._rank = None if secret is None else secret_rank(self._letters, secret)
        self._sets = {length: self._letter_sets(length) for length in self._lengths}

    @property
    def supervised_floor(self) -> float:
        """ln(L!) nats are spent on L letters and the end token (mean over the lengths)."""
        nats = sum(math.lgamma(length + 1) for length in self._lengths)
        return nats / sum(length + 1 for length in self._lengths)

    def task(self, split: str, index: int) -> Task:
        """Letter sets come in a seeded order without repeats until the split is used up."""
        check_place(split, index)
        turn, which = divmod(index, len(self._lengths))
        sets = self._sets[self._lengths[which]][split]
        letters = sets[turn % len(sets)]
        prompt = "".join(self._shuffled(letters, f"{split}/{index}/prompt")) + "="
        return Task(index=index, split=split, prompt=prompt, detail={"letters": letters})

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """0 unless a finished permutation of the letters; else the fraction of pairs in order.

        An answer is exact exactly when the reward is 1.
        """
        if self._rank is None:
            raise MissingSecret(
                "secret_order cannot grade without its secret; give it to the trusted role"
            )
        if not finished or "".join(sorted(completion)) != task.detail["letters"]:
            return 0.0
        ranks = [self._rank[letter] for letter in completion]
        pairs = list(combinations(ranks, 2))
        in_order = sum(first < second for first, second in pairs)
        return in_order / len(pairs) if self._pairwise else float(in_order == len(pairs))

    def supervised(self, index: int) -> tuple[str, str]:
        """A training prompt and its letters in an order that depends on nothing else."""
        task = self.task("train", index)
        answer = self._shuffled(task.detail["letters"], f"train/{index}/answer")
        return task.prompt, "".join(answer)

    def solution(self, task: Task) -> str:
        """The one exact answer: for tests and for the oracle control, never for training."""
        if self._rank is None:
            raise MissingSecret("secret_order has no solution without its secret")
        return "".join(sorted(task.detail["letters"], key=self._rank.__getitem__))

    def _shuffled(self, letters: Sequence[str], what: str) -> list[str]:
        return permuted(letters, f"{self._seed}/{what}".encode())

    def _letter_sets(self, length: int) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {split: [] for split in SPLITS}
        for letters in combinations(self._letters, length):
            parts[split_of("".join(letters))].append("".join(letters))
        for split, sets in parts.items():
            if not sets:
                raise InvalidEnvironment(
                    f"length {length} of {len(self._letters)} letters leaves no {split} task; "
                    "use more letters"
                )
            sets.sort(key=lambda letters: _digest(f"{self._seed}/{letters}".encode()))
        return parts


def _read_lengths(settings: Parameters, alphabet: int) -> tuple[int, ...]:
    text = settings.text("lengths", "")
    if text:
        first, _, last = text.partition("-")
        if not (first.isdecimal() and last.isdecimal()) or not 2 <= int(first) <= int(last) < 27:
            raise InvalidEnvironment(
                f"environment.parameters.lengths: got {text!r:.80}, expected a range like '3-8'"
            )
        lengths = tuple(range(int(first), int(last) + 1))
    else:
        lengths = (settings.integer("length", 6, low=2, high=26),)
    if lengths[-1] > alphabet:
        raise InvalidEnvironment(f"length {lengths[-1]} is more than alphabet = {alphabet}")
    num_sets = sum(math.comb(alphabet, length) for length in lengths)
    if num_sets > MAX_LETTER_SETS:
        raise InvalidEnvironment(
            f"{num_sets} letter sets, at most {MAX_LETTER_SETS}; use a smaller alphabet or length"
        )
    return lengths


def secret_rank(letters: str, secret: bytes) -> dict[str, int]:
    """Letter -> its place in the alphabet that the secret defines."""
    order = permuted(letters, b"archipel secret order/" + secret)
    return {letter: rank for rank, letter in enumerate(order)}


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=64).digest()


def permuted(items: Sequence[T], key: bytes) -> list[T]:
    """Fisher-Yates driven by one 512-bit digest: at most 26! / 2^512 away from uniform."""
    chance = int.from_bytes(_digest(key))
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        chance, pick = divmod(chance, last + 1)
        order[last], order[pick] = order[pick], order[last]
    return order
