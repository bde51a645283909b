"""CSV and Parquet: a row a version, its evaluations in the same row.

A late evaluation changes a row that is written, and a new measurement adds a column; so the table is kept whole, and
written aside and renamed at each change: a reader finds the old one or the new one, and a killed writer leaves one of
them. A row of forty measurements takes some 400 bytes, so that a run of 1,000 versions writes 400 kB at a time.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.curves.exporters.shape import EVAL, MAX_FILE_BYTES, TRAIN, CannotExport, Key
from archipel.curves.history import History
from archipel.curves.tables import columns_of, rows, to_csv
from archipel.extras import needs

Row = dict[str, float | str]
MAX_ROWS = 1_000_000
MAX_VERSION = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Form:
    """How a table becomes bytes, and back."""

    read: Callable[[bytes], list[Mapping[str, Any]]]
    """Raises ValueError: these are not such bytes."""
    written: Callable[[Sequence[Row]], bytes]


class Table:
    """One file of one run."""

    def __init__(self, path: Path, run: str, form: Form) -> None:
        """Reads it where it is there.

        Raises:
            CannotExport: it holds something else than a table of this run.
            OSError: it cannot be read.
        """
        self._path, self._form = path, form
        self._rows: dict[int, Row] = {}
        if path.exists() and path.stat().st_size > 0:
            self._rows = _rows_in(path, run, form)

    def held(self) -> frozenset[Key]:
        """By which columns of a version are filled."""
        trained = {(TRAIN, version) for version, row in self._rows.items() if "at_s" in row}
        rated = {
            (EVAL, version)
            for version, row in self._rows.items()
            if any(name.startswith("eval_") for name in row)
        }
        return frozenset(trained | rated)

    def add(self, new: History) -> None:
        """Writes the whole table anew, aside, and renames it."""
        for row in rows([new]):
            version = int(row["version"])
            self._rows[version] = self._rows.get(version, {}) | row
        table = [row for _, row in sorted(self._rows.items())]
        aside = self._path.with_name(f".{self._path.name}.partial")
        aside.write_bytes(self._form.written(table))
        aside.replace(self._path)

    def close(self) -> None:
        """Everything is written."""


def _rows_in(path: Path, run: str, form: Form) -> dict[int, Row]:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise CannotExport(
            f"{path} has {size} bytes, expected at most {MAX_FILE_BYTES}: name another file"
        )
    try:
        found = [_row(row) for row in form.read(path.read_bytes())]
    except (ValueError, KeyError, TypeError, OverflowError) as error:  # a version may be infinite
        raise CannotExport(
            f"{path} holds no table of a run ({str(error)[:200]}): name another file"
        ) from None
    for row in found:
        if row["run"] != run:
            raise CannotExport(
                f"{path} holds run {row['run']!r:.80}, expected {run!r}: name another file"
            )
    return {int(row["version"]): row for row in found}


def _row(read: Mapping[str, Any]) -> Row:
    """A row without what was not measured; numbers as numbers."""
    row: Row = {"run": str(read["run"]), "version": int(read["version"])}
    if not 0 <= int(row["version"]) <= MAX_VERSION or row["version"] != float(read["version"]):
        raise ValueError(f"version {read['version']!r:.40}; expected 0 to {MAX_VERSION}")
    for name, value in read.items():
        if name not in row and value not in ("", None):
            row[name] = float(value)
    return row


def read_csv(data: bytes) -> list[Mapping[str, Any]]:
    """Rows of a CSV file with a head. Raises ValueError."""
    try:
        found = csv.DictReader(io.StringIO(data.decode("utf-8")))
        if not {"run", "version"} <= set(found.fieldnames or ()):
            raise ValueError("its head names no run and no version")
        table: list[Mapping[str, Any]] = []
        for row in found:
            if None in row or len(table) >= MAX_ROWS:
                raise ValueError("a row has more cells than the head, or there are too many rows")
            table.append(row)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return table


def read_parquet(data: bytes) -> list[Mapping[str, Any]]:
    """Rows of a Parquet file. Raises ValueError."""
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(BufferReader(data))
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"got {file.metadata.num_rows} rows, expected at most {MAX_ROWS}")
        table: list[Mapping[str, Any]] = file.read().to_pylist()
    except (ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    return table


def to_parquet(table: Sequence[Row]) -> bytes:
    """`run` as text, `version` as an integer, everything else as doubles; null is not measured."""
    import pyarrow as pa
    from pyarrow import parquet

    numbers = columns_of(table)
    schema = pa.schema(
        [("run", pa.string()), ("version", pa.int64()), *((name, pa.float64()) for name in numbers)]
    )
    columns = {name: [row.get(name) for row in table] for name in schema.names}
    held = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), held)
    return held.getvalue()


def csv_table(path: Path, run: str) -> Table:
    """A CSV file; raises as `Table`."""
    return Table(path, run, Form(read_csv, lambda table: to_csv(table).encode()))


def parquet_table(path: Path, run: str) -> Table:
    """A Parquet file; raises as `Table`, and CannotExport where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401  whether it is here
    except ImportError:
        raise CannotExport(needs("writing Parquet", "parquet")) from None
    return Table(path, run, Form(read_parquet, to_parquet))
