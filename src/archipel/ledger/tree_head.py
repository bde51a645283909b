"""The ledger's signed tree head, in the form C2SP calls a checkpoint.

Law: a `TreeHead` exists only signed, and keeps the exact bytes that were signed.
Source: c2sp.org/tlog-checkpoint. Extension lines are refused: nobody can audit them.
"""

import base64
import re
from dataclasses import dataclass

from archipel.identity import Identity
from archipel.ledger.merkle import HASH_BYTES
from archipel.ledger.signed_note import BadNote, NoteKey, open_note, sign_note

MAX_TREE_SIZE = 2**63 - 1
"""What a signed 64-bit database integer counts."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class BadTreeHead(ValueError):
    """A tree head that is malformed, of another log, or not signed by its key."""


@dataclass(frozen=True)
class TreeHead:
    """What the log said it held: `size` entries under `root`."""

    origin: str
    """The log's name; also the name of its key."""
    size: int
    root: bytes
    """RFC 6962 root, 32 bytes."""
    note: bytes
    """The signed note as it was made or received."""


def sign_tree_head(identity: Identity, origin: str, size: int, root: bytes) -> TreeHead:
    """Sign that the log `origin` holds `size` entries under `root`.

    Raises:
        BadTreeHead: an origin that cannot name a key, or a size or root out of bounds.
    """
    if not 0 <= size <= MAX_TREE_SIZE or len(root) != HASH_BYTES:
        raise BadTreeHead(f"no tree has {size} entries under a root of {len(root)} bytes")
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    try:
        return TreeHead(origin, size, root, sign_note(text, origin, identity))
    except BadNote as error:
        raise BadTreeHead(f"cannot sign for log {origin!r:.80}: {error}") from None


def verify_tree_head(note: bytes, key: NoteKey) -> TreeHead:
    """The tree head in `note`, if `key` signed it for the log of the same name.

    1. The note opens with the key. 2. Three lines: origin, size without leading zeros, base64
    root. 3. The origin is the key's name. Does not show that the log shows everybody the same head.

    Raises:
        BadTreeHead: any of these fails.
    """
    try:
        lines = open_note(note, key).split("\n")
    except BadNote as error:
        raise BadTreeHead(str(error)) from None
    if len(lines) != 4 or lines[3]:
        raise BadTreeHead(f"expected three lines (origin, size, root), got {len(lines) - 1}")
    origin, size, root_text = lines[:3]
    if origin != key.name:
        raise BadTreeHead(f"head of log {origin!r:.80}; expected {key.name!r}")
    if not _SIZE.fullmatch(size) or int(size) > MAX_TREE_SIZE:
        raise BadTreeHead(f"tree size {size!r:.40} is no decimal number up to 2^63 - 1")
    try:
        root = base64.b64decode(root_text, validate=True)
    except ValueError:
        root = b""
    if len(root) != HASH_BYTES or base64.b64encode(root).decode() != root_text:
        raise BadTreeHead(f"root {root_text!r:.60} is not the base64 of {HASH_BYTES} bytes")
    return TreeHead(origin, int(size), root, note)
