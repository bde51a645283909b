"""Renting in one place: what its cloud asks, on demand or for what it may take back, over the market's rents.

`rental.region.PLACE.KIND` and `rental.region.PLACE.spot.KIND` become `rental.KIND`. Law: a rent that is the
person's own stays, and a plan says whose rents it took and which of them that place does not ask.
"""

from collections.abc import Container
from dataclasses import replace

from archipel.planning.mistakes import CannotPlan
from archipel.planning.tables import Shelf

REGION = "rental.region"


def rent_in(shelf: Shelf, word: str, own: Container[str], *, spot: bool) -> None:
    """Take the rents of one place, but for the person's `own`.

    Raises:
        UnknownName: no such place.
        CannotPlan: nothing is known to be taken back there, or nothing as early as the date asked for.
    """
    place, group = _place(shelf, word, spot=spot)
    for kind in shelf.members(group):
        if (name := f"{group}.{kind}") not in shelf or f"rental.{kind}" in own:
            continue
        found = shelf.entry(name)
        if shelf.ahead(found.figure):
            raise CannotPlan(
                f"--region {place}: got --as-of {shelf.as_of}, expected {found.figure.vintage} or "
                "later: what it asked before is not in the tables; leave one of them out"
            )
        shelf.put(replace(found, name=f"rental.{kind}"))


def rents_said(shelf: Shelf, word: str, used: Container[str], *, spot: bool) -> list[str]:
    """Whose rents a plan took, if it `used` any, and which of its rents are the market's."""
    place, group = _place(shelf, word, spot=spot)
    title = shelf.fact(f"{REGION}.{place}.title", place) + (", spot" if spot else "")
    rented = [kind for kind in shelf.members("accelerator") if f"rental.{kind}" in used]
    asked = [kind for kind in rented if f"{group}.{kind}" in shelf]
    said = [
        f"{title}: no rent of {kind}, the market's is taken" for kind in rented if kind not in asked
    ]
    if not rented:
        said.append(f"--region {place} is set, and this plan rents nothing")
    if asked:
        lost = "; they may be taken back at any time, and no time is counted for it" if spot else ""
        said.append(f"rents of {', '.join(asked)} are those of {title}{lost}")
    return said


def _place(shelf: Shelf, word: str, *, spot: bool) -> tuple[str, str]:
    """The name of a place and the group of its rents."""
    if not word:
        raise CannotPlan("--spot: say where, e.g. --region aws-us; a rent of your own is --price")
    place = shelf.choose(REGION, word, "region (--region)")
    group = f"{REGION}.{place}.spot" if spot else f"{REGION}.{place}"
    if spot and not shelf.members(group):
        able = [each for each in shelf.members(REGION) if shelf.members(f"{REGION}.{each}.spot")]
        raise CannotPlan(
            f"--spot and --region {place}: nothing is known to be taken back there; leave --spot out "
            f"or choose one of {', '.join(able)}"
        )
    return place, group
