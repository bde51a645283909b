"""What a door counts: requests, tokens, and how long people wait for them. Sums alone; whose or what they were is not kept.

Parts: `Spread` (a histogram), `Tally`, `watched` (an answer, timed and bounded).
"""

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import AsyncGenerator

from archipel.serve.asked import Answering
from archipel.serve.question import Ended, Refusal, Said, TookTooLong

FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BETWEEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0)
RECENT_S = 10
"""Tokens a second are those of so many seconds."""


class Spread:
    """How many of some durations were at most so long."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def note(self, duration_s: float) -> None:
        """One more."""
        self._counts[bisect_left(self.bounds_s, duration_s)] += 1
        self.sum_s += duration_s

    def rows(self) -> list[tuple[float, int]]:
        """(bound in seconds, how many were at most that), up to infinity."""
        rows, seen = [], 0
        for bound, count in zip((*self.bounds_s, float("inf")), self._counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return rows


class Tally:
    """Of one door, since it opened."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """By route, as it was declared, and status."""
        self.refusals: Counter[str] = Counter()
        """By kind, those in the middle of a stream too."""
        self.first, self.between = Spread(FIRST_S), Spread(BETWEEN_S)
        """Seconds from a question to its first token, and from one of a choice to its next."""
        self.num_tokens = self.num_prompt_tokens = 0
        self._recent: deque[tuple[int, int]] = deque(maxlen=RECENT_S + 1)
        """(second, tokens in it)."""

    def sampled(self, num_tokens: int, now_s: float) -> None:
        """So many more."""
        self.num_tokens += num_tokens
        second = int(now_s)
        if self._recent and self._recent[-1][0] == second:
            num_tokens += self._recent.pop()[1]
        self._recent.append((second, num_tokens))

    def tokens_per_s(self, now_s: float) -> float:
        """Of the last whole seconds."""
        recent = range(int(now_s) - RECENT_S, int(now_s))
        return sum(num for second, num in self._recent if second in recent) / RECENT_S


async def watched(
    answer: Answering, tally: Tally, asked_s: float, timeout_s: float
) -> AsyncGenerator[Said | Ended, None]:
    """What an answer is told, counted. asked_s: of the event loop's clock; the answer is whole `timeout_s` after it.

    Raises:
        TookTooLong: it is not. Refusal: it could not be answered after all.
    """
    last_s: dict[int, float] = {}
    num_tokens, clock = 0, asyncio.get_running_loop().time
    tally.num_prompt_tokens += answer.num_prompt_tokens
    stream = answer.told()
    try:
        while True:
            try:
                async with asyncio.timeout_at(asked_s + timeout_s):
                    told = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TookTooLong(
                    f"the answer was not whole within {timeout_s:.0f} s, after {answer.num_tokens} tokens; ask for "
                    "fewer, or serve with a longer --timeout"
                ) from None
            now_s = clock()
            if answer.num_tokens > num_tokens:
                tally.sampled(answer.num_tokens - num_tokens, now_s)
                num_tokens = answer.num_tokens
            if isinstance(told, Said):
                if not last_s:
                    tally.first.note(now_s - asked_s)
                if told.choice in last_s:
                    tally.between.note(now_s - last_s[told.choice])
                last_s[told.choice] = now_s
            yield told
    finally:
        answer.leave()


def refused(tally: Tally, why: Refusal) -> None:
    """One more of its kind."""
    tally.refusals[type(why).__name__] += 1
