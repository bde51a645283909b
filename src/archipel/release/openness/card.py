"""The grade as a document: one card for each component, three classes, and the checklist.

Laws: closed, canonical JSON, so that the same bytes graded twice give the same document; a class is *stated* if all
that the folder says were so, *present* if what bytes show is enough, *reproduced* if what can be rebuilt was.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.fields import Closed, Count, Digest

MAX_GRADE_BYTES = 1024 * 1024
MAX_PLACES_NAMED = 5
Level = Literal["absent", "stated", "present", "reproduced"]
Line = Annotated[str, Field(max_length=500)]
Lines = Annotated[tuple[Line, ...], Field(max_length=50)]
MofClass = Annotated[int, Field(ge=0, le=3)]


class PartCard(Closed):
    """What was found of one component."""

    component: Line
    """As the Model Openness Framework names it."""
    type: Literal["code", "data", "document"]
    of_class: MofClass
    """That asks for it."""
    is_required: bool
    level: Level
    """What is shown of it: nothing, words, bytes, or bytes that were made again."""
    counts: bool
    """Present, under an open licence that fits its type, and no text says otherwise."""
    licence: Line | None
    licence_from: Literal["component", "type", "distribution", "none"]
    is_open: bool
    fits: bool
    """The licence was written for this type of component."""
    files: Count
    places: Annotated[tuple[Line, ...], Field(max_length=MAX_PLACES_NAMED)]
    """The first of them."""
    why: Lines
    """What keeps it from counting, or is worth knowing."""


class Classes(Closed):
    """1 is the highest class, 0 none."""

    stated: MofClass
    """If all that is said were so."""
    present: MofClass
    """By the bytes: the class."""
    reproduced: MofClass
    """By the bytes, where all that can be rebuilt was rebuilt."""


class Have(Closed):
    """Of a class's components."""

    of_class: MofClass
    have: Count
    of: Count


class Check(Closed):
    """One line of the checklist of the Open Source AI Definition."""

    about: Literal["data information", "code", "parameters", "freedoms"]
    asks: Line
    answer: Literal["met", "not met", "a person must judge"]
    why: Line


class Grade(Closed):
    """How open a folder's model is."""

    form: Literal[1] = 1
    framework: Literal["Model Openness Framework 1.0"] = "Model Openness Framework 1.0"
    of: Literal["bundle", "directory"]
    release: Digest | None
    """SHA-256 of its release.json; None: a directory of somebody else's."""
    classes: Classes
    progress: Annotated[tuple[Have, ...], Field(min_length=3, max_length=3)]
    """By bytes, class III first; a lower class that is not met does not zero these."""
    parts: Annotated[tuple[PartCard, ...], Field(max_length=32)]
    osaid: Annotated[tuple[Check, ...], Field(max_length=32)]
    """Open Source AI Definition 1.0."""
    not_shown: Lines

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


NOT_SHOWN: Final = (
    "that whoever names a licence may give it",
    "that code does what it says: nothing was run",
    "that documents are true",
    "that data are all the data: what nobody names cannot be missed",
)


def read_grade(data: bytes) -> Grade:
    """A grade out of `openness.json`.

    Raises:
        ValueError: it is none; the message names the fault (pydantic's ValidationError and NotCanonical are ValueErrors).
    """
    if len(data) > MAX_GRADE_BYTES:
        raise ValueError(f"openness.json has {len(data)} bytes; at most {MAX_GRADE_BYTES}")
    parse_canonical(data)
    return Grade.model_validate_json(data)
