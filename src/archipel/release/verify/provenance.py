"""Statements of the stages beside the ledger: each says what the ledger says, and whoever answers for one may."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from archipel.records.fields import BlobRef
from archipel.release import places
from archipel.release.gathering import Find, Ledger, gather
from archipel.release.hearing import Hearing
from archipel.release.layout import is_of_model
from archipel.release.oms.folder import file_sha256
from archipel.release.oms.statement import read_json
from archipel.release.papers.slsa import MAX_STATEMENT_BYTES, provenance, read_attested
from archipel.release.stated import NOTHING_STATED
from archipel.release.verify.files import read_bounded
from archipel.release.verify.report import Looked, Step

ENVELOPE = ".dsse.json"
MAX_ENVELOPE_BYTES = 2 * MAX_STATEMENT_BYTES


def look_at_provenance(looked: Looked, heard: Hearing, find: Find, step: Step) -> None:
    """Part of step 5: every statement there is the one that follows from the ledger, and none is missing."""
    if looked.index is None or looked.head is None or looked.state is None:
        return
    ledger = Ledger(looked.index.lab, looked.head, looked.state, heard)
    try:
        facts = gather(ledger, find, NOTHING_STATED)
        facts = replace(facts, files=dict(_model_files(looked)))
        expected = provenance(facts, NOTHING_STATED, looked.index)
    except (ValueError, OverflowError, OSError) as error:
        step.unshown.append(f"that {places.PROVENANCE} says what the ledger says: {error!s:.300}")
        return
    for fault in _faults(looked, heard, expected):
        step.fault(fault)


def _model_files(looked: Looked) -> Iterator[tuple[str, BlobRef]]:
    signed = {} if looked.signed is None else looked.signed.digests
    for name, stamp in looked.stamps.items():
        if is_of_model(name):
            is_known = name in signed and name not in looked.damaged
            digest = signed[name] if is_known else file_sha256(looked.folder / name)[0]
            yield name, BlobRef(digest=f"sha256:{digest}", size=stamp.size)


def _faults(looked: Looked, heard: Hearing, expected: Mapping[str, bytes]) -> Iterator[str]:
    there = [each for each in looked.files if each.startswith(f"{places.PROVENANCE}/")]
    yield from (
        f"{place} is missing: a stage has no statement" for place in expected.keys() - there
    )
    for place in there:
        try:
            statement = read_bounded(looked.folder / place, MAX_ENVELOPE_BYTES)
            if place.endswith(ENVELOPE):
                did, statement = read_attested(statement)
                if did not in heard.story.operators:
                    yield f"{place}: {did} answers for it, who is no operator of this lab"
            wanted = expected.get(f"{place.removesuffix(ENVELOPE).removesuffix('.json')}.json")
            if wanted is None:
                yield f"{place} is of no stage that the ledger knows"
            elif said_by(statement) != said_by(wanted):
                yield f"{place} is not what the ledger and the files of the model say"
        except ValueError as error:
            yield f"{place}: {error!s:.300}"


def said_by(statement: bytes) -> dict[str, Any]:
    """All of it but addresses, which only an owner can know.

    Raises:
        ValueError: it is no statement of a stage.
    """
    found = read_json(statement, MAX_STATEMENT_BYTES, "statement")
    try:
        for each in found["predicate"]["buildDefinition"]["resolvedDependencies"]:
            each.pop("downloadLocation", None)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            "it is no statement of a stage: it names nothing that it was made from"
        ) from None
    return found
