"""Sections of plain values as TOML: what `tomllib` reads back is what went in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def to_toml(sections: Mapping[str, Any]) -> str:
    """One table a section, nested tables after the values of their own."""
    return "\n".join(_table((), sections)).strip("\n") + "\n"


def _table(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    if path and (plain or not values):
        yield f"\n[{'.'.join(path)}]"
    for name, value in plain.items():
        yield f"{_key(name)} = {_value(value)}"
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _table((*path, _key(name)), value)


def _key(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else _value(name)


def _value(value: str | int | float | bool | list[Any] | tuple[Any, ...]) -> str:
    """JSON's strings, numbers and booleans are TOML's, but for the control character that JSON leaves bare.

    Raises:
        TypeError: a value that no recipe has.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, bool) or not isinstance(value, float):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
