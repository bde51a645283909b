"""The grid that a plan draws from: one country's, or a mix of several by their shares of the electricity.

Law: one country is the tables' own constants; a mix is a country `mix` whose price and carbon are the shares'
mean, so that a sheet's names (`energy.price.{country}`) need know nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from archipel.planning.mistakes import CannotPlan, Conflict, Impossible
from archipel.planning.quantity import Quantity, pure, total
from archipel.planning.tables import Shelf
from archipel.planning.units import amount

OPTION = "--country"
MIX = "mix"
MOST_COUNTRIES = 12


@dataclass(frozen=True)
class Grid:
    """What a question's sheet needs of the country that was asked for."""

    country: str
    """Its name in the tables, or `mix`."""
    given: dict[str, Quantity] = field(default_factory=dict)
    """A mix's price and carbon, by the names a country's would have."""
    words: dict[str, str] = field(default_factory=dict)
    """A mix's title, likewise."""


def grid_of(written: str, shelf: Shelf, needs: Sequence[str] = ("carbon",)) -> Grid:
    """The grid of one country, `fra`, or of several with their shares, `usa=0.7,fra=0.3`.

    Shares are weights: `usa=2,fra=1` is two thirds and one third. `needs` is what has to be known of each:
    its `carbon`, `price` or both.

    Raises:
        UnknownName: no such country. Impossible: a share of nothing or less, too many countries.
        Conflict: a country twice. CannotPlan: neither form, or a country of which not enough is known.
    """
    parts = written.split(",")
    if len(parts) == 1 and "=" not in written:
        return Grid(_known(written, shelf, needs))
    if len(parts) > MOST_COUNTRIES:
        raise Impossible(f"{OPTION}: got {len(parts)} countries, expected at most {MOST_COUNTRIES}")
    weights: dict[str, float] = {}
    for part in parts:
        name, sign, share = part.partition("=")
        if not sign:
            raise CannotPlan(
                f"{OPTION}: got {part.strip()!r} in a mix, expected each country with its share, such as "
                "usa=0.7,fra=0.3"
            )
        country = _known(name.strip(), shelf, needs)
        if country in weights:
            raise Conflict(f"{OPTION}: {country} stands twice; give it one share")
        weights[country] = amount(share, "1", f"{OPTION} {country}")
        if not 0 < weights[country] < float("inf"):
            raise Impossible(f"{OPTION} {country}: got {share!r}, expected a share above 0")
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    given = {}
    for of, about in (("price", "electricity of the mix"), ("carbon", "carbon of the mix")):
        if all(f"energy.{of}.{name}" in shelf for name in shares):
            parted = [pure(share) * shelf[f"energy.{of}.{name}"] for name, share in shares.items()]
            whole = f"energy.{of}.{MIX}"
            given[whole] = total(parted).named(whole, about)
    titles = [f"{share:.0%} {_title(name, shelf)}" for name, share in shares.items()]
    return Grid(MIX, given, {f"energy.country.{MIX}.title": ", ".join(titles)})


def _known(word: str, shelf: Shelf, needs: Sequence[str]) -> str:
    """The country that a word means, if all that is needed of it is known."""
    country = shelf.choose(f"energy.{needs[0]}", word, "country")
    for of in needs:
        if f"energy.{of}.{country}" not in shelf:
            raise CannotPlan(f"{OPTION}: the {of} of the grid of {country!r} is not known")
    return country


def _title(country: str, shelf: Shelf) -> str:
    return shelf.fact(f"energy.country.{country}.title", country)
