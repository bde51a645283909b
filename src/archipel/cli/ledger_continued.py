"""Does a lab continue another's ledger? By folding all of it: what a node asks before it follows somebody whom nobody named;
or as far as a mirror needs it, which folds nothing.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from archipel.cli.doors import Mendable

if TYPE_CHECKING:
    from archipel.lab.state import LabState
    from archipel.records.statements import RunOpened


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


def why_not_continued(
    address: str, former: str, now: str, runs: "tuple[RunOpened, ...]"
) -> str | None:
    """Why the lab `now`, whose ledger lies at `address`, does not continue that of `former` with one of these runs open.

    None: it does. 1. Every entry holds and follows, under a head that `now` signed, the succession by the rules among them: an
    address that says one key and shows another's ledger is no lab of either. 2., 3. As `why_not`. Takes as long as the ledger is.
    """
    from archipel.cli.ledger_checked import read_ledger

    try:
        checked = read_ledger(address, None, None, now)
    except Mendable as error:
        return str(error)
    return why_not(checked.found.state, former, now, runs)


def why_not(state: "LabState", former: str, now: str, runs: "tuple[RunOpened, ...]") -> str | None:
    """Why a ledger that came to this state is not what `now` has to show.

    1. It is its own. 2. It was the former one's. 3. A run goes on there that is worked for here: this very one, as it was
    opened, and not one of its name that was opened after an older prefix.
    """
    from archipel.lab.state import OPEN_PHASES

    if state.lab != now:
        return f"the ledger there is of {state.lab}, not of {now}"
    if former not in {each.predecessor for each in state.succeeded}:
        return f"the ledger of {now} was never that of {former}"
    there = [state.runs[each.run] for each in runs if each.run in state.runs]
    if not any(run.phase in OPEN_PHASES and run.opened in runs for run in there):
        return f"none of {sorted(each.run for each in runs)} goes on at {now}"
    return None
