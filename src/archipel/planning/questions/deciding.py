"""When a comparison is decided: by the share of sampled worlds in which it comes out, never by the centre.

The worlds are those of seed 0, so that a sentence does not change with how many samples its intervals were
asked for; their number keeps a share within about one percent of what endlessly many worlds would give.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from archipel.planning.quantity import Quantity
from archipel.planning.sampling import Draws

WORLDS = 2000
LIKELY = 0.6
"""From this share of the worlds on a thing is said to be so; at one minus this, not to be so."""


def worlds_like(draws: Draws | None = None) -> Draws:
    """The worlds that sentences are decided in: `draws` itself if it holds the same."""
    same = draws is not None and (draws.seed, draws.count) == (0, WORLDS)
    return draws if draws is not None and same else Draws(0, WORLDS)


def share_of_worlds(of: Quantity, holds: Callable[[Any], Any], draws: Draws | None = None) -> float:
    """The share of worlds in which `holds` is true of a quantity's magnitudes."""
    worlds = np.asarray(worlds_like(draws).samples(of), dtype=float)
    return float(np.mean(holds(worlds)))


def decided(share: float, yes: str, no: str, open_: str) -> str:
    """The word for a share: `yes` from `LIKELY` on, `no` below one minus it, `open_` between."""
    if share >= LIKELY:
        return yes
    return no if share <= 1.0 - LIKELY else open_
