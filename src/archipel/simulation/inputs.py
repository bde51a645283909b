"""Numbers out of the planner's tables, each remembered with its kind and source, so that a result can say what it rests on.

Parts: `Inputs` (looks up and remembers). A figure that nobody published is of kind `assumed`, and is marked as such.
"""

from dataclasses import dataclass, field

from archipel.planning.quantity import Quantity, Stated, ancestry
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Input:
    """One figure that a simulation rests on."""

    name: str
    value: float
    unit: str
    kind: str
    """measured, published, derived or assumed."""
    source: str
    about: str


@dataclass
class Inputs:
    """A shelf whose figures are remembered as they are taken."""

    shelf: Shelf
    used: dict[str, Input] = field(default_factory=dict)
    _draws: Draws = field(default_factory=lambda: Draws(count=1))

    def __contains__(self, name: str) -> bool:
        return name in self.shelf

    def value(self, name: str, unit: str = "") -> float:
        """A constant's central value, in this unit or its own."""
        quantity = self.shelf[name]
        return self.centre(quantity if not unit else quantity.to(unit))

    def centre(self, of: Quantity) -> float:
        """The central value of a quantity; the stated figures below it are remembered."""
        for each in ancestry([of]):
            figure = each.origin
            if isinstance(figure, Stated) and each.name in self.shelf:
                entry = self.shelf.entry(each.name)
                self.used[each.name] = Input(
                    each.name, figure.value, entry.unit, figure.kind, figure.source.key, entry.about
                )
        return self._draws.centre(of)

    def shares(self, group: str, among: tuple[str, ...] = ()) -> dict[str, float]:
        """The members of a group of shares, as parts of one; only those `among`, if any are named."""
        names = [each for each in self.shelf.members(group) if not among or each in among]
        values = {each: self.value(f"{group}.{each}") for each in names}
        total = sum(values.values())
        return {each: value / total for each, value in values.items()} if total else {}

    def assumed(self) -> list[Input]:
        """Those that rest on nobody's publication."""
        return [each for each in self.used.values() if each.kind == "assumed"]
