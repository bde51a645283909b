"""What a table of a snapshot may hold: one closed, bounded row type each.

Parts: words and numbers that rows are made of, the row types, `TABLES`. Laws: a row names its source and where in it
the fact stands; numbers are integers, and a name says their unit (`_micro`: millionths); what a source does not say is
the word "unknown".
"""

import datetime
import unicodedata
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from archipel.records.fields import Closed

UNKNOWN: Final = "unknown"
"""Said by a row of what its source does not say; never guessed, never left out."""
MAX_ID_CHARACTERS = 200
MAX_ROW_ID_CHARACTERS = 500
MAX_TEXT_CHARACTERS = 300
MAX_LINKS = 64
"""Organisations or parents of one model."""
MAX_AMOUNT = 10**15
"""Of a count or of millionths: a thousand million million, far from what JSON readers round."""

_TURNS_TEXT = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain_text(text: str) -> str:
    """`text`, if a reader sees all of it: no control characters, nothing that turns the direction of writing.

    Raises:
        ValueError: names the first character that is none.
    """
    for character in text:
        if character in _TURNS_TEXT or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"character U+{ord(character):04X} has no place in a text of a row")
    return text


def real_day(text: str) -> str:
    """`text`, if it is a day of the calendar, YYYY-MM-DD.

    Raises:
        ValueError: it is none.
    """
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day of the calendar (YYYY-MM-DD)") from None
    return text


Unknown = Literal["unknown"]
Text = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS), AfterValidator(plain_text)
]
_ID = r"^[A-Za-z0-9][A-Za-z0-9._/@:+-]*$"
Id = Annotated[str, Field(pattern=_ID, max_length=MAX_ID_CHARACTERS)]
"""Of a model, an organisation or a source. A model on Hugging Face has its address there (`org/name`)."""
RowId = Annotated[str, Field(pattern=_ID, max_length=MAX_ROW_ID_CHARACTERS)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
"""A metric, benchmark, leaderboard, scheme: lower case, `_` between words."""
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(real_day)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | Unknown
"""ISO 3166-1 alpha-2, of the organisation's seat."""
Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
Micro = Annotated[int, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Access = Literal["open", "restricted", "closed", "unknown"]
"""Of weights: anybody may fetch and use them / fetch, but not use as one likes (research only, no commerce) / not
fetch."""
ModelKind = Literal["language", "multimodal", "embedding", "other", "unknown"]
"""`multimodal`: text out, and more than text in."""


class Row(Closed):
    """What every row has."""

    id: RowId
    """One row of its table has it; where rows are models or organisations, it is theirs."""
    source: Id
    """Of a source in the manifest."""
    row: Text
    """Where in the source the fact stands: a line, a cell, a heading."""


class ModelRow(Row):
    """A model, as its makers gave it out; a conversion to another format is another model, or none."""

    id: Id
    name: Text
    organisations: Annotated[tuple[Id, ...], Field(max_length=MAX_LINKS)]
    """Its makers; empty: unknown."""
    released: Day | Unknown
    kind: ModelKind
    access: Access
    params: Annotated[int, Field(gt=0, le=MAX_AMOUNT)] | Unknown
    """All parameters, of all experts."""
    licence: Text | Unknown
    parents: Annotated[tuple[Id, ...], Field(max_length=MAX_LINKS)] | Unknown
    """Models that it was made from, which need no row here; empty: from none."""


class OrganisationRow(Row):
    """Who makes models."""

    id: Id
    name: Text
    country: Country
    kind: Literal["company", "academic", "public", "community", "unknown"]


class CountRow(Row):
    """How often something was counted for a model."""

    model: Id
    metric: Literal["downloads_30d", "downloads_all", "likes", "derivatives"]
    value: Amount
    at: Day
    """The day it was read; for `downloads_30d` the last of the thirty."""
    first_at: Day | Unknown
    """The day that counting began: `at` minus this is the age of a count."""


class StandingRow(Row):
    """A model's place on a leaderboard on a day."""

    leaderboard: Word
    model: Id
    rank: Annotated[int, Field(ge=1, le=1_000_000)] | Unknown
    score_micro: Micro | Unknown
    at: Day


class ScoreRow(Row):
    """What a model got in a benchmark; a share of 1 is 1,000,000 millionths."""

    benchmark: Word
    model: Id
    score_micro: Micro
    at: Day | Unknown
    """The day it was measured or printed."""
    by: Literal["developer", "others", "unknown"]


class OpennessRow(Row):
    """How open a model is by somebody's scheme (`mof`, `osaid`, `aa_index`)."""

    model: Id
    scheme: Word
    grade: Word
    """In the scheme's own words: of `mof` 1, 2, 3 or 0; of `osaid` yes or no; of `aa_index` 0 to 100; or unknown."""
    at: Day


class DisclosureRow(Row):
    """Whether the makers of a model say what it was made from."""

    model: Id
    about: Literal["training_data", "method", "training_code", "compute"]
    answer: Literal["disclosed", "partly", "undisclosed", "unknown"]
    at: Day


class WithdrawalRow(Row):
    """Openness taken back: of a model, or of an organisation's models to come."""

    subject: Id
    """A model or an organisation of this snapshot."""
    what: Literal["removed", "gated", "licence_tightened", "announced_closing"]
    at: Day
    said: Text


class ShareRow(Row):
    """A published total of a group, where single models are not published."""

    about: Word
    """What was totalled: `downloads`, `openrouter_tokens`, `models_disclosing_data`."""
    by: Literal["country", "organisation", "access", "model", "size", "all"]
    member: Text
    """The group's member: a country's code, an id, `all`."""
    value: Amount
    unit: Literal["count", "micro"]
    """`micro`: millionths of the whole."""
    from_day: Day | Unknown
    to_day: Day | Unknown


class AliasRow(Row):
    """A name by which a source calls a model: joins are made by this table or by the id itself, never by likeness."""

    model: Id
    name: Text
    used_by: Id
    """The source that calls it so."""


TABLES: Final[dict[str, type[Row]]] = {
    "models": ModelRow,
    "organisations": OrganisationRow,
    "aliases": AliasRow,
    "counts": CountRow,
    "standings": StandingRow,
    "scores": ScoreRow,
    "openness": OpennessRow,
    "disclosures": DisclosureRow,
    "withdrawals": WithdrawalRow,
    "shares": ShareRow,
}
"""Every table that a snapshot may have; a table without rows may be missing."""
