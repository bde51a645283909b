"""The form of what a lab and a node show each other outside the ledger, and how it is read."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

D = TypeVar("D", bound=BaseModel)


class BadDocument(ValueError):
    """An answer that is not what this path of a lab answers."""


class Document(BaseModel):
    """Frozen; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


def read_document(kind: type[D], data: bytes) -> D:
    """One document.

    Raises:
        BadDocument: it is not one.
    """
    try:
        return kind.model_validate_json(data)
    except (ValidationError, RecursionError) as error:
        raise BadDocument(_first_fault(error)) from None


def read_documents(kind: type[D], data: bytes, most: int) -> list[D]:
    """A list of them, in JSON; of more than `most` the first.

    Raises:
        BadDocument: it is none, or one of these is not one.
    """
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise BadDocument("expected a list, in JSON")
    return [read_document(kind, json.dumps(each).encode()) for each in listed[:most]]


def _first_fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "nested too deeply"
    fault: Any = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
