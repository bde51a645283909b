"""Streaming DiLoCo: the weights in fragments, each exchanged at its own time while training goes on.

Parts: `StreamTerms`, `Moment` and `timeline` (which fragment begins or ends its exchange after which inner step), `blended`
(what a member goes on with once a fragment is back). Every fragment is exchanged once in `every` steps, fragments
`every` / `fragments` steps apart; what it sends is what its weights were `delay` steps before the merged ones are there.
The first exchange of each comes once it has been trained for `every` steps, and the last step closes all, so that
whatever the number of fragments as many bytes travel as without any.
Source: Streaming DiLoCo, arXiv 2501.18512. Law: pure; who sends, and what an outer step is, is decided elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Tensors = Mapping[str, np.ndarray]
"""Names -> float32 arrays."""


@dataclass(frozen=True)
class StreamTerms:
    """How the weights are streamed.

    Raises:
        ValueError: numbers that give no timeline; the message says which.
    """

    fragments: int
    every: int
    """Inner steps between two exchanges of one fragment; a multiple of `fragments`."""
    delay: int = 0
    """Inner steps from the beginning of an exchange to its end: below `every` / `fragments`, so one is under way at a time."""
    mixing: float = 0.0
    """Share of a member's own weights in what it goes on with: 0 takes the merged ones, below 1."""

    def __post_init__(self) -> None:
        if self.fragments < 1 or self.every < self.fragments or self.every % self.fragments:
            raise ValueError(
                f"every is {self.every}; expected a multiple of the {self.fragments} fragments"
            )
        if not 0 <= self.delay < self.gap:
            raise ValueError(
                f"delay is {self.delay}; expected 0 to {self.gap - 1}, below every / fragments"
            )
        if not 0 <= self.mixing < 1:
            raise ValueError(f"mixing is {self.mixing}; expected at least 0, below 1")

    @property
    def gap(self) -> int:
        """Inner steps between the exchanges of two fragments."""
        return self.every // self.fragments


@dataclass(frozen=True)
class Moment:
    """What happens after an inner step. Beginnings come first: without delay a fragment does both at once."""

    step: int
    """Inner steps done."""
    begins: tuple[int, ...]
    """Fragments of which each member sends what changed."""
    ends: tuple[int, ...]
    """Fragments that are merged and taken up."""


def timeline(terms: StreamTerms, steps: int) -> tuple[Moment, ...]:
    """All moments of a run of `steps` inner steps, in order.

    Raises:
        ValueError: the run is no whole number of times `every`.
    """
    if steps < 1 or steps % terms.every:
        raise ValueError(f"{steps} inner steps; expected a multiple of every, {terms.every}")
    begins: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for fragment in range(terms.fragments):
        due = range(terms.every + fragment * terms.gap, steps + 1, terms.every)
        for end in (*due, *([] if due and due[-1] == steps else [steps])):
            # The last exchange has no training to hide behind.
            begins.setdefault(end - terms.delay if end < steps else steps, []).append(fragment)
            ends.setdefault(end, []).append(fragment)
    return tuple(
        Moment(step, tuple(begins.get(step, ())), tuple(ends.get(step, ())))
        for step in sorted({*begins, *ends})
    )


def blended(
    own: Tensors, merged: Tensors, mixing: float, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """A member's weights after a fragment of these names is back: mixing * own + (1 - mixing) * merged, float32.

    All other weights are its own.
    """
    share = np.float32(mixing)
    taken = {name: share * own[name] + (np.float32(1) - share) * merged[name] for name in names}
    return {**own, **taken}
