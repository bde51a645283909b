"""What a client asks to have read without an answer being sampled: texts as vectors, and choices as probabilities.

Parts: `Texts`, `Embedded`; `Weighing`, `Weighed`. Nothing here knows a dialect or an engine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from archipel.serve.question import BadQuestion, Question

MAX_TEXTS = 2048
"""In one request."""
MAX_CHOICES = 256
MAX_CHOICE_CHARS = 2000
Text = str | tuple[int, ...]
"""Or ids of tokens."""
Length = Literal["sum", "mean"]


@dataclass(frozen=True)
class Texts:
    """To be made vectors of."""

    model: str
    texts: tuple[Text, ...]
    dimensions: int | None = None
    """The first so many, of unit length again; None: all."""
    is_cut: bool = False
    """Whether a text that is too long is read as far as it can be, instead of being refused."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.texts) <= MAX_TEXTS:
            raise BadQuestion(f"{len(self.texts)} texts; expected 1 to {MAX_TEXTS}", "input")
        if self.dimensions is not None and self.dimensions < 1:
            raise BadQuestion(f"dimensions is {self.dimensions}; expected 1 or more", "dimensions")


@dataclass(frozen=True)
class Embedded:
    """One text."""

    vector: tuple[float, ...]
    """Mean over its tokens of the last hidden state."""
    num_tokens: int

    def unit(self, dimensions: int | None = None) -> tuple[float, ...]:
        """Of length 1. Raises BadQuestion: it has fewer dimensions."""
        size = len(self.vector) if dimensions is None else dimensions
        if size > len(self.vector):
            raise BadQuestion(
                f"dimensions is {size}; this model's vectors have {len(self.vector)}", "dimensions"
            )
        kept = self.vector[:size]
        length = math.sqrt(math.fsum(each * each for each in kept)) or 1.0
        return tuple(each / length for each in kept)


@dataclass(frozen=True)
class Weighing:
    """How likely the model finds each of some answers."""

    question: Question
    choices: tuple[str, ...]
    length: Length = "sum"
    """Of what is compared: log-probabilities of whole answers, or their means over tokens."""
    prior: Question | None = None
    """A question without the thing that is asked about: what is likely anyway is taken from what is likely here."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.choices) <= MAX_CHOICES:
            raise BadQuestion(
                f"{len(self.choices)} choices; expected 2 to {MAX_CHOICES}", "choices"
            )
        if len(set(self.choices)) < len(self.choices):
            raise BadQuestion("two choices are the same; expected different ones", "choices")
        for choice in self.choices:
            if not 1 <= len(choice) <= MAX_CHOICE_CHARS:
                raise BadQuestion(
                    f"a choice of {len(choice)} characters; expected 1 to {MAX_CHOICE_CHARS}",
                    "choices",
                )


@dataclass(frozen=True)
class Likelihood:
    """Of one choice."""

    logprob: float
    """Nats: that the model says exactly this, its end included."""
    num_tokens: int
    """Its end included."""


@dataclass(frozen=True)
class Weighed:
    """Which answer is how likely."""

    probabilities: tuple[float, ...]
    """In the order of the choices; they add up to 1."""
    likelihoods: tuple[Likelihood, ...]
    priors: tuple[Likelihood, ...] | None
    """The same behind the prior question."""
    num_prompt_tokens: int
    """That were read, the choices' own not counted."""


def weighed(
    found: Sequence[Likelihood], priors: Sequence[Likelihood] | None, length: Length
) -> tuple[float, ...]:
    """Probabilities of the choices, given that the answer is one of them.

    By sums this is Bayes' rule on whole answers, which do not overlap, as each has its end. With priors each is divided
    by what it has anyway (contextual calibration, Zhao et al. 2021, arXiv 2102.09690).
    """

    def score(one: Likelihood) -> float:
        return one.logprob / (one.num_tokens if length == "mean" else 1)

    scores = [score(one) for one in found]
    if priors is not None:
        scores = [each - score(prior) for each, prior in zip(scores, priors, strict=True)]
    highest = max(scores)
    shares = [math.exp(each - highest) for each in scores]
    return tuple(each / math.fsum(shares) for each in shares)
