"""Python as a file or in an archive: does it parse, and does it do anything? It is never run.

Law: archives are read member by member within bounds and never unpacked, so that no path in one leads anywhere.
"""

import ast
import gzip
import io
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from archipel.release.openness.data_files import BadFile, read_some

MAX_PYTHON_BYTES = 2 * 1024 * 1024
"""Of one file that is parsed; a longer one is not looked into."""
MAX_MEMBERS = 20_000
MAX_UNPACKED_BYTES = 256 * 1024 * 1024


def look_at_python(path: Path) -> int | None:
    """Parse one file. Returns how many statements it has; None: it is too large to be parsed here.

    Raises:
        BadFile: it is no Python.
        OSError: it cannot be read.
    """
    data, is_all = read_some(path, MAX_PYTHON_BYTES)
    return statements(data) if is_all else None


def look_at_archive(path: Path) -> int:
    """Parse every Python file of a tar or zip archive. Returns how many say something.

    Raises:
        BadFile: it is no such archive, a Python file in it is none, or it is larger than its bounds.
        OSError: it cannot be read.
    """
    members = _zip(path) if path.name.lower().endswith((".zip", ".whl")) else _tar(path)
    count = 0
    try:
        for name, data in members:
            try:
                count += statements(data) > 0
            except BadFile as error:
                raise BadFile(f"{name!r:.80} in it: {error}") from None
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFile(f"no archive that can be read: {error!s:.80}") from None
    except (NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"an archive of a kind that is not read here: {error!s:.80}") from None
    return count


def statements(data: bytes) -> int:
    """Statements of a Python file that are more than text and `pass`.

    Raises:
        BadFile: it does not parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(data).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadFile("no Python that parses") from None
    return sum(
        not (
            isinstance(each, ast.Pass)
            or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        )
        for each in body
    )


class _Bounded(io.RawIOBase):
    """A stream that ends in a refusal after MAX_UNPACKED_BYTES: headers of a tar are as long as they say they are."""

    def __init__(self, source: BinaryIO | gzip.GzipFile) -> None:
        self._source = source
        self._left = MAX_UNPACKED_BYTES

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes.

        Raises:
            BadFile: more than the bound was asked for.
        """
        data = self._source.read(size if size >= 0 else self._left + 1)
        self._left -= len(data)
        _check(0, MAX_UNPACKED_BYTES - self._left)
        return data


def _tar(path: Path) -> Iterator[tuple[str, bytes]]:
    taken = 0
    with _opened(path) as source, tarfile.open(fileobj=_Bounded(source), mode="r|") as archive:  # type: ignore[call-overload]  # reads alone
        for number, member in enumerate(archive):
            taken += member.size
            _check(number, taken)
            if member.isfile() and member.name.endswith(".py") and member.size <= MAX_PYTHON_BYTES:
                file = archive.extractfile(member)
                yield member.name, b"" if file is None else file.read(MAX_PYTHON_BYTES)


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path) if path.name.lower().endswith("gz") else path.open("rb")


def _zip(path: Path) -> Iterator[tuple[str, bytes]]:
    taken = 0
    with zipfile.ZipFile(path) as archive:
        for number, member in enumerate(archive.infolist()):
            taken += member.file_size
            _check(number, taken)
            if member.filename.endswith(".py") and member.file_size <= MAX_PYTHON_BYTES:
                with archive.open(member) as file:
                    yield member.filename, file.read(MAX_PYTHON_BYTES)


def _check(number: int, taken: int) -> None:
    if number >= MAX_MEMBERS or taken > MAX_UNPACKED_BYTES:
        raise BadFile(
            f"an archive of more than {MAX_MEMBERS} files or {MAX_UNPACKED_BYTES // 2**20} MiB"
        )
