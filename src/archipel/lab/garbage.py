"""Which blobs a lab still needs: everything else may go. Pure.

Needed are: recipe and initial model of every run, the versions that can still be fetched, and what the
run's programme and the kinds attached to it keep (unconsumed results, the learner's checkpoint and what
it would have to replay after it, reports); and the newest snapshot of the state. What versions in parts need besides is
said by their documents, which lie among these blobs (`parted`).
"""

from collections.abc import Iterator

from archipel.lab.kinds import RULES
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.state import LabState, Run
from archipel.records.chain import Publication
from archipel.records.fields import BlobRef
from archipel.records.weight_parts import InParts


def needed(*states: LabState) -> set[str]:
    """Digests of all blobs that the lab or somebody in it may still ask for, in any of these states."""
    return {blob.digest for blob in needed_blobs(*states)}


def needed_blobs(*states: LabState) -> Iterator[BlobRef]:
    """The same with their sizes, some of them twice: snapshots first, then run after run, the newest first."""
    for state in states:
        if state.snapshot is not None:
            yield state.snapshot[1]
    runs = {
        id(run): run for state in states for run in state.runs.values()
    }  # most are in all of them
    for run in reversed(runs.values()):
        yield from _needed(run)


def versions_in_parts(*states: LabState) -> Iterator[Publication]:
    """Versions that can still be fetched, in any of these states, whose documents name further blobs."""
    runs = {id(run): run for state in states for run in state.runs.values()}
    for run in runs.values():
        yield from (version for version in run.chain if isinstance(version.manifest, InParts))


def _needed(run: Run) -> Iterator[BlobRef]:
    yield run.opened.recipe
    for file in run.opened.model:
        yield file.blob
    for version in run.chain:
        for blob in (version.manifest, version.anchor, version.delta):
            if blob is not None:
                yield blob
    yield from PROGRAMME_OF[run.opened.pace.programme].keeps(run)
    for rules in RULES:
        if rules.programme in (None, run.opened.pace.programme):
            yield from rules.keeps(run)
