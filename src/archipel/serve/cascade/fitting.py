"""From questions that both models answered to a gate, a confidence and one threshold.

Parts: `Evidence`, `fit`, `Fitted`, `Rules` (who answers what, as one threshold rises). Laws: whatever a threshold is chosen by is told of rows
that the heads were not fitted on; a higher threshold never asks the large model less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archipel.serve.cascade.confidence import (
    ALPHAS,
    Confidence,
    calibration_error,
    fit_rising,
    signs_of,
)
from archipel.serve.cascade.heads import (
    Floats,
    Head,
    fit_head,
    folds,
    loss_of,
    out_of_fold,
    sigmoid,
    strength_for,
)

Flags = npt.NDArray[np.bool_]
LEAST_QUESTIONS = 20
"""Fewer say nothing."""


class TooLittle(ValueError):
    """The questions do not tell the two models apart."""


@dataclass(frozen=True)
class Evidence:
    """Questions, each answered by both."""

    hidden: Floats
    """(N, d): the small model's mean hidden state of each question."""
    logprobs: Sequence[Sequence[float]]
    """Of the small model's answers, token by token."""
    small: Floats
    """(N,) how good each is, 0 to 1."""
    large: Floats
    gate_s: Floats
    """(N,) seconds for the hidden state."""
    small_s: Floats
    large_s: Floats

    def __len__(self) -> int:
        return len(self.small)

    @property
    def suffices(self) -> Floats:
        """(N,) 1 where the small model's answer is as good as the large one's."""
        return (self.small >= self.large).astype(float)

    @property
    def break_even(self) -> float:
        """Chance that the small model suffices, below which asking it first costs more seconds than it saves."""
        small, large = float(self.small_s.mean()), float(self.large_s.mean())
        return small / (small + large)


@dataclass(frozen=True)
class Rules:
    """Who answers what.

    Straight to the large model goes what the gate gives less than `min(break_even, threshold)`; of the rest, answers with less confidence
    than `threshold`.
    """

    threshold: float
    break_even: float

    def is_straight(self, gate_chance: float) -> bool:
        """Whether the small model is not asked at all."""
        return gate_chance < min(self.break_even, self.threshold)

    def is_kept(self, confidence: float) -> bool:
        """Whether the small model's answer is given; at a threshold of 1 never, however sure it is."""
        return self.threshold <= confidence and self.threshold < 1.0


@dataclass(frozen=True)
class Chances:
    """What gate and confidence say of each row."""

    gate: Floats
    """(N,) chances."""
    confidence: Floats

    def straight(self, rules: Rules) -> Flags:
        """(N,)."""
        return np.array([rules.is_straight(one) for one in self.gate])

    def to_large(self, rules: Rules) -> Flags:
        """(N,) straight or escalated."""
        kept = np.array([rules.is_kept(one) for one in self.confidence])
        found: Flags = self.straight(rules) | ~kept
        return found


@dataclass(frozen=True)
class Fitted:
    """Heads, and what they say of rows that they were not fitted on."""

    gate: Head
    confidence: Confidence
    told: Chances
    error: float
    """Expected calibration error of `told.confidence`, each tenth calibrated by the others."""


def fit(evidence: Evidence) -> Fitted:
    """Gate and confidence from what was measured.

    Raises:
        TooLittle: fewer than `LEAST_QUESTIONS`, or the small model suffices always or never.
    """
    suffices = evidence.suffices
    if len(evidence) < LEAST_QUESTIONS or suffices.min() == suffices.max():
        raise TooLittle(
            f"of {len(evidence)} questions the small model suffices in {suffices.sum():.0f}; expected at least "
            f"{LEAST_QUESTIONS} questions of which it suffices in some and not in others: give more, "
            "and some that the large one alone gets right"
        )
    strength = strength_for(evidence.hidden, suffices)
    gate_logits = out_of_fold(evidence.hidden, suffices, strength)
    logits = {one: out_of_fold(_signs(evidence, one, gate_logits), suffices) for one in ALPHAS}
    alpha = min(ALPHAS, key=lambda one: loss_of(logits[one], suffices))
    signs = _signs(evidence, alpha, gate_logits)
    scores = sigmoid(logits[alpha])
    rising = fit_rising(scores, suffices)
    honest = np.zeros(len(evidence))
    for seen, held in folds(len(evidence), 10):
        honest[held] = fit_rising(scores[seen], suffices[seen])(scores[held])
    return Fitted(
        gate=fit_head(evidence.hidden, suffices, strength),
        confidence=Confidence(alpha, fit_head(signs, suffices), rising),
        told=Chances(sigmoid(gate_logits), honest),
        error=calibration_error(honest, suffices),
    )


def told_of(gate: Head, confidence: Confidence, evidence: Evidence) -> Chances:
    """What they say of questions that they have never seen."""
    logits = gate.logits(evidence.hidden)
    sure = [
        confidence.of(each, float(logit))
        for each, logit in zip(evidence.logprobs, logits, strict=True)
    ]
    return Chances(sigmoid(logits), np.array(sure))


def _signs(evidence: Evidence, alpha: float, gate_logits: Floats) -> Floats:
    return np.stack(
        [
            signs_of(each, alpha, float(logit))
            for each, logit in zip(evidence.logprobs, gate_logits, strict=True)
        ]
    )
