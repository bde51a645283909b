"""Whether enough is known of an accelerator to plan with it: everything missing is said at once."""

from collections.abc import Sequence

from archipel.planning.mistakes import CannotPlan
from archipel.planning.tables import Shelf


def complete(option: str, kind: str, parts: Sequence[str], shelf: Shelf, priced: str = "") -> None:
    """Refuse an accelerator of which constants are missing, all of them named.

    `parts` stand below `accelerator.KIND`; `priced` is the group that holds its price, if one is needed.

    Raises:
        CannotPlan: some are missing; a missing price alone is left to whoever can ask for it.
    """
    missing = [f"accelerator.{kind}.{part}" for part in parts]
    missing = [name for name in missing if name not in shelf]
    if not missing:
        return
    if priced and f"{priced}.{kind}" not in shelf:
        missing.append(f"{priced}.{kind}")
    verb = "is" if len(missing) == 1 else "are"
    raise CannotPlan(
        f"{option} {kind}: {', '.join(missing)} {verb} not known; give {'it' if verb == 'is' else 'all'}"
        f" in a table of your own (--table), or choose another"
    )
