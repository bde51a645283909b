"""What a model was made from: its owner's words, held against its ledger and against the parents' own bundles.

Law: a parent counts as shown only if weights with its state digest were hashed here, or the ledger itself names that
digest; all else is stated.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.release import places
from archipel.release.index import MAX_INDEX_BYTES, Parent, Released
from archipel.release.trace.told import Told, Untraceable, look_at_grounds
from archipel.release.verify.files import read_bounded
from archipel.release.verify.report import Expected, Looked, Tell
from archipel.release.verify.weights import look_at_last

MAX_GENERATIONS = 32
MAX_ANCESTORS = 1000


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A model that another was made from."""

    generation: int
    """1: of the bundle itself."""
    child: str
    """Name of what was made from it."""
    parent: Parent
    shown: tuple[str, ...]
    """What shows it, a sentence each; (): its owner's word alone."""
    entries: tuple[int, ...]
    """Of the bundle's own ledger, which name its weights."""

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "generation": self.generation,
            "of": self.child,
            **self.parent.model_dump(mode="json"),
            "shown": list(self.shown),
            "entries": list(self.entries),
        }


@dataclass(frozen=True, slots=True)
class Kin:
    """A parent's bundle that was looked at."""

    folder: Path
    index: Released
    digest: str
    """SHA-256 of its release.json."""


def kin_of(folders: Sequence[Path], tell: Tell) -> tuple[Kin, ...]:
    """Parents' bundles: signed, and the weights at their top were hashed and are what their index names.

    Raises:
        NoBundle: a folder is no release. Untraceable: its weights are not there, or are others.
    """
    found = []
    for folder in folders:
        looked = Looked(folder, Expected(), tell)
        try:
            look_at_grounds(looked)
        except Untraceable as error:
            raise Untraceable(f"{folder}: {error}") from None
        look_at_last(looked)
        if looked.steps[-1].faults:
            raise Untraceable(f"{folder}: {looked.steps[-1].faults[0]}")
        if looked.index is None or not looked.steps[-1].shown:
            raise Untraceable(f"{folder} has no weights, so they cannot be held against a digest")
        data = read_bounded(folder / places.INDEX, MAX_INDEX_BYTES)
        found.append(Kin(folder, looked.index, f"sha256:{hashlib.sha256(data).hexdigest()}"))
    return tuple(found)


def lineage_of(told: Told, kin: Sequence[Kin]) -> tuple[Ancestor, ...]:
    """Every ancestor that the bundle and its kin name, the nearest first.

    Raises:
        Untraceable: a bundle of `kin` is nobody's parent here, or is not the release that its child names.
    """
    by_weights = {each.index.weights: each for each in kin}
    found: list[Ancestor] = []
    waiting = [(1, told.index.title, each) for each in told.index.parents]
    seen: set[tuple[str, str]] = set()
    while waiting:
        generation, child, parent = waiting.pop(0)
        if (child, parent.weights) in seen:
            continue
        seen.add((child, parent.weights))
        if generation > MAX_GENERATIONS or len(found) >= MAX_ANCESTORS:
            raise Untraceable(
                f"more than {MAX_GENERATIONS} generations or {MAX_ANCESTORS} ancestors; name fewer with --parent"
            )
        own = by_weights.get(parent.weights)
        entries = _named(told, parent.weights) if generation == 1 else ()
        found.append(
            Ancestor(generation, child, parent, tuple(_shown(parent, own, entries)), entries)
        )
        if own is not None:
            waiting += [(generation + 1, own.index.title, each) for each in own.index.parents]
    _used(kin, {each.parent.weights for each in found})
    return tuple(found)


def _shown(parent: Parent, own: Kin | None, entries: tuple[int, ...]) -> Sequence[str]:
    said = []
    if own is not None:
        if parent.release not in (None, own.digest):
            raise Untraceable(
                f"{own.folder} has the weights of {parent.name!r:.80} and is another release: its index is {own.digest}, "
                f"expected {parent.release}"
            )
        said.append(f"its weights lie in {own.folder} and have this digest")
        if parent.release is not None:
            said.append("that release is the one that was named")
    if entries:
        said.append("the ledger names these weights")
    return said


def _named(told: Told, weights: str) -> tuple[int, ...]:
    """Entries by which the run began from these weights, or has them as a teacher."""
    story, opened = told.heard.story, told.heard.opened
    entries = set()
    if story.updates and story.updates[0].answer.policy == weights:
        entries.add(told.heard.published[0].index)
    teacher = told.recipe.teacher
    if opened is not None and teacher is not None and teacher.weights == weights:
        entries.add(opened.index)
    return tuple(sorted(entries))


def _used(kin: Sequence[Kin], named: set[str]) -> None:
    for each in kin:
        if each.index.weights not in named:
            raise Untraceable(
                f"{each.folder} is no ancestor: nothing here was made from {each.index.weights}"
            )
