"""Cards as a file that anybody may host: one envelope a line, in any order (JSON lines). Pure.

Law: bounded in lines and bytes; a line that is no card is refused by itself, and the others are taken.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from archipel.directory.card import MAX_SEALED_BYTES, BadCard, Card, read_card
from archipel.directory.cards import MAX_OF_ONE_LAB
from archipel.directory.known import MAX_LABS

SUFFIX = ".jsonl"
MAX_LINES = MAX_LABS * MAX_OF_ONE_LAB
MAX_FILE_BYTES = 16_000_000
MAX_REFUSALS_TOLD = 8


class NotADirectory(ValueError):
    """More than any directory file is, or nothing like one."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a source's bytes."""

    cards: tuple[Card, ...]
    num_lines: int
    refused: tuple[str, ...] = ()
    """Why lines were not taken, the first few."""
    num_refused: int = 0

    def plus(self, other: "Taken") -> "Taken":
        """Both together."""
        return Taken(
            self.cards + other.cards,
            self.num_lines + other.num_lines,
            (self.refused + other.refused)[:MAX_REFUSALS_TOLD],
            self.num_refused + other.num_refused,
        )


def to_lines(sealed: Iterable[bytes]) -> bytes:
    """A directory file of these envelopes."""
    return b"".join(each + b"\n" for each in sealed)


def read_lines(
    data: bytes,
    known: Mapping[bytes, Card] | None = None,
    most: int = MAX_LINES,
    note: Callable[[int], None] = lambda number: None,
) -> Taken:
    """The cards in it; blank lines count, and say nothing.

    known: envelope -> a card that was verified before, which is not verified again. note: hears how many lines were looked at.

    Raises:
        NotADirectory: more than `most` lines, or than MAX_FILE_BYTES.
    """
    if len(data) > MAX_FILE_BYTES:
        raise NotADirectory(f"{len(data)} bytes; no directory file has more than {MAX_FILE_BYTES}")
    lines = data.split(b"\n", most)
    if len(lines) > most and lines[-1]:
        raise NotADirectory(f"more than {most} lines; no directory file has so many cards")
    cards, refused = list[Card](), list[str]()
    for number, line in enumerate(lines, 1):
        note(number)
        try:
            if line:
                cards.append(_card(line, known or {}))
        except BadCard as error:
            refused.append(f"line {number}: {error}")
    return Taken(
        tuple(cards), sum(map(bool, lines)), tuple(refused[:MAX_REFUSALS_TOLD]), len(refused)
    )


def _card(line: bytes, known: Mapping[bytes, Card]) -> Card:
    if len(line) > MAX_SEALED_BYTES:
        raise BadCard(f"{len(line)} bytes; no card has more than {MAX_SEALED_BYTES}")
    return known.get(line) or read_card(line)
