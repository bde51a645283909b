"""The charter of a run, and who owns the run: read and changed. Pure; under `owning` and `voting`."""

from archipel.lab.owners import Owned
from archipel.lab.refusals import NoCharter
from archipel.lab.state import LabState, Run
from archipel.market.ownership import moved
from archipel.records.changed import changed
from archipel.records.recipe_charter import CharterTerms
from archipel.records.table import Table


def charter_of(run: Run) -> CharterTerms:
    """Raises NoCharter: it has none."""
    charter: CharterTerms | None = run.opened.pace.charter
    if charter is None:
        raise NoCharter(
            f"run {run.name} was opened without [charter]: nobody in this ledger owns what it makes"
        )
    return charter


def with_owned(state: LabState, name: str, owned: Owned) -> LabState:
    """With who owns a run as it is now."""
    return changed(state, owned=state.owned.put(name, owned))


def with_moved(held: Table[str, int], source: str, target: str, units: int) -> Table[str, int]:
    """Who holds what when these units have moved. Raises ValueError: they cannot."""
    for account, left in moved(held, source, target, units).items():
        held = held.drop(account) if left is None else held.put(account, left)
    return held
