"""A witness's word that a checkpoint goes on from every one that it signed before. Pure: the time is an argument.

The signature is over the text of the checkpoint with the time in front, so it also says when. Source:
c2sp.org/tlog-cosignature (version 1).
"""

from archipel.identity import BadSignature, Identity, verify_bytes
from archipel.ledger.signed_note import (
    COSIGNATURE,
    BadNote,
    NoteKey,
    signature_line,
    signatures_by,
)

_TIME_BYTES = 8
MAX_TIME_S = 2**63 - 1


def witness_key(name: str, public_key: bytes) -> NoteKey:
    """The key that a witness's signatures are checked with. Raises BadNote: a name that no key may have."""
    return NoteKey(name, public_key, COSIGNATURE)


def cosigned(text: str, name: str, identity: Identity, at_s: int) -> str:
    """The line that a witness adds to a checkpoint with this text; at_s: Unix time in seconds."""
    signature = identity.sign_bytes(_message(text, at_s))
    return signature_line(
        witness_key(name, identity.public_key), at_s.to_bytes(_TIME_BYTES, "big") + signature
    )


def cosigned_at(note: bytes, key: NoteKey) -> int:
    """When the witness `key` signed this checkpoint: the latest time, in seconds.

    Raises:
        BadNote: it did not, or one of its signatures does not hold.
    """
    text, signatures = signatures_by(note, key)
    times = []
    for each in signatures:
        at_s = int.from_bytes(each[:_TIME_BYTES], "big")
        try:
            verify_bytes(key.public_key, _message(text, at_s), each[_TIME_BYTES:])
        except BadSignature as error:
            raise BadNote(
                f"the signature by the witness {key.name} does not hold: {error}"
            ) from None
        times.append(at_s)
    return max(times)


def _message(text: str, at_s: int) -> bytes:
    if not 0 <= at_s <= MAX_TIME_S:
        raise BadNote(f"no time is {at_s}")
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()
