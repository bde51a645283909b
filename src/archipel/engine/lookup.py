"""Guesses that need no model: what followed when the same few tokens were there before.

Parts: `Given` (an answer that came with the request), `LookUp` (prompt and answer so far; a `guessing.Drafter`). Source: A.
Saxena, "Prompt lookup decoding" (2023). Law: pure, and a token is looked at a fixed number of times.
"""

from collections.abc import Sequence

from archipel.engine.guessing import Owner, Running

LENGTHS = (4, 3, 2)
"""Tokens that must be alike, the most first."""


class Places:
    """Where in a text that grows the same tokens ended before."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._done = 0

    def read(self, tokens: Sequence[int]) -> None:
        """Take what has been added, but for its end, of which nothing is known yet."""
        for end in range(max(1, self._done), len(tokens)):
            for length in LENGTHS:
                if length <= end:
                    self._after[tuple(tokens[end - length : end])] = end
        self._done = len(tokens)

    def find(self, tokens: Sequence[int]) -> int | None:
        """What came after the last tokens of these begins here; None: they are new."""
        for length in LENGTHS:
            if length <= len(tokens):
                place = self._after.get(tuple(tokens[-length:]))
                if place is not None:
                    return place
        return None


class Given:
    """A draft, and where in it the answer is."""

    def __init__(self, draft: Sequence[int]) -> None:
        self._draft, self._next = draft, 0
        self._last: list[int] = []
        self._places: Places | None = None

    def took(self, token: int) -> None:
        """The answer went on."""
        self._last = [*self._last, token][-max(LENGTHS) :]
        if self._next < len(self._draft) and self._draft[self._next] == token:
            self._next += 1
            return
        if self._places is None:
            self._places = Places()
            self._places.read(self._draft)
        found = self._places.find(self._last)
        self._next = len(self._draft) if found is None else found

    def next(self, most: int) -> Sequence[int]:
        """What comes next in it."""
        return self._draft[self._next : self._next + most]


class LookUp:
    """Guesses from what was said."""

    price = 0.0
    """See `guessing.Drafter`: next to nothing."""

    def __init__(self) -> None:
        self._places: dict[Owner, Places] = {}

    def propose(self, wanted: Sequence[tuple[Running, int]]) -> list[Sequence[int]]:
        """See `guessing.Drafter`."""
        return [self._one(running, most) for running, most in wanted]

    def end(self, owner: Owner) -> None:
        """See `guessing.Drafter`."""
        self._places.pop(owner, None)

    def _one(self, running: Running, most: int) -> Sequence[int]:
        places, said = self._places.setdefault(running.owner, Places()), running.said
        places.read(said)
        start = places.find(said)
        if start is None:
            return ()
        guess: list[int] = []
        for place in range(start, start + most):
            # What repeats itself goes on doing so.
            guess.append(said[place] if place < len(said) else guess[place - len(said)])
        return guess
