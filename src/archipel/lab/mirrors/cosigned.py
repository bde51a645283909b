"""Signatures that witnesses hand in under a lab's own heads, kept in memory and shown to everybody.

Law: only a head that this lab signed, with a signature that holds, by a key that is in its witness's name; strangers have
`MAX_COSIGNERS` places, and nobody who signed within a day loses one. After a start they are handed in anew.
"""

from archipel.identity import IdentityError, did_to_public_key
from archipel.lab.refusals import Busy, Malformed
from archipel.ledger.cosignature import cosigned_at, witness_key
from archipel.ledger.signed_note import BadNote, NoteKey
from archipel.ledger.tree_head import BadTreeHead, verify_tree_head
from archipel.records.mirror_documents import WitnessView

MAX_COSIGNERS = 64
STALE_S = 86_400
"""Whoever signed nothing for so long leaves its place to a newcomer."""
MAX_COSIGNED_BYTES = 4096
"""A head, its lab's signature and one witness's."""
MAX_AHEAD_S = 300
"""A witness's clock may be so much ahead of the lab's."""
WITNESS_PREFIX = "archipel.witness/"
"""Of a witness's name; its key follows, so that nobody else can have the name."""
_LINE = "— "


def witness_name(did: str) -> str:
    """The name of the witness that signs by this key."""
    return WITNESS_PREFIX + did.rsplit(":", 1)[-1]


class Cosigned:
    """Of one lab's heads; belongs to the event loop."""

    def __init__(self, key: NoteKey) -> None:
        """key: of the lab's heads."""
        self._key = key
        self._newest: dict[str, WitnessView] = {}

    def shown(self) -> list[WitnessView]:
        """The newest of each witness, the largest head first."""
        return sorted(self._newest.values(), key=lambda each: (-each.size, each.key))

    def take(self, note: bytes, now_s: int) -> None:
        """Take in a head with a witness's signature.

        Raises:
            Malformed: it is none. Busy: all places are taken.
        """
        if len(note) > MAX_COSIGNED_BYTES:
            raise Malformed(f"{len(note)} bytes; a cosigned head has at most {MAX_COSIGNED_BYTES}")
        try:
            head, key = verify_tree_head(note, self._key), witness_in(note)
            at_s = cosigned_at(note, key)
        except (BadTreeHead, BadNote, IdentityError) as error:
            raise Malformed(f"no head of this lab with a witness's signature: {error}") from None
        if at_s > now_s + MAX_AHEAD_S:
            raise Malformed(f"signed at {at_s}, which is {at_s - now_s} s from now")
        known = self._newest.get(key.name)
        if known is not None and (known.size, known.at_s) >= (head.size, at_s):
            return
        if known is None and len(self._newest) >= MAX_COSIGNERS:
            self._make_room(now_s)
        self._newest[key.name] = WitnessView(
            key=key.to_text(), size=head.size, at_s=at_s, note=note.decode()
        )

    def _make_room(self, now_s: int) -> None:
        oldest = min(self._newest, key=lambda name: self._newest[name].at_s)
        if self._newest[oldest].at_s > now_s - STALE_S:
            raise Busy(
                f"{MAX_COSIGNERS} witnesses sign this lab's heads already; try again in a day"
            )
        del self._newest[oldest]


def witness_in(note: bytes) -> NoteKey:
    """The key of the first signature whose name holds its key.

    Raises:
        BadNote: there is none. IdentityError: such a name holds no key.
    """
    for line in note.decode("utf-8", "replace").rpartition("\n\n")[2].split("\n"):
        name = line.removeprefix(_LINE).partition(" ")[0]
        if name.startswith(WITNESS_PREFIX):
            return witness_key(
                name, did_to_public_key(f"did:key:{name.removeprefix(WITNESS_PREFIX)}")
            )
    raise BadNote(f"no line by {WITNESS_PREFIX}z6Mk...")
