"""Settling with the world outside: what is to be paid out, written for whoever pays; what was moved, read from them.

A `Settlement` is one way to do that: `Manual` for a person with a bank's page before them, `Csv` for a bank's or a
bookkeeper's file. Law: pure; nothing here moves credits. That takes a `credits.settled` for each, whose reference a lab
takes once, so the same file may come twice without harm.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from archipel.market.amounts import BadAmount, dollars, micro_of, written
from archipel.records.fields import Did
from archipel.records.money import Direction, Reference
from archipel.records.stakes import MAX_MOVED_MICRO

COLUMNS = ("account", "direction", "credits", "reference", "usd")
"""Of a CSV file, in any order. account: did:key:z6Mk...; direction: in or out; credits, usd: decimal numbers with at most
six places, usd may be empty or missing; reference: up to 100 ASCII characters. Other columns are left alone."""
NEEDED = COLUMNS[:-1]
MAX_CSV_BYTES = 16 * 1024 * 1024
MAX_ROWS = 100_000
MAX_FAULTS_TOLD = 20
_DID: TypeAdapter[str] = TypeAdapter(Did)
_REFERENCE: TypeAdapter[str] = TypeAdapter(Reference)


@dataclass(frozen=True, slots=True)
class Settling:
    """One movement between an account and the world outside."""

    account: str
    direction: Direction
    micro: int
    reference: str
    usd_micro: int | None = None
    line: int = 0
    """Of the file it was read from, the first being 1; 0: of none."""


@dataclass(frozen=True, slots=True)
class Owed:
    """What an account may be paid out."""

    account: str
    micro: int


class BadSettlement(ValueError):
    """A file that is none, or has rows that are none; every fault by its line."""

    def __init__(self, faults: Sequence[str]) -> None:
        """`faults`: one sentence each."""
        shown = [*faults[:MAX_FAULTS_TOLD]]
        if len(faults) > len(shown):
            shown.append(f"and {len(faults) - len(shown)} more")
        super().__init__("\n  ".join(shown))
        self.faults = tuple(faults)


class Settlement(Protocol):
    """One way to settle outside."""

    def written(self, movements: Iterable[Settling]) -> str:
        """What whoever pays is given."""

    def read(self, data: bytes) -> tuple[Settling, ...]:
        """What whoever paid says was moved. Raises BadSettlement: it cannot be read; then nothing is."""


def payouts(owed: Iterable[Owed], batch: str, rate_micro: int | None) -> list[Settling]:
    """A movement out for each, all of it, with a reference that no other batch has.

    batch: a short name of this one, such as `payout 4711`. rate_micro: millionths of a dollar for a credit.
    """
    return [
        Settling(
            account=each.account,
            direction="out",
            micro=each.micro,
            reference=f"{batch} {each.account.rpartition(':')[2][-12:]}",
            usd_micro=None if rate_micro is None else dollars(each.micro, rate_micro),
        )
        for each in sorted(owed, key=lambda each: each.account)
        if each.micro > 0
    ]


class Manual:
    """Lines for a person, who then enters each by hand."""

    def written(self, movements: Iterable[Settling]) -> str:
        """A line for each movement, and the sum."""
        rows = list(movements)
        lines = [
            f"{each.direction:3}  {written(each.micro)} credits  {_usd(each.usd_micro)}{each.account}  ({each.reference})"
            for each in rows
        ]
        total = sum(each.micro if each.direction == "in" else -each.micro for each in rows)
        return "\n".join([*lines, f"sum  {written(total)} credits, in less out"]) + "\n"

    def read(self, data: bytes) -> tuple[Settling, ...]:
        """None: a person enters what was moved, one by one."""
        raise BadSettlement(["what was settled by hand is entered by hand, one by one"])


class Csv:
    """Files with a line of names and a row for each movement (`COLUMNS`), by RFC 4180."""

    def written(self, movements: Iterable[Settling]) -> str:
        """Such a file, which `read` takes back when it was paid."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(COLUMNS)
        for each in movements:
            usd = "" if each.usd_micro is None else written(each.usd_micro)
            rows.writerow((each.account, each.direction, written(each.micro), each.reference, usd))
        return out.getvalue()

    def read(self, data: bytes) -> tuple[Settling, ...]:
        """Every row, or none.

        Raises:
            BadSettlement: too large, no UTF-8, a column is missing, or rows that are no movements, each by its line.
        """
        rows, found, faults = _rows(data), dict[str, Settling](), list[str]()
        for line, row in rows:
            try:
                each = _settling(line, row)
            except BadSettlement as error:
                faults.extend(f"line {line}: {fault}" for fault in error.faults)
                continue
            before = found.get(each.reference)
            if before is not None:
                faults.append(
                    f"line {line}: reference {each.reference!r} stands in line {before.line} already; every movement "
                    "needs its own"
                )
            found.setdefault(each.reference, each)
        if faults:
            raise BadSettlement(faults)
        return tuple(found.values())


def _usd(usd_micro: int | None) -> str:
    return "" if usd_micro is None else f"{written(usd_micro)} USD  "


def _rows(data: bytes) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> cell) of every row that is not empty."""
    if len(data) > MAX_CSV_BYTES:
        raise BadSettlement([f"{len(data)} bytes; at most {MAX_CSV_BYTES} are read"])
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in NEEDED if names.count(name) != 1]
        if missing:
            raise BadSettlement(
                [f"line 1 names the columns; {', '.join(missing)} must be among them, once each"]
            )
        return list(_named(reader, names))
    except UnicodeDecodeError as error:
        raise BadSettlement([f"byte {error.start} is no UTF-8"]) from None
    except csv.Error as error:
        raise BadSettlement([f"line {reader.line_num}: {error}"]) from None


def _named(
    reader: Iterable[list[str]], names: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    lines = getattr(reader, "line_num", 0)
    for count, cells in enumerate(reader, 1):
        if count > MAX_ROWS:
            raise BadSettlement([f"more than {MAX_ROWS} rows; divide the file"])
        before, lines = lines, getattr(reader, "line_num", 0)
        if any(cell.strip() for cell in cells):
            padded = [*cells, *[""] * (len(names) - len(cells))]
            yield before + 1, dict(zip(names, padded, strict=False))


def _settling(line: int, row: dict[str, str]) -> Settling:
    """One row; all its faults at once."""
    cells = {name: row.get(name, "").strip() for name in COLUMNS}
    faults: list[str] = []
    direction: Direction = "in" if cells["direction"] == "in" else "out"
    if cells["direction"] not in ("in", "out"):
        faults.append(f"direction is {cells['direction']!r:.40}, expected in or out")
    for name, shape, what in (
        ("account", _DID, "a key's name, did:key:z6Mk..."),
        ("reference", _REFERENCE, "1 to 100 ASCII characters, the first none of = + - @"),
    ):
        try:
            shape.validate_python(cells[name])
        except ValidationError:
            faults.append(f"{name} is {cells[name]!r:.80}, expected {what}")
    micro = _amount("credits", cells["credits"], 1, faults)
    usd = _amount("usd", cells["usd"], 0, faults) if cells["usd"] else None
    if faults:
        raise BadSettlement(faults)
    return Settling(cells["account"], direction, micro, cells["reference"], usd, line)


def _amount(name: str, text: str, least: int, faults: list[str]) -> int:
    try:
        micro = micro_of(text)
    except BadAmount as error:
        faults.append(f"{name}: {error}")
        return 0
    if not least <= micro <= MAX_MOVED_MICRO:
        faults.append(f"{name} is {text}, expected {written(least)} to {written(MAX_MOVED_MICRO)}")
    return micro
