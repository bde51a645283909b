"""The closed reader of an environment's own settings.

Law: every key is either read or refused by name, with the nearest valid one; what can be read is what
`declared_by` lists, for there is no other list.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from archipel.training.environments.task import InvalidEnvironment

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting that an environment reads."""

    key: str
    kind: str
    """`text`, `integer` or `flag`."""
    default: Scalar | None
    """None for one that must be given."""
    expected: str
    """Its bounds or choices, in words."""


_DECLARED: ContextVar[list[Declared] | None] = ContextVar("declared", default=None)


def declared_by(make: Callable[[dict[str, Scalar]], object]) -> list[Declared]:
    """The settings that `make` reads of the ones it is given, in its order; what it makes is thrown away.

    It is given none and reads stand-ins for those it needs, so it may well refuse them in the end.
    """
    found: list[Declared] = []
    token = _DECLARED.set(found)
    try:
        with contextlib.suppress(InvalidEnvironment):
            make({})
    finally:
        _DECLARED.reset(token)
    return list(dict.fromkeys(found))


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
        choices = tuple(choices)
        expected = f"one of {', '.join(choices)}" if choices else "a string"
        stand_in = choices[0] if choices else key
        value = self._take(Declared(key, "text", default, expected), stand_in)
        if not isinstance(value, str):
            raise self._fault(key, value, "a string")
        if choices and value not in choices:
            raise self._fault(key, value, expected)
        return value

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        """An integer within [low, high]."""
        expected = f"an integer from {low} to {high}"
        value = self._take(Declared(key, "integer", default, expected), low)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._fault(key, value, expected)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A switch."""
        value = self._take(Declared(key, "flag", default, "true or false"), False)
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

    def _take(self, declared: Declared, stand_in: Scalar) -> Scalar:
        """The setting; while settings are only being listed, one that is missing is stood in for."""
        key, listed = declared.key, _DECLARED.get()
        self._known.add(key)
        value = self._left.pop(key, declared.default)
        if listed is not None:
            listed.append(declared)
            value = stand_in if value is None else value
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
