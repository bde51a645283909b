"""Which head of a mirror a succession begins at, and what an earlier one than the newest leaves out.

Parts: `mirrored` (the choice), `left_out`. Law: the newest head, unless blobs that it needs are missing and those of an earlier one
are all there; never one below what a witness signed, other than this mirror's own, unless the operator names it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archipel.cli.doors import Mendable
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.ledger_checked import Checked
    from archipel.lab.state import LabState
    from archipel.ledger.mirror import Mirror
    from archipel.ledger.tree_head import TreeHead

LEDGER, BLOBS, WITNESSES = "ledger", "blobs", "witnesses"
MAX_TOLD = 8
"""Accounts and runs that are named; --json names all."""


@dataclass(frozen=True)
class Mirrored:
    """Another lab's ledger as it lies here, verified and folded."""

    mirror: "Mirror"
    checked: "Checked"
    """Up to the head that is chosen."""
    blobs: Path
    newest: "LabState"
    """After the mirror's last entry."""

    @property
    def state(self) -> "LabState":
        """After the last entry that is taken over."""
        return self.checked.found.state

    def entries(self) -> Iterator[bytes]:
        """Those that are taken over."""
        return islice(self.mirror.entries(), self.checked.head.size)


def mirrored(
    folder: Path, as_far_as: int | None, at_hand: Path | None = None, agreed: int | None = None
) -> Mirrored:
    """All of a mirror looked at, and one of its heads chosen.

    at_hand: a folder with further blobs; None: blobs are not looked at, so the newest head is chosen. agreed: entries that
    others agreed to, whatever blobs are missing.

    Raises Mendable: it does not hold, or a witness signed more than what is chosen.
    """
    from archipel.cli.ledger_checked import mirror_in, stored_state

    place = folder / LEDGER if (folder / LEDGER).is_dir() else folder
    mirror, did = mirror_in(place)
    newest = stored_state(str(place), None, did)
    complete = _complete(folder, mirror)
    found = Mirrored(mirror, newest, folder / BLOBS, newest.found.state)
    if as_far_as is None:
        if complete is not None and agreed == complete.size:
            found = _up_to(found, complete)
        elif complete and at_hand and agreed is None and _is_lacking(found, at_hand):
            earlier = _up_to(found, complete)
            found = found if _is_lacking(earlier, at_hand) else earlier
        _refuse_shorter(found, folder, place)
        return found
    if as_far_as == mirror.size:
        return found
    if complete is not None and as_far_as == complete.size:
        return _up_to(found, complete)
    known = (
        f", and the newest of which all blobs were there over {complete.size}" if complete else ""
    )
    raise Mendable(
        f"{as_far_as} entries, and the predecessor's head in {place} is over {mirror.size}{known}: a succession begins at a "
        "signed head; name one of these with --as-far-as, or another mirror"
    )


def _complete(folder: Path, mirror: "Mirror") -> "TreeHead | None":
    """The newest head of which every blob was there; it is one of this very ledger."""
    from archipel.lab.mirrors.complete import complete_head
    from archipel.ledger.merkle import subtree_hash

    head = complete_head(folder, mirror.key)
    if head is None or not 0 < head.size < mirror.size:
        return None
    return head if subtree_hash(0, head.size, mirror.nodes()) == head.root else None


def _is_lacking(found: Mirrored, at_hand: Path) -> bool:
    from archipel.lab import backups
    from archipel.lab.parted import Parted

    needs = Parted(backups.Kept(found.blobs)).needed(found.state)
    return bool(backups.lacking((found.blobs, at_hand), needs))


def _up_to(found: Mirrored, head: "TreeHead") -> Mirrored:
    """The same, from an earlier head on."""
    from archipel.cli.ledger_checked import Checked
    from archipel.lab.recovery import replayed
    from archipel.ledger.verification import entries_under

    did = found.checked.did
    entries = entries_under(head, islice(found.mirror.entries(), head.size))
    checked = Checked(did, head, 1, replayed(did, entries))
    return Mirrored(found.mirror, checked, found.blobs, found.newest)


def _refuse_shorter(found: Mirrored, folder: Path, place: Path) -> None:
    """Raises Mendable: a witness signed a head over more, so what came between would be seen to be gone."""
    from archipel.cli.heads import EarlierHead

    own, size = _own_witness(folder), found.checked.head.size
    for path in sorted((place / WITNESSES).glob("*.note")):
        seen = EarlierHead(path, found.mirror.key).head.size
        if seen <= size or (path.name == own and seen <= found.mirror.size):
            continue
        if found.mirror.size == size:
            raise Mendable(
                f"{path} is a head over {seen} entries, and {place} holds {size}: what came between would be "
                f"gone; get a newer mirror, or say --as-far-as {size}"
            )
        raise Mendable(
            f"the newest head of which all blobs are in {folder} is over {size} entries, and a witness signed one over {seen} "
            f"({path}): whoever has that can show what was left out; get the missing blobs from another mirror, or say "
            f"--as-far-as {size} to leave it out, or --as-far-as {found.mirror.size} to go on without these blobs"
        )


def _own_witness(folder: Path) -> str:
    """File of what this mirror's own keeper signed: it signs every head that it folded, before any blob comes."""
    from archipel.lab.mirrors.seen_files import seen_in
    from archipel.ledger.mirror import cosigned_place

    view = seen_in(folder)
    name = "" if view is None else view.witness.partition("+")[0]
    return Path(cosigned_place(name)).name if name else ""


def left_out(found: Mirrored) -> dict[str, Any]:
    """What the mirror holds and the succession does not: entries, versions of runs, changes of balances."""
    chosen, newest = found.state, found.newest
    before, after = dict(chosen.book), dict(newest.book)
    runs = {
        name: [run.version, newest.runs[name].version]
        for name, run in chosen.runs.items()
        if newest.runs[name].version != run.version
    }
    opened = [name for name in newest.runs if name not in chosen.runs]
    amounts = {who: after.get(who, 0) - before.get(who, 0) for who in sorted({*before, *after})}
    return {
        "entries": newest.size - chosen.size,
        "versions": runs,
        "runs": opened,
        "balances_micro": {who: amount for who, amount in amounts.items() if amount},
        "newest": newest.size,
    }


def left_out_words(told: dict[str, Any]) -> Iterator[str]:
    """It in words."""
    if not told["entries"]:
        return
    num = counted(told["entries"], "entry is", "entries are")
    yield (
        f"{num} left out, as blobs of what came last are not here; get them from another mirror, or insist: "
        f"--as-far-as {told['newest']}"
    )
    for name, (begin, end) in list(told["versions"].items())[:MAX_TOLD]:
        yield f"left out: versions {begin + 1} to {end} of run {name}"
    yield from (f"left out: run {name}" for name in told["runs"][:MAX_TOLD])
    balances = sorted(told["balances_micro"].items(), key=lambda each: -abs(each[1]))
    for who, amount in balances[:MAX_TOLD]:
        yield f"left out: {amount / 1_000_000:+.6f} credits of {who}"
    if len(balances) > MAX_TOLD:
        yield f"and of {len(balances) - MAX_TOLD} accounts more (--json names all)"
