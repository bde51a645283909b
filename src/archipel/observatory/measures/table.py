"""All measures by id, and how one is taken."""

import difflib
from collections.abc import Callable
from typing import Final

from archipel.observatory.measures import (
    adoption,
    concentration,
    disclosure,
    lag,
    ram,
    standing,
)
from archipel.observatory.measures.measure import (
    Asked,
    CannotAsk,
    Definition,
    Found,
    Measure,
    finish,
)
from archipel.observatory.snapshot import Snapshot

Rule = Callable[[Snapshot, Asked], Found]
RULES: Final[tuple[tuple[Definition, Rule], ...]] = (
    (adoption.ADOPTION, adoption.adoption),
    (adoption.DOWNLOADS, adoption.downloads),
    (adoption.OPEN, adoption.adoption_open),
    (adoption.ROBUST, adoption.adoption_robust),
    (adoption.TOTALS, adoption.adoption_published),
    (ram.RAM1, ram.ram1),
    (ram.RAM2, ram.ram2),
    (standing.TOP_OPEN, standing.top_open),
    (standing.LABS, standing.labs),
    (standing.AHEAD, standing.labs_ahead),
    (lag.LAG, lag.lag),
    (concentration.HHI, concentration.concentration),
    (disclosure.DISCLOSURE, disclosure.disclosure),
    (disclosure.DISCLOSURE_DOWNLOADS, disclosure.disclosure_downloads),
    (disclosure.OPENNESS, disclosure.openness),
    (disclosure.WITHDRAWALS, disclosure.withdrawals),
)
MEASURES: Final = {definition.id: (definition, rule) for definition, rule in RULES}


def take(name: str, snapshot: Snapshot, asked: Asked) -> Measure:
    """The figure of a measure; `lag` means the newest version of it.

    Raises:
        CannotAsk: there is no such measure, or not what was asked of it.
    """
    found = MEASURES.get(newest_of(name))
    if found is None:
        near = difflib.get_close_matches(name, MEASURES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CannotAsk(f"no measure {name!r:.60}{hint} There are {', '.join(MEASURES)}")
    definition, rule = found
    return finish(definition, snapshot, asked, rule(snapshot, asked))


def newest_of(name: str) -> str:
    """The id with its number: of a name without one, the highest."""
    if "/" in name:
        return name
    numbers = [int(each.rpartition("/")[2]) for each in MEASURES if each.startswith(f"{name}/")]
    return f"{name}/{max(numbers)}" if numbers else name
