"""One option of a question: its default and its words; and the requests whose options stand in a sheet."""

from dataclasses import MISSING, Field, asdict, field, fields, make_dataclass
from functools import cache
from typing import Any

from archipel.planning.compiled import folder

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


def read_sheet(name: str) -> dict[str, Any]:
    """A sheet of the package as its TOML says it."""
    return folder("sheets")[name]


@cache
def request_of(question: str) -> type:
    """The request class of a question whose options stand in its sheet."""
    rows = read_sheet(question)["options"].items()
    options = [
        (name, type(row["default"]), option(row["default"], row["help"])) for name, row in rows
    ]
    return make_dataclass(f"{question.title()}Request", options, frozen=True)
