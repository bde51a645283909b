"""What a quantity is worth, how sure that is, and which inputs decide it.

Central values put every stated figure at its value. Intervals are Monte Carlo: every stated figure with
an interval is drawn from a split distribution whose median is its value and whose 5th and 95th
percentile are its interval, and the graph is computed once on arrays. A figure's draws depend on the
seed and its name alone, so two plans with the same seed see the same world and may be compared pairwise.
"""

import hashlib
import math
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from archipel.planning.quantity import Derived, Numbers, Quantity, Stated, ancestry

Z90 = 1.6448536269514722
"""The 95th percentile of the standard normal distribution."""
DEFAULT_SAMPLES = 2000
MAX_SAMPLES = 200_000
ROUNDING = 1e-12
"""What the order of a formula's steps may change, as a share."""
_FLOOR = 1e-3
"""Of the 5th percentile: a speed that is never nothing is never drawn as nothing."""


@dataclass(frozen=True)
class Estimate:
    """Value with every input at its centre; 5th and 95th percentile over the draws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Swing:
    """What an answer becomes when one input alone goes to its 5th or 95th percentile."""

    input: Quantity
    at_low: float
    at_high: float

    @property
    def width(self) -> float:
        """How far the answer moves."""
        return abs(self.at_high - self.at_low)

    @property
    def moves(self) -> bool:
        """Whether it moves by more than the rounding of its arithmetic."""
        most = max(abs(self.at_low), abs(self.at_high))
        return self.width > ROUNDING * most or math.isinf(self.width)


@dataclass
class Draws:
    """One seeded set of sampled worlds; every quantity is computed at most once in it."""

    seed: int = 0
    count: int = DEFAULT_SAMPLES
    _values: dict[int, Numbers] = field(default_factory=dict)
    _centres: dict[int, Numbers] = field(default_factory=dict)
    _kept: list[Quantity] = field(default_factory=list)

    def samples(self, of: Quantity) -> Numbers:
        """Array of `count` magnitudes in its unit, or one float if nothing above it is uncertain."""
        self._kept.append(of)  # ids are only unique while the object lives
        return compute(of, self._values, self.draw)

    def centre(self, of: Quantity) -> float:
        """Its magnitude with every input at its stated value."""
        self._kept.append(of)
        return float(compute(of, self._centres, _stated_value))

    def estimate(self, of: Quantity) -> Estimate:
        """Central value and 90% interval; a stated figure's interval is the one it states."""
        figure = of.origin
        if isinstance(figure, Stated):
            ends = (figure.low, figure.high)
            low, high = (figure.value if end is None else end for end in ends)
            return Estimate(figure.value, low, high)
        samples = self.samples(of)
        low, high = interval(samples)
        return Estimate(self.centre(of), low, high)

    def draw(self, of: Quantity) -> Numbers:
        """The draws of one stated figure."""
        figure = _figure(of)
        if figure.exact:
            return figure.value
        digest = hashlib.sha256(f"{self.seed}/{of.name}".encode()).digest()
        chance = np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "big")))
        return spread(figure, chance.standard_normal(self.count))

    def swings(self, of: Quantity, most: int = 8) -> list[Swing]:
        """The inputs that move an answer most, widest first."""
        self.centre(of)
        order = list(ancestry([of]))
        inputs = [q for q in order if isinstance(q.origin, Stated) and not q.origin.exact]
        found = [self._swing(order, each) for each in inputs]
        return sorted((s for s in found if s.moves), key=lambda s: -float(f"{s.width:.9g}"))[:most]

    def _swing(self, order: list[Quantity], moved: Quantity) -> Swing:
        figure = _figure(moved)
        above = _above(order, moved)
        ends = [
            float(_moved(order[-1], self._centres, above, {id(moved): end}))
            for end in (figure.low, figure.high)
        ]
        return Swing(moved, ends[0], ends[1])


def _above(order: list[Quantity], moved: Quantity) -> list[Quantity]:
    """What rests on `moved`, parents before children: nothing else changes with it."""
    found, ids = [], {id(moved)}
    for quantity in order:
        if not ids.isdisjoint(map(id, quantity.parents)):
            found.append(quantity)
            ids.add(id(quantity))
    return found


def _moved(
    of: Quantity, centres: dict[int, Numbers], above: list[Quantity], moved: dict[int, Numbers]
) -> Numbers:
    """`of` with one figure elsewhere: only what rests on it is computed again."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        known = ChainMap(moved, centres)
        for quantity in above:
            moved[id(quantity)] = _derived(quantity, known)
    return known[id(of)]


def _stated_value(of: Quantity) -> Numbers:
    return _figure(of).value


def _figure(of: Quantity) -> Stated:
    """The figure of a quantity that has no parents."""
    if isinstance(of.origin, Derived):
        raise TypeError(f"{of.name} is derived, expected a stated figure")
    return of.origin


def compute(
    of: Quantity, known: dict[int, Numbers], state: Callable[[Quantity], Numbers]
) -> Numbers:
    """The magnitude of a quantity, given those `known` by id and a way to state figures; fills `known`.

    A division by nothing is infinite, not an error: a job that fails before it saves never ends.
    """
    if id(of) in known:
        return known[id(of)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _compute(of, known, state)


def _compute(
    of: Quantity, known: dict[int, Numbers], state: Callable[[Quantity], Numbers]
) -> Numbers:
    for quantity in ancestry([of], known):
        is_derived = isinstance(quantity.origin, Derived)
        known[id(quantity)] = _derived(quantity, known) if is_derived else state(quantity)
    return known[id(of)]


def _derived(of: Quantity, known: Mapping[int, Numbers]) -> Numbers:
    """Its formula over its parents' magnitudes."""
    if not isinstance(of.origin, Derived):
        raise TypeError(f"{of.name} is stated, expected a derived quantity")
    return of.origin.compute(*(np.float64(1.0) * known[id(p)] for p in of.origin.parents))


def spread(figure: Stated, normal: Numbers) -> Numbers:
    """Split distribution: median at the value, 5% below `low`, 5% above `high`.

    `factor` errors multiply (both halves log-normal); `linear` errors add (both halves normal) and stay
    on the side of zero, and below one for a share, on which value and interval stand.
    """
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    steps = np.abs(normal) / Z90
    if figure.spread == "factor":
        down, up = low / figure.value, high / figure.value
        return figure.value * np.where(normal < 0, down**steps, up**steps)
    reach = np.where(normal < 0, low - figure.value, high - figure.value)
    drawn = figure.value + reach * steps
    if low >= 0:
        top = 1.0 if high <= 1 else np.inf
        return np.clip(drawn, _FLOOR * low, top)
    return drawn


def interval(samples: Numbers) -> tuple[float, float]:
    """The 5th and 95th percentile, each one of the draws: some of them may be infinite.

    Worlds in which the quantity means nothing (nothing times infinity) are left out.
    """
    drawn = np.asarray(samples, dtype=float)
    defined = drawn[~np.isnan(drawn)] if drawn.ndim else drawn
    if not defined.size:
        return float("nan"), float("nan")
    ranks = [round((defined.size - 1) * share) for share in (0.05, 0.95)]
    ordered = np.partition(defined.ravel(), ranks)
    return float(ordered[ranks[0]]), float(ordered[ranks[1]])


def paired_ratio(draws: Draws, first: Quantity, second: Quantity) -> Estimate:
    """The second over the first, world by world: what both share cancels out."""
    a, b = draws.samples(first), draws.samples(second)
    centre = draws.centre(second) / draws.centre(first) if draws.centre(first) else float("nan")
    return Estimate(centre, *interval(np.asarray(b / a, dtype=float)))
