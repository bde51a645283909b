"""Start-up self-test: do tokens and log-probabilities depend on what else is in the batch?

The property rests on how this machine's BLAS orders its sums, so it is measured, for the weights
that are loaded, and reported in a node's capabilities instead of being assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.engine.noise import random_tokens
from archipel.engine.protocol import Engine
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout

_PROMPT_LENGTHS = (3, 8, 21, 150, 220)
_NEW_TOKENS = (6, 24, 5, 60, 24)
_GROUP_SIZES = (1, 8, 2, 2, 3)
"""Sizes and lengths that make batches grow, shrink and cross window boundaries; the last two meet
where BLAS begins to split its sums."""


@dataclass(frozen=True)
class SelfTestReport:
    """What was compared and what differed."""

    batch_invariant: bool
    num_completions: int
    """Comparisons made; never zero."""
    num_different_tokens: int
    """Completions whose tokens changed with their company."""
    num_different_logprobs: int
    """Completions with the same tokens but other log-probabilities, bit for bit."""


def self_test(engine: Engine, vocab_size: int, max_positions: int, seed: int = 0) -> SelfTestReport:
    """Compare each group alone with the same group in larger batches and other orders.

    Takes a fraction of a second for a tiny model; some 300 steps and 3000 tokens through any model.
    `max_positions` is what prompt and completion may be long together.
    """
    requests = _requests(vocab_size, max_positions, seed)
    alone = [engine.generate([request])[0] for request in requests]
    tokens = logprobs = compared = 0
    for order in _orders(len(requests)):
        together = engine.generate([requests[i] for i in order])
        for i, group in zip(order, together, strict=True):
            for one, other in zip(alone[i], group, strict=True):
                compared += 1
                tokens += one.tokens != other.tokens
                logprobs += _same_tokens_other_logprobs(one, other)
    return SelfTestReport(tokens + logprobs == 0, compared, tokens, logprobs)


def _requests(vocab_size: int, max_positions: int, seed: int) -> list[Request]:
    requests = []
    shapes = zip(_PROMPT_LENGTHS, _NEW_TOKENS, _GROUP_SIZES, strict=True)
    for index, (prompt_length, num_new, group_size) in enumerate(shapes):
        length = max(1, min(prompt_length, max_positions // 2))
        requests.append(
            Request(
                key=f"self-test-{index}",
                prompt=random_tokens(seed, index, length, vocab_size),
                seed=seed + index,
                num_rollouts=group_size,
                max_new_tokens=max(1, min(num_new, max_positions - length)),
            )
        )
    return requests


def _orders(count: int) -> Sequence[tuple[int, ...]]:
    """All together, all reversed, and pairs of neighbours."""
    everything = tuple(range(count))
    pairs = [(i, i + 1) for i in range(count - 1)]
    return [everything, everything[::-1], *pairs]


def _same_tokens_other_logprobs(one: Rollout, other: Rollout) -> bool:
    return one.tokens == other.tokens and one.logprobs != other.logprobs
