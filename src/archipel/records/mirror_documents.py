"""What a lab says of the labs whose mirrors it keeps: `/mirrors`, and beside each mirror what was seen of its lab."""

import re
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.document import Document
from archipel.records.fields import Count

MAX_FAULTS = 32
"""Kept of one lab: the first of each kind, then the newest."""
MAX_MIRRORS = 16
"""Labs that one lab keeps mirrors of."""
MAX_WORDS = 1000
NAME_FORM = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"
"""Of a mirror, and of a file in one: a plain name."""

FaultKind = Literal["fork", "rollback", "broken"]
Standing = Literal["forked", "broken", "gone-back", "silent", "followed", "new"]
STANDINGS: dict[Standing, str] = {
    "forked": "signed two histories",
    "broken": "broke a rule of its ledger",
    "gone-back": "went back to an older ledger",
    "silent": "is silent",
    "followed": "goes on",
    "new": "was not heard yet",
}
"""In words, of a lab; the first that holds is the one."""
Words = Annotated[str, Field(max_length=MAX_WORDS)]
Name = Annotated[str, Field(pattern=f"^{NAME_FORM}$")]
_Note = Annotated[str, Field(max_length=65_536)]


def is_name(text: str) -> bool:
    """Whether a mirror, or a file in one, may have this name: it never leads anywhere else."""
    return re.fullmatch(NAME_FORM, text) is not None


class MirrorFault(Document):
    """What a lab did that no honest lab does."""

    kind: FaultKind
    """`fork`: it signed two histories. `rollback`: it shows fewer entries than it signed. `broken`: an entry breaks a rule."""
    at_ms: Count
    """When it was seen, by the clock of whoever keeps the mirror."""
    words: Words
    where: Words = ""
    """Of a fork or a rollback: where the later head was shown."""
    entry: Count | None = None
    """Of `broken`: the first that does not follow."""
    evidence: Name | None = None
    """A file under `/mirrors/NAME/evidence/` that anybody can check."""
    over_ms: Count | None = None
    """Of a rollback: when the lab had caught up again."""


class MirrorBlobs(Document):
    """Blobs that whoever continues the lab's ledger would need."""

    wanted: Count = 0
    kept: Count = 0
    kept_bytes: Count = 0
    wanted_bytes: Count = 0
    gone: Count = 0
    """The lab had them no more when they were asked for."""
    unfit: Count = 0
    """There is no room for them."""


class MirrorView(Document):
    """A mirror, and what was seen of its lab."""

    name: Name
    lab: str
    """did:key; empty before the first answer."""
    url: Words
    standing: Standing = "new"
    entries: Count = 0
    """That the mirror holds, verified."""
    folded: Count = 0
    """Of those, how many were found to follow the rules."""
    head: _Note = ""
    """The newest head that goes on from all before, a signed note."""
    head_ms: Count = 0
    """When it was first seen."""
    cosigned: _Note = ""
    """The newest head that was signed here, with the signature of `witness`."""
    witness: Words = ""
    """Key line of whoever signs here."""
    asked_ms: Count = 0
    answered_ms: Count = 0
    """Last, in a form that could be used."""
    since_ms: Count = 0
    """Of silence: when it began; 0: it answers."""
    reason: Words = ""
    """Why nothing newer is shown."""
    faults: Annotated[tuple[MirrorFault, ...], Field(max_length=MAX_FAULTS)] = ()
    blobs: MirrorBlobs = MirrorBlobs()
    continued: Words = ""
    """Who continues this ledger, from where on, and what to type; empty: nobody that it names, as far as is known."""
    complete: Count = 0
    """Entries under the newest head of which every blob that is needed is kept; 0: there is none."""


class WitnessView(Document):
    """A witness's newest signature of this lab's heads, as it was handed in."""

    key: Words
    """Its key line."""
    size: Count
    """Entries under the head that it signed."""
    at_s: Count
    """When, by its own clock: Unix time."""
    note: _Note
    """The head with its signature."""
