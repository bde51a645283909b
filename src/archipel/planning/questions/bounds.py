"""How large an amount may be asked for: outside these bounds no formula of a plan means anything.

Law: every amount that a question reads from its options passes here, so that what follows is finite. Bounds
are generous (a thousand to ten quadrillion parameters); what exists is far inside them.
"""

from dataclasses import dataclass

from archipel.planning.mistakes import Impossible
from archipel.planning.units import amount


@dataclass(frozen=True)
class Bounds:
    """The least and the most of an option, both included, in a unit."""

    unit: str
    least: float
    most: float
    whole: bool = False
    """Whether it counts things that cannot be cut."""


PARAMS = Bounds("param", 1e3, 1e16)
TOKENS = Bounds("token", 1.0, 1e20)
MONEY = Bounds("USD", 1e-6, 1e15)
WORTH = Bounds("USD", 1e-9, 1e40)
FLOP = Bounds("FLOP", 1e6, 1e40)
FLEET_TIME = Bounds("day", 1e-4, 36_525.0)
"""Seconds to a century."""
LOSS = Bounds("nat/token", 0.01, 100.0)
ACCELERATORS = Bounds("accelerator", 1, 1e8, whole=True)
SITES = Bounds("site", 1, 1e7, whole=True)
PER_SITE = Bounds("accelerator", 1, 1e7, whole=True)
STREAMS = Bounds("1", 1, 1e6, whole=True)
STEPS = Bounds("1", 1, 1e9)
VOCABULARY = Bounds("1", 2, 1e8, whole=True)
EXAMPLES = Bounds("1", 1, 1e12, whole=True)
EPOCHS = Bounds("1", 0.01, 1e4)
HOURS_A_DAY = Bounds("h/day", 0.01, 24.0)
STORAGE = Bounds("GB/s", 1e-3, 1e5)
SERVED = Bounds("token", 1, 1e22)
LENGTH = Bounds("token", 1, 1e9, whole=True)
"""Of one sequence, prompt or answer."""
WEIGHT = Bounds("1", 0, 1e6)
PARTS = Bounds("1", 1, 65_536, whole=True)
BITS = Bounds("bit/param", 1e-4, 1024.0)
BATCH = Bounds("token", 1, 1e13)
SUPPLY = Bounds("accelerator", 1, 1e10)
LINE = Bounds("Mbit/s", 1e-3, 1e9)
AHEAD = Bounds("year", 1.0, 60.0)
GROWTH = Bounds("1", 1.001, 1000.0)
LIFE = Bounds("year", 0.25, 50.0)
PUE = Bounds("1", 1.0, 5.0)
HOURLY = Bounds("USD/(accelerator*h)", 1e-4, 1e5)
DRAW = Bounds("W/accelerator", 0.1, 1e6)
PRICE = Bounds("USD/accelerator", 1.0, 1e8)
ELECTRICITY = Bounds("USD/kWh", 1e-4, 100.0)
PER_TOKEN = Bounds("USD/Mtoken", 1e-6, 1e6)
ACCELERATOR_HOURS = Bounds("h", 1e-2, 1e12)
ROLLOUTS = Bounds("rollout", 1, 1e15)
SPECIALISTS = Bounds("1", 1, 10_000, whole=True)
PEOPLE = Bounds("person", 0, 1e5)
SHAPE = Bounds("1", 1, 1e7, whole=True)
"""Of one number of a model's shape."""
GAP = Bounds("nat/token", 1e-9, 10.0)


def bounded(text: str, of: Bounds, option: str) -> float:
    """The amount written in `text`, inside its bounds, in their unit.

    Raises:
        UnitMismatch: not an amount of that kind.
        Impossible: outside, or a part of something whole; names the nearest that works.
    """
    return checked(amount(text, of.unit, option), of, text, option)


def checked(value: float, of: Bounds, text: str, option: str) -> float:
    """`value` if it is inside.

    Raises:
        Impossible: outside, or a part of something whole; names the nearest that works.
    """
    near = min(max(value, of.least), of.most)
    if of.whole:
        near = float(max(round(near), of.least))
    if value == near:
        return value
    unit = "" if of.unit == "1" else f" {of.unit}"
    sign = "more than 0," if value <= 0 < of.least else ""
    what = " ".join(word for word in ("a whole number" if of.whole else "", sign, "from") if word)
    raise Impossible(
        f"{option}: got {text!r}, expected {what} {spoken(of.least)} to "
        f"{spoken(of.most)}{unit}; the nearest that works is {spoken(near)}{unit}"
    )


def spoken(number: float) -> str:
    """A bound as people may type it: `1000`, `1e16`."""
    if not number or 1e-3 <= abs(number) < 1e7:
        return f"{number:.15g}"
    return f"{number:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def share_of(text: str, option: str, *, least: float = 0.0) -> float:
    """The share written in `text`, from `least` to 1.

    Raises:
        UnitMismatch, Impossible: not a share, or outside.
    """
    value = amount(text, "1", option)
    if not least <= value <= 1.0:
        begin = "from 0 to 1" if least == 0 else f"of at least {spoken(least)} and at most 1"
        raise Impossible(
            f"{option}: got {text!r}, expected a share {begin}, such as 0.4 or 40 percent"
        )
    return value


LEAST_SHARE = 1e-4
"""Of utilisation: below it a machine stands still."""
