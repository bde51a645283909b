"""A licence by its SPDX id: is it open, and was it written for this type of thing?

Law: pure. An id that is not in the tables is a licence that nobody here knows: never open. Of an expression
`A AND B` every part must be.
"""

from dataclasses import dataclass
from typing import Final, Literal

from archipel.release.openness.licence_facts import (
    DOCUMENTS,
    FOR_MODELS,
    FSF_LIBRE,
    HUB_NAMES,
    NO_CODE,
    NO_DATA,
    NO_DOCUMENT,
    OPEN_DATA,
    OSI_APPROVED,
)

Type = Literal["code", "data", "document"]
TYPES: Final[tuple[Type, ...]] = ("code", "data", "document")
OPEN: Final = OSI_APPROVED | FSF_LIBRE | OPEN_DATA | FOR_MODELS
_BY_SMALL_LETTERS: Final = {each.lower(): each for each in sorted(OPEN)} | HUB_NAMES
MAX_LICENCE_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of a licence."""

    spdx: str
    """As it was named; canonical where it is known."""
    is_osi_approved: bool
    is_fsf_libre: bool
    is_open: bool
    types: frozenset[Type]
    """What it was written for; empty where it is not open."""


def terms(expression: str) -> Terms:
    """Of a single SPDX id, or of several joined by ` AND `, all of which bind.

    Source: `licence_facts`. An id is compared as SPDX writes it; `canonical` mends other spellings before.
    """
    parts = expression.split(" AND ")
    return Terms(
        spdx=expression,
        is_osi_approved=all(each in OSI_APPROVED for each in parts),
        is_fsf_libre=all(each in FSF_LIBRE for each in parts),
        is_open=all(each in OPEN for each in parts),
        types=frozenset.intersection(*(_types(each) for each in parts)),
    )


def canonical(name: str) -> str | None:
    """The SPDX id of an open licence that a person or a hub named in their own way; None: none is known by it."""
    name = name.strip()
    if len(name) > MAX_LICENCE_CHARACTERS:
        return None
    return name if name in OPEN else _BY_SMALL_LETTERS.get(name.lower())


def _types(spdx: str) -> frozenset[Type]:
    if spdx in FOR_MODELS:
        return frozenset(TYPES)
    held: set[Type] = set()
    if spdx in OSI_APPROVED | FSF_LIBRE and spdx not in NO_CODE:
        held.add("code")
    if spdx in OPEN_DATA - NO_DATA:
        held.add("data")
    if spdx in (OPEN_DATA - NO_DOCUMENT) | DOCUMENTS:
        held.add("document")
    return frozenset(held)
