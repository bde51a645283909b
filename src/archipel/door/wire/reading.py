"""Questions in JSON: strict types, bounds, and one sentence where they do not hold.

Parts: `Body` (what every form is), `read`, `Constants` (a form whose unknown fields would change numbers), and the
bounded words that forms are made of.
Law: fields that no form knows are passed over, for newer clients add some; those of `Constants` are refused unless they
say nothing.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from archipel.door.wire import bounds
from archipel.door.wire.errors import Refused

SHOWN = 60
"""Characters of what was got, in a sentence."""
MAX_WHERE = 200
MAX_SHOWN_BYTES = 65_536


class Body(BaseModel):
    """A request's JSON. Numbers are numbers and texts are texts; NaN and infinities are refused."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class Constants(Body):
    """Fields that numbers hang on: one that is not known is refused, unless it is null, zero, false or empty."""

    @model_validator(mode="before")
    @classmethod
    def _knows_all(cls, found: Any) -> Any:
        known = set(cls.model_fields) | {each.alias for each in cls.model_fields.values()}
        for name, value in found.items() if isinstance(found, dict) else ():
            if name not in known and value not in (None, False, 0, "", [], {}):
                raise ValueError(
                    f"{name!r:.{SHOWN}} is not known here and might change the numbers; leave it out"
                )
        return found


B = TypeVar("B", bound=Body)

Id = Annotated[str, Field(min_length=1, max_length=bounds.MAX_NAME_CHARACTERS)]
Text = Annotated[str, Field(max_length=bounds.MAX_TEXT_CHARACTERS)]
SeqId = Annotated[int, Field(ge=0, le=bounds.MAX_SEQ_ID)]
TrainingSeqId = Annotated[int, Field(ge=1, le=bounds.MAX_TRAINING_SEQ_ID)]
Ttl = Annotated[int, Field(ge=bounds.MIN_TTL_S, le=bounds.MAX_TTL_S)]
TokenIds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...],
    Field(max_length=bounds.MAX_TOKENS_PER_DATUM, fail_fast=True),
]


def _bounded(metadata: dict[str, JsonValue]) -> dict[str, str]:
    texts = {
        key: each if isinstance(each, str) else json.dumps(each) for key, each in metadata.items()
    }
    num_characters = sum(len(key) + len(each) for key, each in texts.items())
    if num_characters > bounds.MAX_METADATA_CHARACTERS:
        raise ValueError(
            f"{num_characters} characters of metadata; at most {bounds.MAX_METADATA_CHARACTERS}"
        )
    return texts


Metadata = Annotated[
    dict[str, JsonValue],
    Field(max_length=bounds.MAX_METADATA_KEYS),
    AfterValidator(_bounded),
]
"""Words of the tenant's own about what it made; values that are no texts are written as JSON."""


def read(form: type[B], data: bytes, most: int = bounds.MAX_JSON_BYTES) -> B:
    """The body of a request, of at most so many bytes.

    Raises:
        Refused: `too_large`; `malformed`: no JSON object, or one without the fields of this form;
            `impossible`: a field out of its bounds.
    """
    _check_amount(data, most)
    try:
        return form.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise _refused(error, len(data)) from None


def read_fields(form: type[B], fields: Mapping[str, str]) -> B:
    """The same of the query of an address, whose values are all texts.

    Raises:
        Refused: see `read`.
    """
    try:
        return form.model_validate_strings(dict(fields))
    except ValidationError as error:
        raise _refused(error, 0) from None


def _check_amount(data: bytes, most: int) -> None:
    """Before anything is made of it: an empty list takes two bytes here and three hundred in memory."""
    if len(data) > most:
        raise Refused("too_large", f"{len(data)} bytes of JSON; at most {most}: send less at once")
    for what, marks, limit in (
        ("lists and objects", b"[{", bounds.MAX_JSON_CONTAINERS),
        ("texts", b'"', 2 * bounds.MAX_JSON_TEXTS),
        ("values", b",", bounds.MAX_JSON_VALUES),
    ):
        if sum(data.count(mark) for mark in marks) > limit:
            raise Refused("too_large", f"a body of too many {what}; send less at once")


def _refused(error: ValidationError, num_bytes: int) -> Refused:
    """What was got is looked at only where it is small: a whole body may be what was got."""
    shown = num_bytes <= MAX_SHOWN_BYTES
    fault = error.errors(include_url=False, include_context=False, include_input=shown)[-1]
    where = ".".join(str(part) for part in fault["loc"]) or "the body"
    kind, got = fault["type"], fault.get("input")
    sentence = f"{where:.{MAX_WHERE}}: {fault['msg']:.300}"
    if isinstance(got, int | float | str) and kind != "json_invalid":
        sentence += f"; got {got!r:.{SHOWN}}"
    unreadable = kind in {"json_invalid", "json_type", "missing", "model_type"}
    return Refused("malformed" if unreadable else "impossible", sentence)


class Page(Body):
    """Which rows of a listing."""

    limit: Annotated[int, Field(ge=0, le=bounds.MAX_PAGE)] = 20
    offset: Annotated[int, Field(ge=0, le=2**53)] = 0

    def of(self, limit: int) -> Self:
        """The same with another default of how many."""
        return (
            self if "limit" in self.model_fields_set else self.model_copy(update={"limit": limit})
        )
