"""What a sheet says for what was given: which formula a word stands for, and what cannot be asked together.

A condition lists names that must be among those given, and after ! names that must not; the empty one holds.
"""

from collections.abc import Collection, Mapping, Sequence

from archipel.planning.mistakes import Conflict, Impossible
from archipel.planning.requests.option import read_sheet


def holds(condition: str, given: Collection[str]) -> bool:
    """Whether a condition holds of what was given."""
    names = condition.split()
    return all((name[1:] not in given) if name[0] == "!" else name in given for name in names)


def first(rows: Sequence[Sequence[str]], given: Collection[str]) -> str:
    """The text of the first of [condition, text] that holds, or nothing."""
    return next((text for condition, text in rows if holds(condition, given)), "")


def ways(sheet: str, given: Collection[str]) -> dict[str, str]:
    """The words of a sheet's `[ways]`."""
    return {word: first(rows, given) for word, rows in read_sheet(sheet)["ways"].items()}


def refuse(sheet: str, given: Collection[str], words: Mapping[str, str]) -> None:
    """Refuse what a sheet says cannot be asked together, and what it says is missing.

    Raises:
        Conflict, Impossible: the first that holds.
    """
    for rows, mistake in (("refused", Conflict), ("missing", Impossible)):
        if why := first(read_sheet(sheet)[rows], given):
            raise mistake(why.format_map(words))
