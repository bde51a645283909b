"""How open each lab's newest release at hand is, computed here from its bytes; what a lab says of it counts for nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

from archipel.release import places
from archipel.release.index import MAX_INDEX_BYTES, read_index
from archipel.release.shown import MAX_RELEASES, shown


def openness_in(folder: Path, note: Callable[[int], None]) -> dict[str, Sequence[tuple[str, str]]]:
    """Lab -> (scheme, class) of its newest release below `folder`; one that is not as it was signed counts for nothing.

    Raises:
        OSError: the folder cannot be read.
    """
    newest: dict[str, tuple[int, Sequence[tuple[str, str]]]] = {}
    there = sorted(each for each in folder.iterdir() if (each / places.INDEX).is_file())
    for number, each in enumerate(there[:MAX_RELEASES], 1):
        note(number)
        view = shown(each)
        if not view.holds:
            continue
        with (each / places.INDEX).open("rb") as file:
            index = read_index(file.read(MAX_INDEX_BYTES + 1))
        newest[index.lab] = max(newest.get(index.lab, (-1, ())), (index.at_ms, view.openness))
    return {lab: grades for lab, (_, grades) in newest.items()}
