"""Series as a picture of characters: dots of two by four a cell, one colour and one letter a series. Pure."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bit of each dot of a Braille cell: by column, then by row from the top (Unicode chapter 21)."""
CELL_WIDTH, CELL_HEIGHT = 2, 4
LABEL_WIDTH = 11
MIN_WIDTH, MIN_HEIGHT = 34, 4


@dataclass(frozen=True, slots=True)
class Line:
    """One series and its name."""

    label: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Canvas:
    """How large the picture is, in characters, and which it may use."""

    width: int
    height: int
    plain: bool = False
    """Only ASCII."""


Cell = tuple[str, int | None]
"""A character and the number of the series that it belongs to; None for axes and labels."""


def plot(lines: Sequence[Line], canvas: Canvas) -> list[list[Cell]]:
    """Rows of cells, the value's axis at the left, the version's below; the letters of several series at their ends.

    Raises:
        ValueError: no series has a point.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    if not xs:
        raise ValueError("there is nothing to draw yet")
    width = max(canvas.width, MIN_WIDTH) - LABEL_WIDTH - 1
    height = max(canvas.height, MIN_HEIGHT)
    box = _Box(min(xs), max(xs), *_padded(min(ys), max(ys)), width, height)
    grid: list[list[Cell]] = [[(" ", None)] * width for _ in range(height)]
    for number, line in enumerate(lines):
        _draw(grid, box, number, line, canvas.plain)
    if len(lines) > 1:
        _letter(grid, box, lines)
    return [*_with_labels(grid, box), *_below(box)]


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    right: float
    low: float
    high: float
    width: int
    height: int

    def column(self, x: float) -> int:
        """Dot column of x, from the left."""
        return round(
            (x - self.left) / ((self.right - self.left) or 1.0) * (self.width * CELL_WIDTH - 1)
        )

    def row(self, y: float) -> int:
        """Dot row of y, from the top."""
        return round((self.high - y) / (self.high - self.low) * (self.height * CELL_HEIGHT - 1))


def _padded(low: float, high: float) -> tuple[float, float]:
    """A range with some height, whatever the values."""
    return (
        (low, high) if high > low else (low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2)
    )


def _draw(grid: list[list[Cell]], box: _Box, number: int, line: Line, plain: bool) -> None:
    masks: dict[tuple[int, int], int] = {}
    dots = [(box.column(x), box.row(y)) for x, y in line.points]
    for start, end in zip(dots, dots[1:] or dots, strict=False):
        for column, row in _between(start, end):
            place = row // CELL_HEIGHT, column // CELL_WIDTH
            masks[place] = masks.get(place, 0) | _DOTS[column % CELL_WIDTH][row % CELL_HEIGHT]
    for (row, column), mask in masks.items():
        sign, owner = grid[row][column]
        before = 0 if plain or sign == " " else ord(sign) - BRAILLE
        drawn = "*" if plain else chr(BRAILLE + (before | mask))
        grid[row][column] = drawn, number if owner is None else owner


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots of a straight stroke, both ends included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]


def _letter(grid: list[list[Cell]], box: _Box, lines: Sequence[Line]) -> None:
    for number, line in enumerate(lines):
        if line.points:
            x, y = line.points[-1]
            row, column = box.row(y) // CELL_HEIGHT, box.column(x) // CELL_WIDTH
            grid[row][column] = letter(number), number


def letter(number: int) -> str:
    """The sign of a series in a picture of several."""
    return string.ascii_uppercase[number % len(string.ascii_uppercase)]


def _with_labels(grid: list[list[Cell]], box: _Box) -> list[list[Cell]]:
    last = box.height - 1
    named = {
        0: box.high,
        last: box.low,
        last // 2: box.high - (box.high - box.low) * (last // 2) / last,
    }
    return [
        [(sign, None) for sign in f"{_short(named.get(row)):>{LABEL_WIDTH}} "] + cells
        for row, cells in enumerate(grid)
    ]


def _below(box: _Box) -> list[list[Cell]]:
    left, right = f"{box.left:g}", f"version {box.right:g}"
    text = left + right.rjust(box.width - len(left))
    return [[(sign, None) for sign in " " * (LABEL_WIDTH + 1) + text]]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
