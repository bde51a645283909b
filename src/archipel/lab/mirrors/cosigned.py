"""Signatures that witnesses hand in under a lab's own heads, kept in memory and shown to everybody.

Law: only a head that this lab signed, with a signature that holds, by a key that is in its witness's name; there are
`MAX_COSIGNERS` places, and nobody who signed within a day loses one, but for the stranger who came last, to a witness that the
lab's own card names. After a start they are handed in anew.
"""

from collections.abc import Callable

from archipel.directory.card import BadCard, read_card
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

    def __init__(self, key: NoteKey, named: Callable[[], frozenset[str]] = frozenset[str]) -> None:
        """key: of the lab's heads. named: names of the witnesses that always have a place."""
        self._key, self._named = key, named
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
            self._make_room(key.name, now_s)
        self._newest[key.name] = WitnessView(
            key=key.to_text(), size=head.size, at_s=at_s, note=note.decode()
        )

    def _make_room(self, newcomer: str, now_s: int) -> None:
        named = self._named()
        strangers = [name for name in self._newest if name not in named]
        oldest = min(strangers, key=lambda name: self._newest[name].at_s, default=None)
        if oldest is not None and self._newest[oldest].at_s <= now_s - STALE_S:
            del self._newest[oldest]
        elif oldest is not None and newcomer in named:
            del self._newest[strangers[-1]]
        else:
            raise Busy(
                f"{MAX_COSIGNERS} witnesses sign this lab's heads already; try again in a day, or ask its operator to name yours "
                "(archipel lab card --set witness=...)"
            )


def named_witnesses(card: bytes | None) -> frozenset[str]:
    """Names of the witnesses that a lab's card names; none without one."""
    if card is None:
        return frozenset()
    try:
        named = read_card(card).said.witnesses
    except BadCard:
        return frozenset()
    return frozenset(each.key.partition("+")[0] for each in named)


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
