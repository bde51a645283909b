"""Whose turn it is, by parts that have weights: start-time fair queueing. Pure.

Source: Goyal, Vin and Cheng, SIGCOMM 1996. Law: of two that always wait, neither is ahead of what its share gives it by
more than one grant of each; who was away has nothing saved up, and owes nothing for what others got meanwhile.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

Party = TypeVar("Party", bound=object)


class Shares(Generic[Party]):
    """What each party got so far, over its weight."""

    def __init__(self) -> None:
        self._got: dict[Party, float] = {}
        self._now = 0.0
        """Where whoever was granted something last had begun."""

    def next(self, waiting: Mapping[Party, int]) -> Party:
        """Who is served now; of equals the first. waiting: weights from 1 up of those who want something, one at least."""
        found = min(waiting, key=self._begins)
        self._now = self._begins(found)
        self._got = {each: got for each, got in self._got.items() if got > self._now}
        return found

    def charge(self, party: Party, weight: int, cost: float) -> None:
        """It was given so much: tokens or seconds, for all parties alike."""
        self._got[party] = self._begins(party) + cost / weight

    def _begins(self, party: Party) -> float:
        return max(self._now, self._got.get(party, 0.0))
