"""Does a lab continue another's ledger? By folding all of it: what a node asks before it follows somebody whom nobody named;
or as far as a mirror needs it, which folds nothing.
"""

from collections.abc import Iterable, Iterator

from archipel.cli.doors import Mendable


def succeeding(entries: Iterable[bytes], former: str, did: str) -> Iterator[bytes]:
    """Hand on what came after a mirror's checkpoint, which `former` signed; `did` signs the head over it.

    Raises:
        InvalidRecord, IdentityError: one is none. LedgerCorrupt: at the end: these entries do not make the ledger `did`'s. By which right, whoever folds them sees.
    """
    from archipel.lab.entry import read_entry
    from archipel.ledger.storage import LedgerCorrupt
    from archipel.records.succession import LabSucceeded

    now = former
    for entry in entries:
        if former != did:
            said = read_entry(entry).statement
            if isinstance(said, LabSucceeded) and said.predecessor == now:
                now = said.author
        yield entry
    if now != did:
        raise LedgerCorrupt(
            f"the head is by {did}, the mirror's checkpoint by {former}, and no entry between says that the one continues the "
            "ledger of the other; keep the mirror, and name another folder for this ledger"
        )


def why_not_continued(address: str, former: str, runs: frozenset[str]) -> str | None:
    """Why the lab at `address` does not continue that of `former`, with one of these runs open; None: it does.

    1. Every entry holds and follows, under a head that the lab signed, the succession by the rules among them. 2. It is of the
    former one's ledger. 3. A run goes on there that is worked for here. Takes as long as the ledger is.
    """
    from archipel.cli.ledger_checked import read_ledger
    from archipel.lab.state import OPEN_PHASES

    try:
        checked = read_ledger(address, None, None, None)
    except Mendable as error:
        return str(error)
    state = checked.found.state
    if former not in {each.predecessor for each in state.succeeded}:
        return f"the ledger of {checked.did} was never that of {former}"
    there = [name for name in sorted(runs) if name in state.runs]
    if not any(state.runs[name].phase in OPEN_PHASES for name in there):
        return f"none of {sorted(runs)} goes on at {checked.did}"
    return None
