"""Steps 6 and 7: the weights that lie there are the last version's, and each version follows from the one before."""

from pathlib import Path

from archipel.plurals import counted
from archipel.records.fields import BlobRef
from archipel.release import places
from archipel.release.hearing import Hearing
from archipel.release.verify.files import read_bounded
from archipel.release.verify.loading import look_at_loading
from archipel.release.verify.report import Looked, Step
from archipel.release.weights.delta import after_delta, from_anchor
from archipel.release.weights.folder import top_of
from archipel.release.weights.manifest import (
    MAX_MANIFEST_BYTES,
    BadVersion,
    Manifest,
    read_manifest,
)
from archipel.release.weights.stored import BadStored

MAX_WEIGHT_BLOB_BYTES = 64 * 1024**3
"""Of an anchor or delta that is read here: it is held in memory."""


def look_at_last(looked: Looked) -> None:
    """6. The tensors at the top of the bundle have the state digest of the last version."""
    step, index = looked.step("weights are the last version's"), looked.index
    files = [each for each in looked.files if "/" not in each and each.endswith(".safetensors")]
    if index is None:
        step.unshown.append("no weights were looked at: there is no index")
        return
    if not files:
        step.fault(
            f"no weights lie at the top: {places.INDEX} says that version {index.version} does"
        )
        return
    looked.tell(f"tensors of {', '.join(files):.200}")
    try:
        top = top_of(looked.folder, files)
    except BadStored as error:
        step.fault(str(error))
        return
    looked.forms, digest = top.forms, top.digest
    look_at_loading(looked, top, step)
    if digest != index.weights:
        step.fault(
            f"{', '.join(files):.200}: these weights are {digest}; version {index.version} is {index.weights}"
        )
        return
    step.shown.append(f"{counted(len(top.tensors), 'tensor')} of version {index.version}: {digest}")
    if looked.heard is None:
        step.unshown.append("that the ledger names these weights: no ledger was replayed")


def look_at_chain(looked: Looked) -> None:
    """7. Each version's anchor holds what its manifest names, and each delta leads there from the version before."""
    step, heard = looked.step("every version's weights"), looked.heard
    if heard is None:
        step.unshown.append("no version was recomputed: no ledger was replayed")
        return
    if looked.forms is None:
        step.unshown.append(
            "no version was recomputed: no weights lie at the top that say how large one is"
        )
        return
    last = len(heard.story.updates) - 1
    held: tuple[Manifest, bytes] | None = None
    ways, absent = {"anchor": 0, "delta": 0}, []
    for number in range(last + 1):
        looked.tell(f"weights of version {number} of {last}")
        try:
            held, used = _next(looked, heard, number, held, step)
        except (BadVersion, OSError, ValueError) as error:
            step.fault(f"version {number}: {error!s:.300}")
            held, used = None, ()
        for way in used:
            ways[way] += 1
        if held is None:
            absent.append(number)
    if not step.faults and len(absent) <= last:
        step.shown.append(
            f"{last + 1 - len(absent)} of {counted(last + 1, 'version')}: {counted(ways['anchor'], 'anchor')}, "
            f"{counted(ways['delta'], 'delta')}"
        )
    if absent and not step.faults:
        step.unshown.append(
            f"{counted(len(absent), 'version')} whose weights do not lie here, from {absent[0]} to {absent[-1]}"
        )


def _next(
    looked: Looked,
    heard: Hearing,
    number: int,
    held: tuple[Manifest, bytes] | None,
    step: Step,
) -> tuple[tuple[Manifest, bytes] | None, tuple[str, ...]]:
    """(the version's manifest and weights if they are to be had, which ways led there)"""
    answer, used = heard.story.updates[number].answer, []
    data = _blob(looked, answer.manifest, MAX_MANIFEST_BYTES)
    if data is None:
        return None, ()
    manifest = read_manifest(data)
    said = (answer.version, answer.policy, answer.parent)
    if (manifest.version, manifest.state, manifest.parent) != said:
        raise BadVersion("its manifest is of another version than the ledger names")
    if manifest.forms != looked.forms:
        raise BadVersion("its manifest names other tensors than lie at the top of the bundle")
    weights = None
    if held is not None and answer.delta is not None:
        delta = _blob(looked, answer.delta, MAX_WEIGHT_BLOB_BYTES)
        if delta is not None:
            weights = after_delta(held[1], held[0], delta, manifest, looked.decode)
            used.append("delta")
    if answer.anchor is not None:
        anchor = _blob(looked, answer.anchor, MAX_WEIGHT_BLOB_BYTES)
        if anchor is not None:
            weights = from_anchor(anchor, manifest)
            used.append("anchor")
    return (None if weights is None else (manifest, weights)), tuple(used)


def _blob(looked: Looked, blob: BlobRef, most: int) -> bytes | None:
    """Its bytes, if it lies here; that they are the right ones was looked at before."""
    place = places.blob_place(blob.digest)
    path: Path = looked.folder / place
    if place not in looked.there or place in looked.damaged:
        return None
    return read_bounded(path, min(most, blob.size))
