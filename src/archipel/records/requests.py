"""What an engine is asked to sample: one prompt, how often, and the noise to use.

Law: with the weights, a request fixes its rollouts; nothing else about the moment enters.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from archipel.records.cuts import Cut

MAX_ROLLOUTS = 4096
"""Completions of one prompt."""
MAX_STOPS = 64
MAX_TEMPERATURE = 100.0


ENDED = -1
"""The state of an `Ending` that has come."""


class InvalidRequest(ValueError):
    """The request makes no sense, or this model and cache cannot serve it; nothing was generated."""


class Ending(Protocol):
    """Something in a completion's text that ends it, found token by token."""

    def after(self, state: int, token: int) -> int:
        """The state after one more token, or `ENDED`; a completion begins in state 0."""


class Hand(Protocol):
    """What bends one sequence's logits while it is sampled."""

    def steer(self, logits: Any) -> None:
        """Change the logits of the next token, an fp32 tensor (V,), in place; what is left out is minus infinity."""

    def took(self, token: int) -> None:
        """Be told which token was sampled."""


class Steering(Protocol):
    """Penalties, a grammar, or whatever else hangs on what a sequence said so far; a hand for each sequence."""

    def hand(self, rollout: int) -> Hand:
        """For the rollout of this number in the request, which begins."""


@dataclass(frozen=True, eq=False)
class Allowed:
    """The only tokens that are sampled; the others have no chance, and what is left is renormalised.

    Which these are hangs on no weights. Two are the same if they are one object.
    """

    tokens: frozenset[int]


@dataclass(frozen=True)
class Request:
    """What to sample for one group: rollouts of one prompt."""

    key: str
    """The caller's name for it; an engine never reads it."""
    prompt: tuple[int, ...]
    seed: int
    """Work seed of the group, 64 bits; with rollout index and position it fixes all noise."""
    num_rollouts: int
    max_new_tokens: int
    temperature: float = 1.0
    """0 is greedy; log-probabilities are then those at temperature 1."""
    stop_tokens: tuple[int, ...] = ()
    cut: Cut | None = None
    """What is left of the distribution; None: all of it. Log-probabilities are those of what is left."""
    allowed: Allowed | None = None
    """The only tokens to sample, at every place; None: all of the vocabulary. What a cut leaves is of these."""
    ending: Ending | None = None
    """What else ends a completion; the token by which it does is the last."""
    steering: Steering | None = None
    """What else bends the logits, before temperature and cut; log-probabilities are those of what is sampled from."""
    adapter: str | None = None
    """The engine's name for the adapter to sample with; None: the loaded weights as they are."""
    salt: str | None = None
    """Whose prompt it is: of those with the same salt, an engine may keep what it read of one for the next that begins
    alike. None: it is shared with nobody. It changes how long reading takes, never what is sampled."""
    draft: tuple[int, ...] = ()
    """Guessed tokens of the answer. Where they are what is sampled, several come in one pass; they never change what is
    sampled, and engines without guesses leave them."""
    first_rollout: int = 0
    """Number of the first rollout of this request in its group; the noise is that rollout's."""
    first_position: int = 0
    """Position of the first new token in its rollout, and so for the noise; earlier tokens of it end the prompt."""
    tells_experts: bool = False
    """Whether rollouts say which experts their tokens were sent to; of a model without any they never do."""
    tells_fingerprints: bool = False
    """Whether rollouts bring fingerprints of the activations that they were sampled from; by the exact contract, and of
    engines that show none, they never do."""

    def __post_init__(self) -> None:
        checks = (
            (len(self.prompt) >= 1, "prompt is empty", "at least one token"),
            (0 <= self.seed < 2**64, f"seed is {self.seed}", "an unsigned 64-bit integer"),
            (
                1 <= self.num_rollouts <= MAX_ROLLOUTS,
                f"num_rollouts is {self.num_rollouts}",
                f"1 to {MAX_ROLLOUTS}",
            ),
            (self.max_new_tokens >= 1, f"max_new_tokens is {self.max_new_tokens}", "at least 1"),
            (
                math.isfinite(self.temperature) and 0 <= self.temperature <= MAX_TEMPERATURE,
                f"temperature is {self.temperature}",
                f"0 to {MAX_TEMPERATURE}",
            ),
            (self.cut is None or not self.cut.fault, self.cut and self.cut.fault, "another cut"),
            (
                self.cut is None or self.temperature > 0,
                "temperature is 0 and there is a cut",
                "no cut: the likeliest token is always left",
            ),
            (
                self.allowed is None or len(self.allowed.tokens) > 0,
                "no token is allowed",
                "at least one",
            ),
            (
                0 <= self.first_rollout < 2**31 and 0 <= self.first_position < 2**31,
                f"first_rollout is {self.first_rollout}, first_position {self.first_position}",
                "31-bit integers from 0 up",
            ),
            (
                len(self.stop_tokens) <= MAX_STOPS,
                f"{len(self.stop_tokens)} stop tokens",
                f"at most {MAX_STOPS}",
            ),
        )
        for holds, got, expected in checks:
            if not holds:
                raise InvalidRequest(f"request {self.key!r:.80}: {got}; expected {expected}")
