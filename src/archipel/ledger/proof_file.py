"""One entry shown to be in a log, as a text that can be kept and checked without the log. Pure.

    c2sp.org/tlog-proof@v1
    index 7
    <a hash of the inclusion proof, base64, a line each>

    <checkpoint, with whoever signed it>

Source: c2sp.org/tlog-proof. Its extra line is refused: nothing here could check it.
"""

import base64
import re
from collections.abc import Sequence

from archipel.ledger.merkle import (
    HASH_BYTES,
    MAX_PROOF_HASHES,
    BadProof,
    leaf_hash,
    verify_inclusion,
)
from archipel.ledger.signed_note import MAX_NOTE_BYTES, NoteKey
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head

FIRST_LINE = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 64 * (MAX_PROOF_HASHES + 4)
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


def proof_text(index: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The file that shows entry `index` under the checkpoint `note`."""
    lines = [FIRST_LINE, f"index {index}", *(base64.b64encode(each).decode() for each in proof)]
    return "\n".join(lines).encode() + b"\n\n" + note


def shown(data: bytes, entry: bytes, key: NoteKey) -> tuple[int, TreeHead]:
    """(index, head): where the file shows `entry` to stand, under which head by `key`.

    Raises:
        BadProof: it is no such file, its head is not signed by `key`, or it shows something else.
    """
    head_text, blank, note = data.partition(b"\n\n")
    if len(data) > MAX_PROOF_BYTES or not blank:
        raise BadProof(
            f"no proof file of at most {MAX_PROOF_BYTES} bytes: there is no checkpoint in it"
        )
    try:
        first, second, *hashes = head_text.decode().split("\n")
    except (UnicodeDecodeError, ValueError):
        raise BadProof(
            "no proof file: expected a line with its form, one with an index, and hashes"
        ) from None
    index = _INDEX.fullmatch(second)
    if first != FIRST_LINE or index is None or len(hashes) > MAX_PROOF_HASHES:
        raise BadProof(
            f"no proof file: it begins {first!r:.60}, {second!r:.60}; expected {FIRST_LINE}, then an index"
        )
    try:
        head = verify_tree_head(note, key)
    except BadTreeHead as error:
        raise BadProof(f"the checkpoint in it does not hold: {error}") from None
    place = int(index[1])
    verify_inclusion(
        leaf_hash(entry), place, head.size, [_hash(each) for each in hashes], head.root
    )
    return place, head


def _hash(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != HASH_BYTES or base64.b64encode(data).decode() != text:
        raise BadProof(f"{text!r:.60} is not the base64 of {HASH_BYTES} bytes")
    return data
