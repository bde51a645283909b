"""What is scored after a prompt: one rollout, or each sample of an episode whose context was told anew.

Parts: `Branch`, `branches_of`, `num_valid`. Law: every sampled token is scored once, after the context that it was
sampled from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from archipel.records.episodes import SAMPLED
from archipel.records.rollouts import Rollout
from archipel.records.samples import samples_of

MAX_LOGPROB = 1e-3
"""A log-probability may exceed 0 by rounding only; more than this is not a probability."""


@dataclass(frozen=True)
class Branch:
    """Tokens to be scored after a prompt, with what the loss wants to know of them."""

    tokens: tuple[int, ...]
    behaviour_logprobs: tuple[float, ...]
    advantage: float
    weight: float = 1.0
    """Factor on the loss of each of its tokens."""
    sampled: bytes | None = None
    """Per token, 1 if it is scored; others are only read. None: all are scored."""
    experts: bytes | None = None
    """Where each of its tokens but the last was sent when it was sampled (`records.experts`); None: nobody says."""
    together: int | None = None
    """Valid tokens of all samples of the episode that it is one of; None: it is all of it."""
    stands: bool = True
    """Whether it stands for its episode where completions are counted."""

    @property
    def scored(self) -> Sequence[int]:
        """Places of the tokens that are scored."""
        if self.sampled is None:
            return range(len(self.tokens))
        return [place for place, mark in enumerate(self.sampled) if mark == SAMPLED]


def usable(logprob: float) -> bool:
    """Whether a recorded behaviour log-probability can stand in a ratio."""
    return math.isfinite(logprob) and logprob <= MAX_LOGPROB


def num_valid(branch: Branch) -> int:
    """Its sampled tokens with a usable behaviour log-probability."""
    return sum(usable(branch.behaviour_logprobs[place]) for place in branch.scored)


def branches_of(
    prompt: tuple[int, ...], rollout: Rollout, advantage: float, experts: bytes | None = None
) -> list[tuple[tuple[int, ...], Branch]]:
    """(prompt, what follows it) of each sample of a rollout; those of one episode count as one completion.

    experts: of its own tokens, where there is one sample.
    """
    found = []
    for each in samples_of(prompt, rollout):
        own = each.rollout
        branch = Branch(own.tokens, own.logprobs, advantage, 1.0, own.sampled, experts)
        found.append((each.prompt, branch))
    if len(found) == 1:
        return found
    numbers = [num_valid(branch) for _, branch in found]
    standing = next((place for place, number in enumerate(numbers) if number), 0)
    return [
        (own, replace(branch, together=sum(numbers), stands=place == standing))
        for place, (own, branch) in enumerate(found)
    ]
