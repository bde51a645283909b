"""A table of comma-separated values, line by line, of a file of any sender.

Laws: nothing is held but the line at hand; a file, a line, a cell and the number of lines have a most; columns are
found by names that a table lists, and one that is needed and missing is said with what stands there instead.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

MAX_FILE_BYTES = 1024 * 1024 * 1024
MAX_LINE_BYTES = 256 * 1024
"""Of one row, however many lines it is broken over."""
MAX_LINES = 2_000_000
MAX_COLUMNS = 500
_SPACE = re.compile(r"[ \t\r\n]+")


class BadTable(ValueError):
    """No table of the form that was expected; the message says what was found."""


@dataclass(frozen=True, slots=True)
class Column:
    """One that an importer looks for."""

    names: tuple[str, ...]
    """As files call it, newest first; compared without case, spaces and punctuation."""
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table."""

    number: int
    """Of the line in the file where it ends, from 1."""
    cells: Mapping[str, str]
    """Column -> text, white space and line breaks as one space, none around it; only columns that were found."""
    why_not: str = ""
    """Refused: it has another number of cells than the header."""

    def get(self, column: str) -> str:
        """Empty: there is no such column, or nothing in it."""
        return self.cells.get(column, "")


@dataclass(frozen=True, slots=True)
class Table:
    """A header that was understood, and the lines below it."""

    lines: Iterator[Line]
    unused: tuple[str, ...]
    """Columns that nothing was taken from."""
    header: tuple[str, ...]


def read_table(
    file: BinaryIO, columns: Mapping[str, Column], keep: Mapping[str, str] | None = None
) -> Table:
    """The table in `file`. keep: further columns, exact header -> the name its cells get.

    Raises:
        BadTable: no header, a needed column is missing, or one is there twice; while lines are read: not UTF-8, not
            comma-separated values, larger than a bound.
    """
    rows = _rows(file)
    header = next(rows, (0, []))[1]
    if not header or len(header) > MAX_COLUMNS:
        raise BadTable(f"{len(header)} columns in the first line; expected 1 to {MAX_COLUMNS}")
    places = _places(header, columns)
    for name, kept in (keep or {}).items():
        if name in header:
            places[kept] = header.index(name)
    unused = tuple(name for at, name in enumerate(header) if at not in places.values())
    return Table(_lines(rows, len(header), places), unused, tuple(header))


def _lines(
    rows: Iterator[tuple[int, list[str]]], width: int, places: Mapping[str, int]
) -> Iterator[Line]:
    for count, (number, row) in enumerate(rows):
        if count >= MAX_LINES:
            raise BadTable(f"more than {MAX_LINES} lines; split the file")
        if not any(row):
            continue
        if len(row) != width:
            yield Line(number, {}, f"{len(row)} cells; the header has {width}")
        else:
            yield Line(
                number, {name: _SPACE.sub(" ", row[at]).strip(" ") for name, at in places.items()}
            )


def _places(header: Sequence[str], columns: Mapping[str, Column]) -> dict[str, int]:
    known = [plain_name(name) for name in header]
    places: dict[str, int] = {}
    for column, wanted in columns.items():
        for name in wanted.names:
            found = [at for at, each in enumerate(known) if each == plain_name(name)]
            if len(found) > 1:
                raise BadTable(f"the column {name!r} is there {len(found)} times; keep one")
            if found:
                places[column] = found[0]
                break
        else:
            if wanted.is_needed:
                there = ", ".join(repr(each[:40]) for each in header[:30])
                raise BadTable(
                    f"no column {column!r}; expected one called {' or '.join(wanted.names)}, found {there:.600}"
                )
    return places


def plain_name(name: str) -> str:
    """A column's name without case, spaces and punctuation."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells; the last of a file that was cut off inside a cell is an error."""
    text = _Text(file)
    reader = csv.reader(text, strict=True)
    while True:
        text.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadTable(f"line {reader.line_num + 1}: {error!s:.200}") from None
        yield reader.line_num, row


class _Text:
    """Lines as text, no more than the bounds let through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._num_bytes = self._of_row = self._number = 0

    def begin(self) -> None:
        """A new row begins."""
        self._of_row = 0

    def __iter__(self) -> "_Text":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._num_bytes += len(line)
        self._of_row += len(line)
        if self._of_row > MAX_LINE_BYTES:
            raise BadTable(
                f"line {self._number}: a row of more than {MAX_LINE_BYTES} bytes; a quotation mark may be missing"
            )
        if self._num_bytes > MAX_FILE_BYTES:
            raise BadTable(f"more than {MAX_FILE_BYTES} bytes; split the file")
        return line.decode("utf-8-sig" if self._number == 1 else "utf-8")
