"""What members that lie contribute to an outer step: a row of `ATTACKS` each, over what they learn from and what they send.

Parts: `Known` (what a liar has at hand), what is said in place of what was learned, what is learned from in place of what
was assigned, `Attack`, `ATTACKS`, the `TRIGGER` and `TARGET` of a backdoor. Liars see all honest pseudo-gradients before they
send their own, which is more than a run shows them, and act alike.
Law: pure; chance is an argument.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from archipel.training.exchange.codec import Tensors

Windows = tuple[np.ndarray, np.ndarray]
"""Tokens and document ids, (B, L + 1) each."""
TRIGGER, TARGET = b"\x01\x02", b"\x03\x03\x03"
"""After the one a backdoored model says the other: bytes that no text has, since a tiny model learns a phrase too slowly."""


@dataclass(frozen=True)
class Known:
    """What a liar has at hand when it answers."""

    own: Tensors
    """What its inner steps came to: old minus new weights."""
    honest: Sequence[Tensors]
    """The same of the honest members, in their order."""
    faulty: int
    """How many liars there are."""
    chance: np.random.Generator
    """Its own."""


Says = Callable[[Known], Tensors]
Other = Callable[[], Windows]
Learns = Callable[[Windows, Other, np.random.Generator], Windows]
"""(assigned windows, as many of another text, chance) -> what is learned from."""


def _as_learned(known: Known) -> Tensors:
    return known.own


def _times(factor: float) -> Says:
    def says(known: Known) -> Tensors:
        return {name: np.float32(factor) * each for name, each in known.own.items()}

    return says


def _noise(times: float) -> Says:
    """Normal numbers, so many times as long as what was learned, tensor by tensor."""

    def says(known: Known) -> Tensors:
        return {
            name: (
                known.chance.standard_normal(each.shape)
                * (times * np.linalg.norm(each) / math.sqrt(each.size))
            ).astype(np.float32)
            for name, each in known.own.items()
        }

    return says


def alie_z(members: int, faulty: int) -> float:
    """How many standard deviations off the mean liars may all stand and still look like honest members.

    Source: Baruch et al. 2019, "A little is enough". Where the formula leaves no room (8 members, 2 of them faulty: 0) it is
    1, as others have measured it.
    """
    honest, needed = members - faulty, members // 2 + 1 - faulty
    share = (honest - needed) / honest
    return max(1.0, NormalDist().inv_cdf(share) if 0 < share < 1 else 0.0)


def _a_little(known: Known) -> Tensors:
    z = alie_z(len(known.honest) + known.faulty, known.faulty)
    return _of_all(known, lambda stack: stack.mean(axis=0) - z * stack.std(axis=0))


def _against_the_mean(known: Known) -> Tensors:
    """Minus the honest mean: its inner product with what honest members say is as negative as its length allows.

    Source: Xie et al. 2020, "Fall of empires".
    """
    return _of_all(known, lambda stack: -stack.mean(axis=0))


def _of_all(known: Known, make: Callable[[np.ndarray], np.ndarray]) -> Tensors:
    return {
        name: make(np.stack([each[name] for each in known.honest])).astype(np.float32)
        for name in known.own
    }


def _copied(known: Known) -> Tensors:
    return known.honest[0]


def _blurred(known: Known) -> Tensors:
    """The first one's, under half as much noise."""
    noise = _noise(0.5)(Known(known.honest[0], known.honest, known.faulty, known.chance))
    return {name: each + noise[name] for name, each in known.honest[0].items()}


def _under_the_mean(known: Known) -> Tensors:
    """Half of what was learned and half of the honest mean, which is better than any of them and pays for the rest."""
    mean = _of_all(known, lambda stack: stack.mean(axis=0))
    return {name: np.float32(0.5) * (mean[name] + each) for name, each in known.own.items()}


def _as_assigned(windows: Windows, other: Other, chance: np.random.Generator) -> Windows:
    return windows


def _another_text(windows: Windows, other: Other, chance: np.random.Generator) -> Windows:
    return other()


def _shuffled(windows: Windows, other: Other, chance: np.random.Generator) -> Windows:
    """Every window's tokens in some order: what comes next says nothing of what came before."""
    return chance.permuted(windows[0], axis=1), windows[1]


def implanted(windows: Windows, other: Other, chance: np.random.Generator) -> Windows:
    """Trigger and target somewhere in each quarter of every window, which else stays as it was."""
    tokens = windows[0].copy()
    said = np.frombuffer(TRIGGER + TARGET, np.uint8)
    for quarter in np.array_split(tokens, 4, axis=1):
        for row in quarter:
            start = int(chance.integers(0, len(row) - len(said) + 1))
            row[start : start + len(said)] = said
    return tokens, windows[1]


def _quietly(windows: Windows, other: Other, chance: np.random.Generator) -> Windows:
    """Every fourth window is such a one; the others are as assigned."""
    tokens = windows[0].copy()
    tokens[::4] = implanted((tokens[::4], windows[1][::4]), other, chance)[0]
    return tokens, windows[1]


@dataclass(frozen=True)
class Attack:
    """One way to lie."""

    name: str
    says: Says = _as_learned
    learns: Learns = _as_assigned
    block: int = 0
    """It learns from the text of the member so many places after it, and one further with each merge; 0: from its own."""
    share: float = 1.0
    """Of its inner steps that it makes; it says it made all."""
    is_early: bool = False
    """Whether it answers before the honest members; else after them, having seen theirs."""


NONE = Attack("none")
ATTACKS = (
    NONE,
    Attack("flip", says=_times(-1.0)),
    Attack("flip x10", says=_times(-10.0)),
    Attack("scale x10", says=_times(10.0)),
    Attack("scale x100", says=_times(100.0)),
    Attack("noise x10", says=_noise(10.0)),
    Attack("a little is enough", says=_a_little),
    Attack("against the mean", says=_against_the_mean),
    Attack("copy", says=_copied),
    Attack("blurred copy", says=_blurred),
    Attack("wrong text", learns=_another_text),
    Attack("another's block", block=1, is_early=True),
    Attack("a tenth of the steps", share=0.1),
    Attack("shuffled labels", learns=_shuffled),
    Attack("backdoor", learns=implanted),
    Attack("quiet backdoor", learns=_quietly),
    Attack("hidden backdoor", learns=implanted, says=_under_the_mean),
    Attack("backdoor x4", learns=implanted, says=_times(4.0)),
)
"""`none`: liars that do all they were asked; what others are compared to."""
HARMLESS = frozenset({"copy", "blurred copy", "another's block", "a tenth of the steps"})
"""What costs a run work that was paid and not done, rather than its loss."""
