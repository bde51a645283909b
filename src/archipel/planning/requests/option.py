"""One option of a question: its default and its words."""

from dataclasses import MISSING, Field, asdict, field, fields
from typing import Any

Request = Any
"""An instance of one of the request classes."""


def option(default: str | bool, text: str) -> Any:
    """A field that is also a command-line option; `text` is its help."""
    return field(default=default, metadata={"help": text})


def options_of(kind: type) -> list["Field[Any]"]:
    """The fields of a request class, in the order in which people need them."""
    return [each for each in fields(kind) if each.default is not MISSING]


def as_dict(request: Request) -> dict[str, object]:
    """What was asked, without the defaults."""
    defaults = {each.name: each.default for each in fields(request)}
    return {name: value for name, value in asdict(request).items() if value != defaults[name]}
