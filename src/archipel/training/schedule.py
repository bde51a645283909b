"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state."""

import math
from typing import Protocol


class Scheduled(Protocol):
    """Terms that say how a rate goes over steps: a recipe's, or those of inner steps."""

    @property
    def learning_rate(self) -> float:
        """Peak."""

    @property
    def warmup_steps(self) -> int:
        """Steps until then."""

    @property
    def schedule(self) -> str:
        """How it falls: constant, linear or cosine."""

    @property
    def final_fraction(self) -> float:
        """Share of the peak at the last step."""


def warmed_up(learning_rate: float, step: int, warmup_steps: int) -> float:
    """Linear from learning_rate / warmup_steps at step 0 to the full rate."""
    return learning_rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else learning_rate


def learning_rate(section: Scheduled, step: int, num_steps: int) -> float:
    """Rate of optimiser step `step` in [0, num_steps): warm-up, then the recipe's schedule.

    Decay runs over the steps after warm-up and ends at `final_fraction` on the last one.
    """
    rate = warmed_up(section.learning_rate, step, section.warmup_steps)
    if section.schedule == "constant" or step < section.warmup_steps:
        return rate
    span = max(1, num_steps - 1 - section.warmup_steps)
    progress = min(1.0, (step - section.warmup_steps) / span)
    if section.schedule == "cosine":
        progress = 0.5 - 0.5 * math.cos(math.pi * progress)
    return rate * (1.0 - progress * (1.0 - section.final_fraction))
