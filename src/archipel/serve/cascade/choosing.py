"""Which threshold a wish asks for, told on questions that the heads were not fitted on.

Parts: `Wish`, `Outcome`, `outcome`, `rules_for`, `calibrated`. Pure.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from archipel.serve.cascade.fitting import Chances, Evidence, Fitted, Rules
from archipel.serve.cascade.heads import Floats
from archipel.serve.cascade.policy import Measured, Models, Policy, policy_of


@dataclass(frozen=True)
class Wish:
    """What a cascade is to hold."""

    of: Literal["share", "quality"]
    """`share`: at most this share of questions goes to the large model; `quality`: at least this share of its gain over the small one
    is kept."""
    value: float


@dataclass(frozen=True)
class Outcome:
    """What rules make of questions."""

    share: float
    """Of questions to the large model."""
    straight: float
    """Of questions that the small model was not asked."""
    quality: float
    seconds: float
    """A question, mean."""


def outcome(evidence: Evidence, told: Chances, rules: Rules) -> Outcome:
    """Over these questions; all but those that go straight cost the small model's seconds."""
    straight, large = told.straight(rules), told.to_large(rules)
    seconds = evidence.gate_s + np.where(straight, 0.0, evidence.small_s)
    seconds = seconds + np.where(large, evidence.large_s, 0.0)
    quality = np.where(large, evidence.large, evidence.small)
    return Outcome(
        float(large.mean()), float(straight.mean()), float(quality.mean()), float(seconds.mean())
    )


def thresholds(told: Chances, num: int = 101) -> Floats:
    """From never to always asking the large model, at quantiles of what was told."""
    inner = np.quantile(told.confidence, np.linspace(0.0, 1.0, num))
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def rules_for(evidence: Evidence, told: Chances, wish: Wish) -> Rules:
    """The highest threshold whose share is within the wish; or the lowest whose quality is, and if none is, the large model always."""
    each = [Rules(float(one), evidence.break_even) for one in thresholds(told)]
    if wish.of == "share":
        within = [one for one in each if outcome(evidence, told, one).share <= wish.value]
        return within[-1] if within else each[0]
    small, large = float(evidence.small.mean()), float(evidence.large.mean())
    wanted = small + wish.value * (large - small) - 1e-12
    within = [one for one in each if outcome(evidence, told, one).quality >= wanted]
    return within[0] if within else each[-1]


def calibrated(evidence: Evidence, fitted: Fitted, wish: Wish, models: Models) -> Policy:
    """What is written of questions that both models were asked."""
    rules = rules_for(evidence, fitted.told, wish)
    found = outcome(evidence, fitted.told, rules)
    measured = Measured(
        questions=len(evidence),
        small_quality=float(evidence.small.mean()),
        large_quality=float(evidence.large.mean()),
        quality=found.quality,
        share=found.share,
        straight=found.straight,
        calibration_error=min(1.0, fitted.error),
        gate_s=float(evidence.gate_s.mean()),
        small_s=float(evidence.small_s.mean()),
        large_s=float(evidence.large_s.mean()),
    )
    return policy_of(fitted, rules, models, measured)
