"""Whose a run is: its shares, divided once by a charter's parts, to the last unit (decision 0076). Pure.

Law: a part is divided in proportion, every share rounded down, and what that leaves is the treasury's; so is a part that
nobody can claim. Rounding down makes splitting worth nothing: what one identity gives, given by several, never comes to
more for all of them together.
"""

from collections import Counter
from collections.abc import Mapping

from archipel.records.recipe_charter import MILLION, UNITS, CharterTerms

TREASURY = "treasury"
"""The holder that is nobody: it casts no ballot."""


def divided(
    charter: CharterTerms, *, earned: Mapping[str, int], funded: Mapping[str, int]
) -> dict[str, int]:
    """Holder -> units, of those that hold any and of the treasury; they add up to `UNITS`.

    Args:
        charter: the parts, and who is named for data.
        earned: account -> micro-credits that it was paid for accepted work and kept; who has less than nothing has none.
        funded: account -> micro-credits of its own that the run spent.
    """
    named = {each.did: each.weight for each in charter.contributors or ()}
    held: Counter[str] = Counter()
    for millionths, given in (
        (charter.providers, earned),
        (charter.sponsors, funded),
        (charter.data, named),
    ):
        whole = millionths * (UNITS // MILLION)
        total = sum(max(each, 0) for each in given.values())
        for account, each in given.items():
            units = whole * each // total if each > 0 else 0
            if units:
                held[account] += units
    return {**held, TREASURY: UNITS - sum(held.values())}


def moved(held: Mapping[str, int], source: str, target: str, units: int) -> dict[str, int | None]:
    """What changes in `held`: account -> units that it has then; None: it holds nothing any more.

    Raises:
        ValueError: more than there is, less than one, or to itself.
    """
    has = held.get(source, 0)
    if source == target or not 1 <= units <= has:
        raise ValueError(f"{units} of the {has} units of {source} to {target}")
    return {source: has - units or None, target: held.get(target, 0) + units}
