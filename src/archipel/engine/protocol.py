"""What an engine is asked and what it answers.

Parts: `Request`, `Completion`, the `Engine` protocol, the errors that name who is to blame.
Law: a completion is a pure function of (weights, prompt, seed, rollout index, settings of the
request); which other requests were there, and in which order they came, changes nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

MAX_ROLLOUTS = 4096
"""Completions of one prompt."""
MAX_STOP_TOKENS = 64
MAX_TEMPERATURE = 100.0


class InvalidRequest(ValueError):
    """The request cannot be served by this model and cache; nothing was generated."""


class WrongWeights(ValueError):
    """The state is not that of this engine's architecture."""


class NotLoaded(RuntimeError):
    """`generate` was called before `load`."""


class NonFiniteLogits(ArithmeticError):
    """The weights produce NaN or infinity; nothing sampled from them would mean anything."""


@dataclass(frozen=True)
class Request:
    """One group: rollouts of one prompt."""

    key: str
    """The caller's name for it; the engine never reads it."""
    prompt: tuple[int, ...]
    seed: int
    """Work seed of the group, 64 bits; with rollout index and position it fixes all noise."""
    num_rollouts: int
    max_new_tokens: int
    temperature: float = 1.0
    """0 is greedy; log-probabilities are then those at temperature 1."""
    stop_tokens: tuple[int, ...] = ()

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
            (
                len(self.stop_tokens) <= MAX_STOP_TOKENS,
                f"{len(self.stop_tokens)} stop tokens",
                f"at most {MAX_STOP_TOKENS}",
            ),
        )
        for holds, got, expected in checks:
            if not holds:
                raise InvalidRequest(f"request {self.key!r:.80}: {got}; expected {expected}")


@dataclass(frozen=True)
class Completion:
    """One rollout."""

    tokens: tuple[int, ...]
    """Sampled tokens; a stop token that ended the rollout is the last of them."""
    logprobs: tuple[float, ...]
    """Nats, one per token, under the full temperature-scaled distribution."""
    finished: bool
    """Ended by a stop token, not by `max_new_tokens`."""


class Engine(Protocol):
    """Tokens into tokens."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take new weights of the same architecture, keyed by Hugging Face names."""

    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Serve every request; one tuple of `num_rollouts` completions each, in request order.

        `on_progress` is told the number of tokens sampled so far, after every step.
        """
