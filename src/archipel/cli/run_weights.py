"""The weights of a run, version after version, as its anchors and deltas give them to somebody who checks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from archipel.cli.findings import Findings
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.lab.run_story import RunStory

if TYPE_CHECKING:
    from archipel.work.policies import Policy


def each_version(
    story: RunStory, blobs: Blobs, findings: Findings, first: int, last: int
) -> "Iterator[tuple[int, Policy | None]]":
    """Versions `first` to `last` with their weights; None where they cannot be had, or do not hold."""
    from archipel.work.verifying import ChainCheck, ChainFault

    chain = ChainCheck(story.pace.adapter)
    for number in range(first, last + 1):
        update = story.updates[number]
        findings.progress(f"weights of version {number} of {last}")
        with findings.looking("versions' weights", f"version {number}", ChainFault):
            ways = chain.step(update.published, update.answer.parent, blobs.read)
            for way in ways:
                findings.checked[f"versions from their {way}"] += 1
            if not ways:
                raise NotKept("there is no anchor, and the version before is not to be had")
        yield number, chain.held


def nearest_anchor(story: RunStory, version: int) -> int:
    """The newest version up to `version` that has an anchor: no chain need begin before it."""
    before = range(version, -1, -1)
    return next((n for n in before if story.updates[n].answer.anchor is not None), 0)
