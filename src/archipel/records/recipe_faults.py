"""What is wrong with a recipe, in words of its file: the key, what was got, what was expected. Part of `recipe_form`."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

MAX_SHOWN = 80
"""Characters of a refused value."""
SCALARS = {
    "str": "a string",
    "int": "an integer",
    "float": "a finite float",
    "bool": "true or false",
}
"""A parameter may be any of these; the library names the one that it tried as if it were part of the key."""
TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a float or an integer",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
"""The library's name of a fault -> the type that the key asks for."""


def explain(error: ValidationError) -> str:
    """Every fault with its key; a value of the wrong type, or out of bounds, beside what was expected."""
    faults = error.errors()
    inner = {fault["loc"][:-1] for fault in faults if len(fault["loc"]) > 1}
    told = (
        _told(fault)
        for fault in _without_alternatives(faults)
        if fault["type"] != "too_short" or fault["loc"] not in inner
    )  # what is too short because what is in it was refused, is said there
    return "; ".join(told)


def _without_alternatives(faults: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """The faults, with one in place of the four of a value that may have any of four types."""
    tried: dict[tuple[int | str, ...], set[int | str]] = {}
    for fault in faults:
        tried.setdefault(fault["loc"][:-1], set()).update(fault["loc"][-1:])
    for fault in faults:
        *key, last = fault["loc"] or ("",)
        if tried[tuple(key)] != set(SCALARS):
            yield fault
        elif last == "str":
            yield fault | {"loc": tuple(key), "type": "scalar_type"}  # type: ignore[misc]


def _told(fault: ErrorDetails) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "recipe"
    got = shown(fault["input"])
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; remove it or check its spelling"
    if fault["type"] == "scalar_type":
        return f"{where}: got {got}, expected {_listed(list(SCALARS.values()))}"
    if fault["type"] in TYPES:
        return f"{where}: got {got}, expected {TYPES[fault['type']]}"
    bound = fault["msg"].removeprefix("Input should be ")
    if bound != fault["msg"]:
        number = "a number " if bound.startswith(("greater", "less")) else ""
        return f"{where}: got {got}, expected {number}{bound}"
    said = fault["msg"].removeprefix("Value error, ")
    said = said.replace("Tuple", "List").replace(" after validation", "")
    return f"{where}: {said}" + ("" if isinstance(fault["input"], dict) else f" (got {got})")


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def shown(value: Any) -> str:
    """A value as its file writes it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time | datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, tuple | list):
        inside = ", ".join(shown(each) for each in value[:MAX_SHOWN])
        return f"[{inside}]"[:MAX_SHOWN]
    return f"{value!r:.{MAX_SHOWN}}"
