"""Readers of a version in parts: its index, its lists, a part's manifest and receipt, and where weights lie."""

import json
import tempfile
from pathlib import Path

from archipel.model.config_files import InvalidModel
from archipel.model.weight_files import SINGLE_FILE, stored_tensors
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import TensorFact, part_manifest, tensors_of
from archipel.records.weight_parts import BadParts, Part, PartBlobs, Rows, read_blobs, read_index
from archipel.records.weight_state import state_of
from archipel.work.joining import Joined, Receipt, join
from fuzz.reading import Reader

FACTS = (TensorFact("a", (2, 3), sha256_digest(b"a")), TensorFact("b.c", (), sha256_digest(b"b")))
BLOB = BlobRef(digest=sha256_digest(b"weights"), size=9)


def _made() -> tuple[list[Receipt], dict[str, bytes], Joined]:
    """Two tensors in one part, and two parts with rows of a third."""
    cut = [TensorFact("d", (2, 2), sha256_digest(bytes([place]))) for place in range(2)]
    whole = sha256_digest(b"d")
    rows = [Rows(start=2 * n, stop=2 * n + 2, shape=(4, 2), digest=whole) for n in range(2)]
    groups = ((FACTS, None), ((cut[0],), rows[0]), ((cut[1],), rows[1]))
    receipts, files = [], {}
    for number, (facts, which) in enumerate(groups):
        state = state_of(facts)
        data = part_manifest(facts, state, 0, None)
        manifest = BlobRef(digest=sha256_digest(data), size=len(data))
        files[manifest.digest] = data
        told = Part(
            manifest=manifest,
            state=state,
            first=facts[0].name,
            last=facts[-1].name,
            tensors=len(facts),
            weights=sum(each.num_weights for each in facts),
            rows=which,
        )
        receipts.append(Receipt(number=number, part=told, anchor=BLOB, delta=None))
    return receipts, files, join(receipts, lambda blob: files[blob.digest], 0, None)


def _stored(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / SINGLE_FILE).write_bytes(data)
        stored_tensors(Path(folder))


def readers() -> dict[str, Reader]:
    """One for each."""
    receipts, files, made = _made()
    first = made.index.parts[0]
    lists = (made.anchor, PartBlobs(of="delta", state=made.index.state, blobs=(BLOB,) * 3))
    table = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    return {
        "indexes of parts": Reader(read_index, (made.index.to_bytes(),), (BadParts,)),
        "lists of parts": Reader(
            lambda data: read_blobs(data, made.index, "delta" if b'"delta"' in data else "anchor"),
            tuple(each.to_bytes() for each in lists if each is not None),
            (BadParts,),
        ),
        "manifests of parts": Reader(
            lambda data: tensors_of(data, first), (files[first.manifest.digest],), (BadParts,)
        ),
        "receipts of parts": Reader(
            Receipt.from_bytes, tuple(each.to_bytes() for each in receipts), (BadParts,)
        ),
        "places of weights": Reader(
            _stored, (len(table).to_bytes(8, "little") + table + bytes(4),), (InvalidModel,)
        ),
    }
