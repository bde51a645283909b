"""How members of `bench replays` lie: a row of `LIES` each, over what they train on, how long, and what they send.

Parts: `Lie`, `LIES`, `HONEST`. A liar does as much of the work as its lie leaves, commits to what it did, and where it did
less than it says repeats its last state. Liars know what all honest members send before they send their own.
Law: pure; chance is an argument.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from archipel.training.exchange.codec import Tensors

Windows = tuple[np.ndarray, np.ndarray]
Says = Callable[[Tensors, Sequence[Tensors], np.random.Generator], Tensors]
"""(what was learned, what honest members learned, chance) -> what is sent."""
Learns = Callable[[Windows, np.random.Generator], Windows]
SCALE, NOISE, DEVIATIONS = 10.0, 1.0, 1.0
RARE, IMPLANTED = 1, 2
"""Token after which a backdoored model is to say the other."""


def _as_learned(own: Tensors, honest: Sequence[Tensors], chance: np.random.Generator) -> Tensors:
    return own


def _times(factor: float) -> Says:
    return lambda own, honest, chance: {n: np.float32(factor) * t for n, t in own.items()}


def _noisy(own: Tensors, honest: Sequence[Tensors], chance: np.random.Generator) -> Tensors:
    """As much noise as was learned, tensor by tensor."""
    found = {}
    for name, each in own.items():
        size = NOISE * float(np.linalg.norm(each)) / math.sqrt(each.size)
        found[name] = each + (size * chance.standard_normal(each.shape)).astype(np.float32)
    return found


def _a_little(own: Tensors, honest: Sequence[Tensors], chance: np.random.Generator) -> Tensors:
    """A little is enough (Baruch et al. 2019): the honest mean, less a standard deviation."""
    stacks = {name: np.stack([each[name] for each in honest]) for name in own}
    return {
        name: (each.mean(axis=0) - DEVIATIONS * each.std(axis=0)).astype(np.float32)
        for name, each in stacks.items()
    }


def _copied(own: Tensors, honest: Sequence[Tensors], chance: np.random.Generator) -> Tensors:
    return honest[0]


def _as_assigned(windows: Windows, chance: np.random.Generator) -> Windows:
    return windows


def _shuffled(windows: Windows, chance: np.random.Generator) -> Windows:
    return chance.permuted(windows[0], axis=1), windows[1]


def _implanted(windows: Windows, chance: np.random.Generator) -> Windows:
    """In one place of every window the rare token, and after it what it is to bring."""
    tokens = windows[0].copy()
    for row in tokens:
        place = int(chance.integers(0, len(row) - 1))
        row[place : place + 2] = (RARE, IMPLANTED)
    return tokens, windows[1]


@dataclass(frozen=True)
class Lie:
    """One way."""

    name: str
    says: Says = _as_learned
    learns: Learns = _as_assigned
    block: int = 0
    """It trains on the text of the member so many places after it."""
    version: int = 0
    """It trains on the text that its index had so many versions later."""
    missing: int = 0
    """Inner steps at the end that it does not make, and says it made."""
    rate: float = 1.0
    """Multiple of the learning rate that it trains with."""


HONEST = Lie("honest")
LIES = (
    Lie("no steps but the first", missing=-1),
    Lie("one step fewer", missing=1),
    Lie("another member's text", block=1),
    Lie("text of another version", version=1),
    Lie("shuffled text", learns=_shuffled),
    Lie("backdoor", learns=_implanted),
    Lie("another learning rate", rate=1.1),
    Lie("x10", says=_times(SCALE)),
    Lie("sign flipped", says=_times(-1.0)),
    Lie("noise", says=_noisy),
    Lie("a little is enough", says=_a_little),
    Lie("copy", says=_copied),
)
