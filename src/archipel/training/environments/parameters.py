"""The closed reader of an environment's own settings.

Law: every key is either read or refused by name, with the nearest valid one.
"""

import difflib
from collections.abc import Iterable, Mapping

from archipel.training.environments.task import InvalidEnvironment

Scalar = str | int | float | bool


def nearest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` for a near miss, else the list of what there is."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose from: {', '.join(known) or 'none'}"


class Parameters:
    """Typed access to one environment's settings, then `finish()` refuses what was not read."""

    def __init__(self, environment: str, values: Mapping[str, Scalar]) -> None:
        self._environment = environment
        self._left = dict(values)
        self._known: set[str] = set()

    def text(self, key: str, default: str | None = None, choices: Iterable[str] = ()) -> str:
        """A string; required when there is no default."""
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self._fault(key, value, "a string")
        if choices and value not in choices:
            raise self._fault(key, value, f"one of {', '.join(choices)}")
        return value

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        """An integer within [low, high]."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._fault(key, value, f"an integer from {low} to {high}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A switch."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self._fault(key, value, "true or false")
        return value

    def rest(self) -> dict[str, Scalar]:
        """Everything not read so far, for an environment that passes settings on."""
        left, self._left = self._left, {}
        return left

    def finish(self) -> None:
        """Refuse keys that nobody read."""
        for key in self._left:
            raise InvalidEnvironment(
                f"environment.parameters.{key}: unknown for {self._environment!r}; "
                f"{nearest(key, self._known)}"
            )

    def _take(self, key: str, default: Scalar | None) -> Scalar:
        self._known.add(key)
        value = self._left.pop(key, default)
        if value is None:
            raise InvalidEnvironment(
                f"environment.parameters.{key} is missing; {self._environment!r} needs it"
            )
        return value

    def _fault(self, key: str, value: Scalar, expected: str) -> InvalidEnvironment:
        return InvalidEnvironment(
            f"environment.parameters.{key}: got {value!r:.80}, expected {expected}"
        )


def read_template(settings: Parameters, default: str) -> str:
    """The setting `template`: the text around a question, which it names as `{question}`."""
    template = settings.text("template", default)
    if "{question}" not in template:
        raise InvalidEnvironment("environment.parameters.template must hold {question}")
    return template
