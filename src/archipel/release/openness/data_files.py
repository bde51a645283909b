"""Data and documents: do they parse, and is there anything in them?

Law: at most `MAX_LOOKED_BYTES` of a file are read; what lies behind is said not to be looked at.
"""

import json
import tomllib
from pathlib import Path

MAX_LOOKED_BYTES = 16 * 1024 * 1024
_MORE = f"only the first {MAX_LOOKED_BYTES // 2**20} MiB were looked at"


class BadFile(ValueError):
    """A file is not what it is called; the message says how."""


def read_some(path: Path, limit: int = MAX_LOOKED_BYTES) -> tuple[bytes, bool]:
    """(the first `limit` bytes, whether that is all of it).

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    return data[:limit], len(data) <= limit


def look_at_lines(path: Path) -> str | None:
    """JSON lines. Returns a remark, or None.

    Raises:
        BadFile: a line is no JSON, or there is none.
    """
    data, is_all = read_some(path)
    lines = data.split(b"\n")
    if not is_all:
        lines = lines[:-1]
    said = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            said += 1
            _json(line, f"line {number}")
    if said == 0:
        raise BadFile("no line of JSON in it")
    return None if is_all else _MORE


def look_at_json(path: Path) -> str | None:
    """One JSON value that says something.

    Raises:
        BadFile: it is none, or empty.
    """
    data, is_all = read_some(path)
    if not is_all:
        return "too large to be parsed here"
    if not _json(data, "the file"):
        raise BadFile("nothing is said in it")
    return None


def look_at_toml(path: Path) -> str | None:
    """One TOML document that says something.

    Raises:
        BadFile: it is none, or empty.
    """
    data, is_all = read_some(path)
    if not is_all:
        return "too large to be parsed here"
    try:
        if not tomllib.loads(data.decode()):
            raise BadFile("nothing is said in it")
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"no TOML: {error!s:.80}") from None
    return None


def look_at_text(path: Path, words: int) -> str | None:
    """UTF-8 text of at least so many words, front matter not counted.

    Raises:
        BadFile: it is none, or has fewer.
    """
    data, is_all = read_some(path)
    text = decoded(data, is_all)
    found = len(without_front_matter(text).split())
    if found < words:
        raise BadFile(f"{found} words of text; expected {words} or more")
    return None if is_all else _MORE


def decoded(data: bytes, is_all: bool) -> str:
    """As UTF-8; the last character of a part may be cut.

    Raises:
        BadFile: it is no text.
    """
    try:
        return (data if is_all else data[: data.rfind(b"\n") + 1]).decode("utf-8")
    except UnicodeDecodeError:
        raise BadFile("not UTF-8 text") from None


def without_front_matter(text: str) -> str:
    """What stands below the settings between the first two `---`."""
    if not text.startswith("---"):
        return text
    _, _, rest = text[3:].partition("\n---")
    return rest


def front_matter(text: str) -> str | None:
    """The settings between the first two `---`; None: there are none."""
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return None
    return text[3:].partition("\n---")[0]


def _json(data: bytes, where: str) -> object:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        raise BadFile(f"{where} is no JSON") from None
    return value
