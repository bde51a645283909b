"""What the commands of a release are asked on a command line."""

import re
from pathlib import Path
from typing import Any

import click

MAX_VERSIONS_LISTED = 10_000
LAST = "last"
ALL = "all"
MAX_KEY_BYTES = 64 * 1024
_HINT = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


class Versions(click.ParamType):
    """`all`, `last`, or numbers and ranges with commas."""

    name = "all|last|LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`all`, `last`, or a frozenset of numbers."""
        if not isinstance(value, str) or value in (ALL, LAST):
            return value
        found: set[int] = set()
        for part in value.split(","):
            first, dash, last = part.partition("-")
            ends = (first, last if dash else first)
            if not all(each.isascii() and each.isdecimal() and len(each) <= 7 for each in ends):
                self.fail(f"{value!r:.80} is no list like 0,4,10-20", param, ctx)
            found.update(
                range(int(ends[0]), min(int(ends[1]), int(ends[0]) + MAX_VERSIONS_LISTED) + 1)
            )
        return frozenset(found)


class Licence(click.ParamType):
    """An SPDX id and a file with its text."""

    name = "ID=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """(id, path)"""
        licence, equals, path = str(value).partition("=")
        if not equals or not _ID.fullmatch(licence) or not Path(path).is_file():
            self.fail(f"{value!r:.80} is no SPDX id and a file, like CC-BY-4.0=by.txt", param, ctx)
        return licence, Path(path)


class ParentPlace(click.ParamType):
    """A folder with a model that a release was made from, and how."""

    name = "DIR:RELATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """(folder, relation in the words of an index)"""
        from archipel.release.parents import RELATIONS

        place, colon, relation = str(value).rpartition(":")
        if not colon or relation not in RELATIONS or not Path(place).is_dir():
            self.fail(
                f"{value!r:.200} is no folder and relation, like base:fine-tuned; relations are "
                f"{', '.join(RELATIONS)}",
                param,
                ctx,
            )
        return Path(place), RELATIONS[relation]


def expected_key(key: str | None) -> tuple[str | None, bytes | None]:
    """(hint, public PEM) of the key that is expected; at most one of them.

    Raises:
        OSError: it is no hint, and no file that can be read.
    """
    if key is None or _HINT.fullmatch(key):
        return key, None
    with Path(key).open("rb") as file:
        return None, file.read(MAX_KEY_BYTES)
