"""A lab's own card: what its operator set, in one file, and the card that was signed last, in another.

Laws: numbers only grow, also from a home that was restored from a copy, as they are never behind the clock; a card never ends
before one that was signed earlier, so nobody shows an older one again; whoever signs, does so alone.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from archipel.directory.card import BadCard, Card, read_card, signed_card
from archipel.directory.shelf import alone
from archipel.identity import Identity
from archipel.ledger.verification import lab_key
from archipel.records.fields import LeftOut, Sparing
from archipel.records.kept import Damaged, kept, read_kept
from archipel.records.lab_card import (
    MAX_ADDRESSES,
    MAX_MIRRORS,
    MAX_VALID_MS,
    MAX_WITNESSES,
    Address,
    LabCard,
    Line,
    NamedWitness,
    Short,
)

WORDS, SIGNED = "card-words.json", "card.json"
DAY_MS = 86_400_000
USUAL_DAYS = 30
RENEW_MS = 3_600_000
"""A lab that runs signs its card anew so often, with its newest head."""
MAX_WORDS_BYTES = 65_536


class CardWords(Sparing):
    """What an operator says of a lab; the rest of a card follows from the lab."""

    addresses: Annotated[tuple[Address, ...], Field(max_length=MAX_ADDRESSES)] = ()
    purpose: Annotated[Line | None, LeftOut] = None
    licence: Annotated[Short | None, LeftOut] = None
    jurisdiction: Annotated[Short | None, LeftOut] = None
    contact: Annotated[Line | None, LeftOut] = None
    witnesses: Annotated[tuple[NamedWitness, ...], Field(max_length=MAX_WITNESSES)] = ()
    mirrors: Annotated[tuple[Address, ...], Field(max_length=MAX_MIRRORS)] = ()
    days: Annotated[int, Field(ge=1, le=MAX_VALID_MS // DAY_MS)] = USUAL_DAYS
    """For which a card holds."""
    is_withdrawn: bool = False


def words_of(home: Path) -> CardWords | None:
    """What was set; None: nothing ever was, so the lab says nothing of itself.

    Raises:
        BadCard: the file is damaged. OSError: it cannot be read.
    """
    data = _read(home / WORDS)
    if data is None:
        return None
    try:
        return CardWords.model_validate(read_kept(data, strict=True), strict=False)
    except (Damaged, ValidationError) as error:
        raise BadCard(
            f"{home / WORDS} is not what was set: {str(error).splitlines()[0]:.200}; set the card anew"
        ) from None


def set_words(home: Path, words: CardWords) -> None:
    """Say this from now on. Raises OSError."""
    _write(home / WORDS, kept(words.model_dump(mode="json")))


def card_of(home: Path) -> Card | None:
    """The card that was signed last; None: none was.

    Raises:
        BadCard: the file is damaged. OSError: it cannot be read.
    """
    data = _read(home / SIGNED)
    return None if data is None else read_card(data)


def renewed(home: Path, identity: Identity, head: str | None, now_ms: int) -> Card | None:
    """The lab's card as it is now: the one that was signed last, or a new one where something of it is another or it is old.

    head: the newest signed head of its ledger; None: the one of the card before. Returns None where nothing is set.

    Raises:
        BadCard: what is set makes no card. OSError: the disk.
    """
    with alone(home):
        words, last = words_of(home), card_of(home)
        if words is None:
            return None
        said = _said(words, identity.did, last, head, now_ms)
        if last is not None and _is_recent(last.said, said, now_ms):
            return last
        card = signed_card(identity, said)
        _write(home / SIGNED, card.sealed)
        return card


def _said(words: CardWords, did: str, last: Card | None, head: str | None, now_ms: int) -> LabCard:
    before = (0, 0) if last is None else (last.said.number, last.said.until_ms)
    if words.is_withdrawn:
        words, until_ms = CardWords(is_withdrawn=True), now_ms + MAX_VALID_MS
    else:
        until_ms = min(max(now_ms + words.days * DAY_MS, before[1]), now_ms + MAX_VALID_MS)
    given = {
        name: getattr(words, name)
        for name in CardWords.model_fields
        if name in LabCard.model_fields
    }
    try:
        return LabCard(
            lab=did,
            number=max(before[0] + 1, now_ms // 1000),
            issued_ms=now_ms,
            until_ms=until_ms,
            origin=lab_key(did).name,
            head=head or (None if last is None else last.said.head),
            withdrawn=True if words.is_withdrawn else None,
            **given,
        )
    except ValidationError as error:
        raise BadCard(f"what is set makes no card: {error.errors()[0]['msg']:.200}") from None


def _is_recent(last: LabCard, said: LabCard, now_ms: int) -> bool:
    """Whether the last card says the same but for what only time changes, and is not old."""
    changing = {"number", "issued_ms", "until_ms", "head"}
    is_same = last.model_dump(exclude=changing) == said.model_dump(exclude=changing)
    return (
        is_same
        and not (last.head is None and said.head is not None)
        and 0 <= now_ms - last.issued_ms < RENEW_MS
    )


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_WORDS_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > MAX_WORDS_BYTES:
        raise BadCard(f"{path} has more than {MAX_WORDS_BYTES} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(data)
    aside.replace(path)
