"""Entries of a `reasoning-gym` dataset by number: any number, and always the same entry.

Most datasets generate entry i from seed + i alone. Some are lists of a size given beforehand, some draw from
the global generators, and one shrinks when it fails: all that is set anew before each entry.
Law: an entry is a function of the dataset's settings and the number (and of the hash seed: see `apart`).
"""

import contextlib
import dataclasses
import io
import json
import random
import re
import sys
from collections.abc import Iterator
from typing import Any

from archipel.extras import needs
from archipel.training.environments.parameters import Scalar, nearest
from archipel.training.environments.task import InvalidEnvironment

COUNTED_ENTRIES = 5_000
"""Entries of a dataset that has to be told how many it has; further numbers begin again."""

NUMPY_SEEDS = 2**32

ENTRY_FAULTS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""How generators fail on an unlucky number; the next number is tried."""

_RESERVED = ("seed", "size")
"""The run's seed and random access decide these."""
_FAR = 2**47
_ASKS_ELSEWHERE = re.compile(
    r"\b(?:time\.time|perf_counter|datetime\.(?:now|utcnow|today)|date\.today|uuid|urandom|secrets\.|"
    r"tempfile|getpid|environ|open\(|SystemRandom|(?:default_rng|RandomState|Random)\(\))|/tmp/|0x[0-9a-f]{8}"
)
"""Code in a question whose result hangs on the clock or the machine: it has no one right answer."""


class Entries:
    """One dataset with its settings."""

    def __init__(self, name: str, values: dict[str, Scalar]) -> None:
        """Raises InvalidEnvironment: no such dataset, unknown or refused settings, a missing extra."""
        self._size = 1
        self._dataset = _make_dataset(name, values, self._size)
        self._period: int | None = None
        """Further numbers begin again from 0."""
        try:
            self[_FAR]
        except IndexError:
            self._period = self._size = COUNTED_ENTRIES
            self._dataset = _make_dataset(name, values, self._size)
        except ENTRY_FAULTS:  # an unlucky number, or one too large to seed NumPy with
            self._period = NUMPY_SEEDS

    def __getitem__(self, number: int) -> dict[str, Any]:
        """The entry of this number. Raises one of ENTRY_FAULTS when there is none."""
        self._dataset.size = self._size
        with _global_chance(number), contextlib.redirect_stdout(_Nowhere()):
            entry: dict[str, Any] = self._dataset[number % self._period if self._period else number]
        if _ASKS_ELSEWHERE.search(entry["question"]):
            raise LookupError(f"entry {number} asks the clock or the machine for its answer")
        return entry

    @property
    def scorer(self) -> Any:
        """The dataset's method that scores, for whoever asks what it does."""
        return self._dataset.score_answer

    def score(self, answer: str, entry: dict[str, Any]) -> float:
        """The dataset's own."""
        with contextlib.redirect_stdout(_Nowhere()):
            return float(self._dataset.score_answer(answer, entry))


class _Nowhere(io.TextIOBase):
    """Takes what generators print: a command's output is for its own figures."""

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _global_chance(seed: int) -> Iterator[None]:
    """The global generators begin with `seed` and are afterwards as before."""
    before = random.getstate()
    numpy = sys.modules.get("numpy")
    theirs = numpy.random.get_state() if numpy else None
    random.seed(seed)
    if numpy:
        numpy.random.seed(seed % NUMPY_SEEDS)
    try:
        yield
    finally:
        random.setstate(before)
        if numpy:
            numpy.random.set_state(theirs)


def _make_dataset(name: str, values: dict[str, Scalar], size: int) -> Any:
    try:
        import reasoning_gym  # noqa: F401  (registers the datasets)
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise InvalidEnvironment(needs("the environment 'reasoning_gym'", "gym")) from None
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
        return dataset_type(config=config_type(**settings, seed=0, size=size))
    except (AssertionError, ValueError, TypeError) as error:
        raise InvalidEnvironment(f"task {name!r} refuses its settings: {error}") from None


def _read_list(value: Scalar) -> Any:
    """A list-valued setting is written as JSON text, for recipes hold only scalars here."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidEnvironment(f"not a JSON list: {value!r:.80}: {error}") from None
    return value
