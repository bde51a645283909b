"""Streams that go on over another line: what they had said is told again there, and nothing of it is drawn anew.

Parts: `Retold` (what each had said; the guesses by which many of its tokens are read in one pass), `Retelling` (a
generation that tells it). Law: caches are those of the steps that were made before, bit for bit; so what comes after is
what would have come, and where a processor of another kind makes other bits, the text goes on all the same.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from archipel.engine.capacity import Capacity
from archipel.engine.drafts import ROWS, Drafts
from archipel.engine.generation import Generation
from archipel.engine.guessing import Owner
from archipel.engine.machinery import Network
from archipel.engine.protocol import Ticket

Said = tuple[int, float]
"""A token, and its log-probability in nats."""


class Retold(Drafts):
    """Of the streams that came from another line."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[Owner, Sequence[Said]] = {}
        self._num_told: dict[Owner, int] = {}

    def keep(self, ticket: Ticket, said: Sequence[Sequence[Said]]) -> None:
        """What each rollout of a request had said."""
        for rollout, each in enumerate(said):
            if each:
                self._said[ticket, rollout], self._num_told[ticket, rollout] = tuple(each), 0

    def forget(self, ticket: Ticket) -> None:
        """Nothing of this request is told any more."""
        self._end([owner for owner in self._said if owner[0] == ticket])

    def of(self, owners: Sequence[Owner]) -> list[Sequence[int]]:
        """What each sequence had said next, but for the last of it: that comes out of the pass."""
        telling = sum(owner in self._said for owner in owners)
        found: list[Sequence[int]] = [()] * len(owners)
        for place, owner in enumerate(owners):
            if owner in self._said:
                first = self._num_told[owner]
                end = min(first + max(ROWS // telling, 1), len(self._said[owner]) - 1)
                found[place] = [token for token, _ in self._said[owner][first:end]]
        return found

    def over(
        self, owners: Sequence[Owner], tokens: np.ndarray, logprobs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What was drawn for these, and in its place what they had said."""
        for row, owner in enumerate(owners):
            if owner in self._said:
                tokens[row], logprobs[row] = self._said[owner][self._num_told[owner]]
        return tokens, logprobs

    def took(self, owners: Sequence[Owner], tokens: Sequence[int]) -> None:
        """Each of these sequences got a token."""
        del tokens
        for owner in owners:
            if owner in self._said:
                self._num_told[owner] += 1
                if self._num_told[owner] == len(self._said[owner]):
                    self._end([owner])

    def end(self, owners: Iterable[Owner]) -> None:
        """These sequences are no more."""
        self._end(owners)

    def clear(self) -> None:
        """No sequence is any more."""
        self._said, self._num_told = {}, {}

    def _end(self, owners: Iterable[Owner]) -> None:
        for owner in owners:
            self._said.pop(owner, None)
            self._num_told.pop(owner, None)


class Retelling(Generation):
    """A generation in which streams may go on that began elsewhere."""

    def __init__(self, capacity: Capacity, network: Network, retold: Retold) -> None:
        self._retold = retold
        super().__init__(capacity, network, retold)

    def _sample(self, logits: Tensor, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tokens, logprobs = super()._sample(logits, slots)
        owners = [self._slots.owner[slot] for slot in slots.tolist()]
        return self._retold.over(owners, tokens, logprobs)
