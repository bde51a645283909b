"""Text in so many columns: sentences over several lines, tables whose cells wrap, records where no table fits.

Law: no line is wider than asked for; without a width, a row is one line (files, pipes, other programs).
"""

import textwrap
from collections.abc import Sequence

PROSE = 110
"""Characters of a line of prose, at most."""
GAP = 2
"""Spaces between columns."""
NARROWEST = 11
"""A column with less room than this is no column: the table becomes records."""


def wrapped(text: str, width: int | None = None, first: str = "", then: str = "") -> list[str]:
    """A sentence over as many lines as it needs; none if it is empty."""
    room = max(min(width or PROSE, PROSE), len(then) + NARROWEST)
    return textwrap.wrap(text, room, initial_indent=first, subsequent_indent=then)


def lined_up(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[str]:
    """Text columns, left-aligned, two spaces apart, headed when the columns have names.

    width: of a line; None for as much as the widest row takes.
    """
    body = [list(row) for row in rows]
    everything = [list(columns), *body] if any(columns) else body
    if not everything:
        return []
    widths = [max(len(row[i]) for row in everything) for i in range(len(everything[0]))]
    if width is not None:
        longest = [
            max(map(_longest_word, (row[i] for row in everything))) for i in range(len(widths))
        ]
        found = _fitted(widths, longest, width - GAP * (len(widths) - 1))
        if found is None:
            return [line for row in body for line in _record(columns, row, width)]
        widths = found
    return [line for row in everything for line in _row(row, widths)]


def indented(lines: Sequence[str], by: int = 2) -> list[str]:
    """The lines further right."""
    return [f"{' ' * by}{line}" for line in lines]


def inside(width: int | None, by: int = 2) -> int | None:
    """What is left of a width after an indent."""
    return None if width is None else max(width - by, 1)


def _fitted(widths: Sequence[int], words: Sequence[int], room: int) -> list[int] | None:
    """Widths that fit: narrow columns keep what they need, and words stay whole if that is possible.

    words: the longest of each column. None if some column would be too narrow to be one.
    """
    for least in (words, [0] * len(words)):
        for most in range(max(widths), min(NARROWEST, max(widths)) - 1, -1):
            found = [max(word, min(own, most)) for own, word in zip(widths, least, strict=True)]
            if sum(found) <= room:
                return found
    return None


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row, over as many lines as its fullest cell needs."""
    folded = [
        [cell] if len(cell) <= own else textwrap.wrap(cell, own, break_on_hyphens=False)
        for cell, own in zip(cells, widths, strict=True)
    ]
    height = max(len(lines) for lines in folded)
    return [
        (" " * GAP)
        .join(
            (lines[at] if at < len(lines) else "").ljust(own)
            for lines, own in zip(folded, widths, strict=True)
        )
        .rstrip()
        for at in range(height)
    ]


def _record(columns: Sequence[str], cells: Sequence[str], width: int) -> list[str]:
    """One row as a small paragraph: its first cell, then the others under it by their columns' names."""
    lines = textwrap.wrap(cells[0], width) if cells[0] else []
    for name, cell in zip(columns[1:], cells[1:], strict=True):
        told = f"{name}: {cell}" if name else cell
        lines += wrapped(told, width, "  ", "    ") if cell else []
    return lines


def section(head: str, sentences: Sequence[str], width: int | None) -> list[str]:
    """Sentences as a list under a head; nothing without any."""
    return ["", *wrapped(head, width), *_listed(sentences, width)] if sentences else []


def _listed(sentences: Sequence[str], width: int | None) -> list[str]:
    """Each as an item."""
    return [line for each in sentences for line in wrapped(each, width, "  - ", "    ")]
