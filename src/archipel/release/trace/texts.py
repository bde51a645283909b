"""The texts in a file of training data, as somebody would read them: what an answer can stand in verbatim.

A file of JSON lines has a text for each line, its strings side by side and parted by PART; a file of JSON has one; any
other file of UTF-8 is one text. Law: neither PART nor END (`suffixes`) is a byte of UTF-8, so nothing that is looked for
reaches over them.
"""

import json
from collections.abc import Iterator

PART = b"\xfe"
_LINES = (".jsonl", ".ndjson")


def texts_of(name: str, data: bytes) -> list[bytes] | None:
    """Of a file called `name`, in order; None: it is not text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    if name.endswith(_LINES):
        return [_strings_in(line) for line in text.split("\n")]
    if name.endswith(".json"):
        return [_strings_in(text)]
    return [data]


def _strings_in(text: str) -> bytes:
    """Its strings, keys left out; what is no JSON is itself."""
    try:
        found = json.loads(text)
        return PART.join(each.encode() for each in _strings(found))
    except (ValueError, RecursionError):  # lone surrogates too, which no UTF-8 has
        return text.encode()


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(found):
                yield found
            case dict(found):
                waiting += reversed(found.values())
            case list(found):
                waiting += reversed(found)
