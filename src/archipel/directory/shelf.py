"""Where this machine keeps the labs that it knows: one file, replaced whole, read with a digest of its own.

Law: what is read is verified again, card by card; several processes take turns; a damaged file is said and not passed over.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, ValidationError

from archipel.directory.card import BadCard, Card, read_card
from archipel.directory.cards import MAX_OF_ONE_LAB
from archipel.directory.known import MAX_FORGOTTEN, MAX_LABS, MAX_SOURCES, Directory, KnownLab
from archipel.records.fields import Closed, Did, Millis
from archipel.records.kept import Damaged, kept, read_kept

FILE = "labs.json"
LOCK = "labs.lock"
MAX_SHELF_BYTES = 48_000_000


class Unkept(ValueError):
    """The file is none, or was damaged."""


class _Lab(Closed):
    cards: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_OF_ONE_LAB)]
    since_ms: Millis
    sources: Annotated[tuple[str, ...], Field(max_length=MAX_SOURCES)]
    reached_ms: Millis | None
    is_added: bool


class _Shelf(Closed):
    labs: Annotated[tuple[_Lab, ...], Field(max_length=MAX_LABS)]
    forgotten: Annotated[tuple[Did, ...], Field(max_length=MAX_FORGOTTEN)]


def loaded(folder: Path, known: Mapping[bytes, Card] | None = None) -> Directory:
    """What is kept there; nothing, if there is no file. known: cards that this process verified before, by envelope.

    Raises:
        Unkept: it is damaged. OSError: it cannot be read.
    """
    try:
        with (folder / FILE).open("rb") as file:
            data = file.read(MAX_SHELF_BYTES + 1)
    except FileNotFoundError:
        return Directory()
    try:
        return directory_of(data, known)
    except Unkept as error:
        raise Unkept(
            f"{folder / FILE}: {error}; delete it, and add the labs again from where they were found"
        ) from None


def directory_of(data: bytes, known: Mapping[bytes, Card] | None = None) -> Directory:
    """What such a file says.

    Raises:
        Unkept: other bytes than were kept, or what is kept is no directory.
    """
    if len(data) > MAX_SHELF_BYTES:
        raise Unkept(f"more than {MAX_SHELF_BYTES} bytes, which no directory has")
    try:
        said = _Shelf.model_validate(read_kept(data, strict=True), strict=False)
        labs = [_known(each, known or {}) for each in said.labs]
    except (Damaged, BadCard, ValidationError) as error:
        raise Unkept(f"not what was kept: {str(error).splitlines()[0]:.200}") from None
    return Directory(
        MappingProxyType({each.card.said.lab: each for each in labs}), frozenset(said.forgotten)
    )


def shelf_bytes(directory: Directory) -> bytes:
    """The file."""
    labs = [
        {
            "cards": [card.sealed.decode() for card in each.cards],
            "since_ms": each.since_ms,
            "sources": sorted(each.sources),
            "reached_ms": each.reached_ms,
            "is_added": each.is_added,
        }
        for _, each in sorted(directory.labs.items())
    ]
    return kept({"labs": labs, "forgotten": sorted(directory.forgotten)}, is_for_people=False)


def save(folder: Path, directory: Directory) -> None:
    """Replace the file. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = folder / f".{FILE}.partial"
    aside.write_bytes(shelf_bytes(directory))
    aside.replace(folder / FILE)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While the block lasts no other process changes what lies there. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _known(lab: _Lab, known: Mapping[bytes, Card]) -> KnownLab:
    sealed = [each.encode() for each in lab.cards]
    cards = tuple(known.get(each) or read_card(each) for each in sealed)
    if len({each.said.lab for each in cards}) != 1:
        raise BadCard("cards of several labs under one")
    return KnownLab(cards, lab.since_ms, frozenset(lab.sources), lab.reached_ms, lab.is_added)
