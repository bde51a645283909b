"""The newest head of a mirror of which every blob that is needed lies there: who continues its ledger can go on from it at once.

    HOME/mirrors/NAME/complete.note     that head, as its lab signed it

Parts: `complete_head` (what is written down), `Complete` (kept while a mirror grows). Law: what is written down is a hint: whoever
uses it looks at the signature, the root and the blobs again.
"""

from pathlib import Path

from archipel.lab.state import LabState
from archipel.ledger.evidence import bare
from archipel.ledger.signed_note import MAX_NOTE_BYTES, NoteKey
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head

COMPLETE = "complete.note"


def complete_head(folder: Path, key: NoteKey) -> TreeHead | None:
    """What is written down in a mirror's folder; None: nothing that `key` signed."""
    try:
        with (folder / COMPLETE).open("rb") as file:
            return verify_tree_head(file.read(MAX_NOTE_BYTES), key)
    except (OSError, BadTreeHead):
        return None


class Complete:
    """Of one mirror, whose state is folded anew after each start."""

    def __init__(self, folder: Path, key: NoteKey) -> None:
        self._folder, self._key = folder, key
        self._head = complete_head(folder, key)
        self.state: LabState | None = None
        """After the entries under it; None: there is none, or they are not folded yet."""

    def folded(self, state: LabState) -> None:
        """The fold has come to this state."""
        if self._head is not None and state.size == self._head.size:
            self.state = state

    def reached(self, head: TreeHead | None, state: LabState) -> None:
        """Every blob is here that is needed after the entries under this head, if `state` is what they amount to.

        Raises:
            OSError: the disk.
        """
        if head is None or state.size != head.size or self.state is state:
            return
        aside = self._folder / f".{COMPLETE}.partial"
        aside.write_bytes(bare(head, self._key))
        aside.replace(self._folder / COMPLETE)
        self._head, self.state = head, state
