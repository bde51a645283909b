"""Who owns a run, recomputed from a ledger, and which entries say so. Pure.

Law: it folds the entries itself. Of a run that was opened without a charter it shows what one would give; nobody agreed to
that, and nothing can be done with it.
"""

from collections import defaultdict

from archipel.lab.apply import apply, begun
from archipel.lab.entry import Entry
from archipel.lab.owners import Owned
from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.records.recipe_charter import CharterSection, CharterTerms, charter_terms
from archipel.records.statements import Recorded, RunOpened
from archipel.records.table import Table

_NOBODY = Owned()


class Accountant:
    """Of one run; told every entry of a ledger in order."""

    def __init__(self, lab: str, run: str, supposed: CharterTerms | None = None) -> None:
        """supposed: the charter that a run without one is shown by; None: the default."""
        self._run = run
        self._supposed = supposed or charter_terms(CharterSection())
        self.state = LabState(lab=lab)
        """After the entries so far."""
        self.is_agreed = True
        """The run was opened with the charter that it is shown by."""
        self.entries: defaultdict[str, list[int]] = defaultdict(list)
        """Holder -> positions of the entries that changed what it earned, gave or holds; the opening is everybody's."""
        self.opening: int | None = None

    def take(self, entry: Entry) -> bool:
        """One more; whether it counts for any holder.

        Raises:
            Contradiction: it cannot follow.
        """
        position, before = self.state.size, begun(self.state, entry.statement)
        self.state = apply(before, self._supposing(entry.statement, position), entry.at_ms)
        found = self._changed(before)
        for holder in found:
            self.entries[holder].append(position)
        return bool(found) or position == self.opening

    def _supposing(self, said: Recorded, position: int) -> Recorded:
        if not isinstance(said, RunOpened) or said.run != self._run:
            return said
        self.opening = position
        if said.pace.charter is not None:
            return said
        self.is_agreed = False
        pace = said.pace.model_copy(update={"charter": self._supposed})
        return said.model_copy(update={"pace": pace})

    def _changed(self, before: LabState) -> list[str]:
        old, new = before.owned.get(self._run, _NOBODY), self.state.owned.get(self._run, _NOBODY)
        is_dividing = bool(new.issued) and not old.issued
        found = set[str]() if is_dividing else _differences(old.earned, new.earned)
        found |= _differences(old.issued if is_dividing else old.held, new.held)
        run, known = self.state.runs.get(self._run), before.runs.get(self._run)
        if run is not None and known is not None:
            funders = _differences(known.funders, run.funders)
            found |= {account_of(self.state, did) for did in funders}
        return sorted(found)


def _differences(old: Table[str, int], new: Table[str, int]) -> set[str]:
    """Of whom it says something else."""
    if old is new:
        return set()
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}
