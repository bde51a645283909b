"""What only a person can say of a release: a short TOML of its owner, closed, every key optional.

    title = "Sorting under a secret order"
    authors = ["A. Person"]
    [licences]
    parameters = "Apache-2.0"        # by kind of component; `default` for all others

What is not stated is said to be unknown wherever it would stand.
"""

import tomllib
from typing import Annotated

from pydantic import Field, ValidationError

from archipel.records.recipe_faults import explain
from archipel.records.recipe_form import Section
from archipel.release.index import LICENCE

MAX_STATED_BYTES = 256 * 1024
Line = Annotated[str, Field(min_length=1, max_length=500)]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class DataStated(Section):
    """One source of data, of which the ledger knows the digest at most."""

    name: Line
    source: Line | None = None
    """Address or citation."""
    licence: Annotated[str, Field(pattern=LICENCE)] | None = None
    kind: Annotated[str, Field(pattern=r"^(public|licensed|crawled|user|synthetic|other)$")] = (
        "other"
    )
    """In the words of the European template."""
    description: Text | None = None


class Stated(Section):
    """The owner's words."""

    title: Line | None = None
    authors: Annotated[tuple[Line, ...], Field(max_length=200)] = ()
    contact: Line | None = None
    address: Line | None = None
    """Where it will be published."""
    licences: dict[str, Annotated[str, Field(pattern=LICENCE)]] = Field(default={})
    """Kind of component -> SPDX expression; `default`: all others."""
    languages: Annotated[tuple[Line, ...], Field(max_length=200)] = ()
    intended_use: Text | None = None
    out_of_scope: Text | None = None
    limitations: Text | None = None
    risks: Text | None = None
    copyright_measures: Text | None = None
    removal_measures: Text | None = None
    personal_data: Text | None = None
    despite: dict[Annotated[str, Field(max_length=200)], Line] = Field(default={})
    """Name of a parent -> why the release goes out although that parent's terms forbid it as far as is known here."""
    data: Annotated[tuple[DataStated, ...], Field(max_length=1000)] = ()


NOTHING_STATED = Stated()


def read_stated(data: bytes) -> Stated:
    """The owner's words from TOML.

    Raises:
        ValueError: too large, no TOML, or a key or value that has no place in it.
    """
    if len(data) > MAX_STATED_BYTES:
        raise ValueError(f"the owner's words are larger than {MAX_STATED_BYTES} bytes; be brief")
    try:
        return Stated.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the owner's words are not valid TOML: {error!s:.200}") from None
