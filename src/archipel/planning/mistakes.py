"""What a person can ask for that cannot be planned, said so that they can mend it.

Law: every message says what was got, what was expected and, where there is one, the nearest valid choice.
"""

import difflib
from collections.abc import Iterable

MOST_LISTED = 100
"""Choices that a message still lists."""
MOST_ECHOED = 60
"""Characters of somebody's word that a message says back."""


class CannotPlan(ValueError):
    """The question cannot be answered as asked; the message says what to change."""


class UnknownName(CannotPlan):
    """A name that no table knows."""


class UnitMismatch(CannotPlan):
    """An amount of the wrong kind: power where money was expected."""


class Conflict(CannotPlan):
    """Two options that cannot both hold."""


class Impossible(CannotPlan):
    """An amount no plan can meet: a budget too small, a share above one."""


def nearest(word: str, choices: Iterable[str], what: str) -> UnknownName:
    """The error for an unknown `word`, naming the closest of `choices` and all of them if few."""
    known = sorted(choices)
    word = word if len(word) <= MOST_ECHOED else f"{word[:MOST_ECHOED]}…"
    folded = {name.casefold(): name for name in known}
    sought = word.casefold()
    begins = [folded[name] for name in folded if sought and name.startswith(sought)]
    within = [folded[name] for name in folded if sought and (sought in name or name in sought)]
    close = [folded[name] for name in difflib.get_close_matches(sought, list(folded), cutoff=0.5)]
    near = list(dict.fromkeys([*begins, *within, *close]))[:3]
    hint = f"did you mean {', '.join(repr(name) for name in near)}?" if near else ""
    listed = (
        f"known: {', '.join(known)}" if len(known) <= MOST_LISTED else f"{len(known)} are known"
    )
    return UnknownName(f"unknown {what} {word!r}; {hint + ' ' if hint else ''}({listed})")
