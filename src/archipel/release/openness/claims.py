"""What a folder says of a component, before anybody looked: where it lies, and under which licence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from archipel.release.openness.data_files import BadFile, decoded, read_some
from archipel.release.openness.licence_words import MAX_TEXT_BYTES, recognise

From = Literal["component", "type", "distribution", "none"]


@dataclass(frozen=True, slots=True)
class Licensed:
    """The licence of something, as found."""

    spdx: str | None
    found: From
    is_doubtful: bool = False
    """A text says another thing than the name: it does not count."""
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A component that is said to be there."""

    part: str
    """Name in the framework."""
    places: tuple[str, ...]
    """Files and folders, relative; () where there are only words."""
    licence: Licensed
    why: tuple[str, ...] = ()


NOBODY: Final = Licensed(None, "none")


def text_for(folder: Path, place: str, stated: str | None, found: From) -> Licensed:
    """The licence whose text lies at `place`. stated: what somebody calls it; None: only the text is there."""
    path = folder / place
    if path.is_symlink():
        return Licensed(stated, found, True, (f"{place} is a link, which is not followed",))
    try:
        text = decoded(*read_some(path, MAX_TEXT_BYTES))
    except (BadFile, OSError) as error:
        return Licensed(stated, found, True, (f"{place}: {error}",))
    said = recognise(text)
    if not text.strip():
        return Licensed(stated, found, True, (f"{place} is empty, so it gives nothing",))
    if said.narrowed is not None:
        return Licensed(
            stated, found, True, (f"{place} takes back what it gives: {said.narrowed!r}",)
        )
    if not said.ids:
        return Licensed(
            stated, found, True, (f"{place} is the text of no open licence that is known here",)
        )
    if stated is not None and stated not in said.ids:
        words = f"{place} is the text of {said.ids[0]}, not of {stated}"
        return Licensed(stated, found, True, (words,))
    spdx = stated or said.ids[0]
    if said.is_whole:
        return Licensed(spdx, found)
    return Licensed(spdx, found, why=(f"{place} is like {spdx}, but not word for word",))
