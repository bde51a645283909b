"""What somebody asks of a page, and what it is answered from. Pure.

Law: a number in an address is bounded, a word is one of a list; what is neither is refused in a sentence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archipel.dashboard.pages import paths
from archipel.dashboard.pages.value import Pager
from archipel.dashboard.series import Series
from archipel.dashboard.source import Look, Source
from archipel.records.mirror_documents import MirrorView
from archipel.records.page_documents import KnownLabView, ReleaseView

_NUMBER = re.compile(r"[0-9]{1,10}")
MAX_NAME = 200
"""Characters of a name in an address."""


class NotThere(ValueError):
    """There is no such page; the message says what there is."""


class NotAsked(ValueError):
    """A question that no page answers; the message says what it should have been."""


@dataclass(frozen=True, slots=True)
class Sight:
    """All that a page may be cut from."""

    source: Source
    look: Look
    series: Series
    releases: Sequence[ReleaseView] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    labs: Sequence[KnownLabView] = ()
    mirrors: tuple[MirrorView, ...] = ()
    """That the lab keeps of others."""

    def number(self, name: str, usual: int = 0) -> int:
        """A number that was asked for.

        Raises:
            NotAsked: it is none, or too large.
        """
        said = self.query.get(name)
        if said is None or said == "":
            return usual
        if not _NUMBER.fullmatch(said) or int(said) > paths.MAX_START:
            raise NotAsked(f"{name} is {said!r:.40}; expected a number from 0 to {paths.MAX_START}")
        return int(said)

    def word(self, name: str, allowed: Sequence[str]) -> str:
        """A word that was asked for; the first of them where none was.

        Raises:
            NotAsked: it is none of them.
        """
        said = self.query.get(name) or allowed[0]
        if said not in allowed:
            raise NotAsked(f"{name} is {said!r:.40}; expected {', '.join(allowed[:-1])} or {allowed[-1]}"
                           if len(allowed) > 1 else f"{name} is {said!r:.40}; expected {allowed[0]}")  # fmt: skip
        return said


def pager(
    where: str, start: int, rows: Sequence[Any], has_more: bool, **words: str
) -> Pager | None:
    """Where a list of `ROWS` a page goes on; None: it is all here."""
    if not start and not has_more:
        return None
    back = paths.asked(where, start=max(start - paths.ROWS, 0), **words) if start else ""
    on = paths.asked(where, start=start + paths.ROWS, **words) if has_more else ""
    return Pager(start + 1 if rows else start, start + len(rows), back, on)
