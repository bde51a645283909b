"""What a bundle says of the run beside the ledger that it brings: index, voucher, recipe, list of rollouts, results."""

from collections.abc import Iterator
from pathlib import Path

from archipel.lab.state import OPEN_PHASES
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.recipe import parse_recipe
from archipel.records.recipe_form import MAX_RECIPE_BYTES, InvalidRecipe
from archipel.release import places
from archipel.release.contents import results_file
from archipel.release.gathering import Find, evaluations_of
from archipel.release.hearing import Hearing, rollouts_file
from archipel.release.oms.folder import file_sha256
from archipel.release.verify.files import read_bounded
from archipel.release.verify.provenance import look_at_provenance
from archipel.release.verify.report import Looked, Step


def look_at_claims(looked: Looked, heard: Hearing, step: Step) -> None:
    """Part of step 5: all of it is what the ledger says."""
    index, story = looked.index, heard.story
    if index is None:
        return
    if story.opened is None or not story.updates:
        step.fault(f"the ledger has no version of a run {index.run!r}")
        return
    last = story.updates[-1].answer
    for what, said, found in (
        ("version", index.version, last.version),
        ("weights", index.weights, last.policy),
        ("at_ms", index.at_ms, heard.last_ms),
    ):
        if said != found:
            step.fault(f"{places.INDEX} says {what} {said}; the ledger says {found}")
    if looked.voucher is not None and looked.voucher not in story.operators:
        step.fault(
            f"{places.VOUCHER} is by {looked.voucher}, who is no operator of this lab; its operators are "
            f"{', '.join(sorted(story.operators)):.300}"
        )
    run = None if looked.state is None else looked.state.runs.get(index.run)
    if run is not None and run.phase in OPEN_PHASES:
        step.unshown.append(
            f"that version {index.version} is the last: the run was {run.phase.value} when this ledger was written"
        )
    find = _finder(looked)
    for fault in _files(looked, heard, find):
        step.fault(fault)
    look_at_provenance(looked, heard, find, step)


def _files(looked: Looked, heard: Hearing, find: Find) -> Iterator[str]:
    """Files that follow from the ledger alone, and do not."""
    expected = {
        places.ROLLOUTS: rollouts_file(heard),
        places.RESULTS: results_file(heard.name, evaluations_of(heard, find)),
    }
    for place, data in expected.items():
        if place in looked.there and place not in looked.damaged:
            digest, _ = file_sha256(looked.folder / place)
            if f"sha256:{digest}" != sha256_digest(data):
                yield f"{place} is not what the ledger says"
    if places.RECIPE in looked.there and heard.story.opened is not None:
        wanted = heard.story.opened.recipe.digest
        try:
            text = read_bounded(looked.folder / places.RECIPE, MAX_RECIPE_BYTES).decode()
            found = parse_recipe(text).digest
        except (ValueError, InvalidRecipe) as error:
            yield f"{places.RECIPE}: {error!s:.300}"
            return
        if found != wanted:
            yield f"{places.RECIPE} is the recipe {found}; the run was opened with {wanted}"


def _finder(looked: Looked) -> Find:
    def find(blob: BlobRef) -> Path | None:
        place = places.blob_place(blob.digest)
        is_whole = place in looked.there and place not in looked.damaged
        return looked.folder / place if is_whole else None

    return find
