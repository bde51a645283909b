"""Readers of what other labs, witnesses and whoever keeps mirrors hand over."""

import json

from archipel.identity import Identity
from archipel.lab.mirrors.cosigned import Cosigned, witness_name
from archipel.lab.refusals import Malformed
from archipel.ledger.cosignature import cosigned
from archipel.ledger.evidence import FORK, BadEvidence, Evidence, between, read_evidence, written
from archipel.ledger.merkle import leaf_hash, nodes_from_leaves, root_of
from archipel.ledger.signed_note import open_note
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.document import BadDocument, read_documents
from archipel.records.mirror_documents import MAX_MIRRORS, MirrorBlobs, MirrorFault, MirrorView
from fuzz.reading import Reader

LAB, OBSERVER = (Identity.from_seed(bytes(31) + bytes([n])) for n in (7, 9))
KEY = lab_key(LAB.did)
ENTRIES = [b"entry %d" % number for number in range(20)]


def _head(entries: list[bytes]) -> TreeHead:
    return sign_tree_head(LAB, KEY.name, len(entries), root_of(entries))


def _evidence() -> bytes:
    small, large = _head([*ENTRIES[:8], b"other"]), _head(ENTRIES)
    root, proof = between(small, large, nodes_from_leaves([leaf_hash(each) for each in ENTRIES]))
    return written(
        Evidence(FORK, LAB.did, small.note, large.note, root, tuple(proof), 1, 2, "here"), OBSERVER
    )


def _cosigned() -> bytes:
    note = _head(ENTRIES).note
    name = witness_name(OBSERVER.did)
    return note + cosigned(open_note(note, KEY), name, OBSERVER, 1_800_000_000).encode()


def _mirrors() -> bytes:
    fault = MirrorFault(kind="fork", at_ms=1, words="two", where="here", evidence="a.evidence")
    blobs = MirrorBlobs(wanted=1, kept=1)
    view = MirrorView(name="lab", lab=LAB.did, url="http://lab", head="h", faults=(fault,), blobs=blobs)  # fmt: skip
    return json.dumps([view.model_dump()]).encode()


def readers() -> dict[str, Reader]:
    """By name."""
    return {
        "evidence": Reader(read_evidence, (_evidence(),), (BadEvidence,)),
        "cosigned head": Reader(
            lambda data: Cosigned(KEY).take(data, 1_800_000_000), (_cosigned(),), (Malformed,)
        ),
        "mirrors": Reader(
            lambda data: read_documents(MirrorView, data, MAX_MIRRORS),
            (_mirrors(), b"[]"),
            (BadDocument,),
        ),
    }
