"""One answer along one of its inputs, by the plan's own formulas: the curves of a chart.

The input's place in the graph is taken by an array, everything else stays at its centre or, for the band,
at sampled worlds. Law: a curve and the number beside it come from the same formula.
"""

from collections.abc import Sequence

import numpy as np

from archipel.planning.plan import Series
from archipel.planning.quantity import Derived, Numbers, Quantity, Stated, ancestry
from archipel.planning.sampling import Draws, compute

BAND_SAMPLES = 200
BAND = (5.0, 95.0)


def along(of: Quantity, moved: Quantity, places: Sequence[float]) -> list[float]:
    """Magnitudes of `of`, in its unit, with `moved` at each of `places`, all else at its centre."""
    return each_along([of], moved, places)[0]


def each_along(
    of: Sequence[Quantity], moved: Quantity, places: Sequence[float]
) -> list[list[float]]:
    """The same of several, which share what they rest on."""
    known = {id(moved): np.asarray(places, dtype=float)}
    found = [compute(each, known, _at_centre) for each in of]
    return [[float(each) for each in np.broadcast_to(one, len(places))] for one in found]


def band(
    of: Quantity, moved: Quantity, places: Sequence[float], seed: int = 0
) -> tuple[list[float], list[float]]:
    """The 5th and 95th percentile of `of` at each of `places` for `moved`."""
    known = {id(moved): np.asarray(places, dtype=float)[:, None]}
    found = compute(of, known, Draws(seed, BAND_SAMPLES).draw)
    worlds = np.broadcast_to(found, (len(places), BAND_SAMPLES))
    low, high = np.percentile(worlds, BAND, axis=1, method="nearest")  # some may be infinite
    return [float(each) for each in low], [float(each) for each in high]


def curve(
    label: str, of: Quantity, moved: Quantity, places: Sequence[float], *, banded: bool = True
) -> Series:
    """A line of a chart, with its 90% band if wanted."""
    low, high = band(of, moved, places) if banded else ([], [])
    return Series(label, list(places), along(of, moved, places), low, high)


def least_within(of: Quantity, counted: Quantity, limit: Quantity, most: float) -> Quantity:
    """The least whole `counted` at which `of` is at most `limit`, in each world; infinite if none up to `most` is.

    `limit` is in the unit of `of`. Looked for at a few numbers, then by halving between two of them.
    """
    stated = [each for each in ancestry([of, limit]) if isinstance(each.origin, Stated)]
    inputs = tuple(each for each in stated if each is not counted)
    tried = np.unique(np.floor(np.add(spaced(1.0, max(most, 1.0)), 1e-6)))[:, None]

    def found(*figures: Numbers) -> Numbers:
        given = {id(each): value for each, value in zip(inputs, figures, strict=True)}
        at_most = compute(limit, dict(given), _known)

        def kept(numbers: Numbers) -> Numbers:
            return compute(of, {**given, id(counted): numbers}, _known) <= at_most

        first = np.atleast_2d(kept(tried))
        place = np.argmax(first, axis=0)
        high, low = tried[place, 0], np.where(place > 0, tried[place - 1, 0], 0.0)
        while np.any(apart := high - low > 1):
            middle = np.where(apart, np.floor((low + high) / 2), high)
            holds = kept(middle)
            high = np.where(apart & holds, middle, high)
            low = np.where(apart & ~holds, middle, low)
        least = np.where(first.any(axis=0), high, np.inf)
        return least if any(np.ndim(each) for each in figures) else least[0]

    formula = f"least {counted.name} at which {of.name} ≤ {limit.name}"
    return Quantity("", counted.unit, Derived(formula, inputs, found))


def _at_centre(of: Quantity) -> Numbers:
    if isinstance(of.origin, Derived):
        raise TypeError(f"{of.name} is derived, expected a stated figure")
    return of.origin.value


def _known(of: Quantity) -> Numbers:
    raise TypeError(f"{of.name} was not given")


def spaced(first: float, last: float, count: int = 40) -> list[float]:
    """Places evenly far apart in ratio, ends included."""
    return [float(place) for place in np.geomspace(first, last, count)]
