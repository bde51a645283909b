"""Tokens that may come next, guessed before they are sampled: whose turn it is to guess, and how many.

Parts: `Drafts`; who guesses is a `guessing.Drafter`. A guess is read beside the
last token in one pass, and as much of it stands as is sampled anyway: the sampler is a function of (seed, position,
logits), so nothing about the answer hangs on it. Leviathan et al., "Fast inference from transformers via speculative
decoding" (2023), accept by chance; here a draw is fixed, and equality decides.
Laws: guesses change how long a token takes, never a bit of it; what did not stand lately is guessed less (`pace`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from archipel.engine.guessing import Drafter, Owner, Running
from archipel.engine.lookup import Given
from archipel.engine.pace import Pace
from archipel.records.requests import Request

ROWS = 64
"""That one pass has at most, guesses and last tokens together."""
GIVEN, GUESSED = 0.98, 0.7
"""How likely a token is to stand, as long as nothing is known: of a draft that came with the request, of a drafter."""


@dataclass(eq=False)
class _Drafted:
    running: Running
    given: Given | None
    given_pace: Pace = field(default_factory=lambda: Pace(GIVEN))
    pace: Pace = field(default_factory=lambda: Pace(GUESSED))
    pending: tuple[Pace, int] | None = None
    """Whose guess is being read, and its length."""


class Drafts:
    """Of the sequences that run and for which anybody guesses."""

    def __init__(self, drafter: Drafter | None = None) -> None:
        self._drafter = drafter
        self._held: dict[Owner, _Drafted] = {}
        self.num_guessed = self.num_stood = self.num_passes = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """See `LocalEngine.counts`."""
        return {
            "tokens_guessed": self.num_guessed,
            "guesses_stood": self.num_stood,
            "passes_with_guesses": self.num_passes,
        }

    def begin(self, owner: Owner, request: Request) -> None:
        """Its prompt has been read."""
        if self._drafter is None and not request.draft:
            return
        given = Given(request.draft) if request.draft else None
        self._held[owner] = _Drafted(Running(owner, request, list(request.prompt)), given)

    def took(self, owners: Sequence[Owner], tokens: Sequence[int]) -> None:
        """Each of these sequences got a token."""
        if not self._held:
            return
        for owner, token in zip(owners, tokens, strict=True):
            held = self._held.get(owner)
            if held is not None:
                held.running.said.append(token)
                if held.given is not None:
                    held.given.took(token)

    def end(self, owners: Iterable[Owner]) -> None:
        """These sequences are no more."""
        for owner in owners:
            if self._held.pop(owner, None) is not None and self._drafter is not None:
                self._drafter.end(owner)

    def clear(self) -> None:
        """No sequence is any more."""
        self.end(list(self._held))

    def of(self, owners: Sequence[Owner]) -> list[Sequence[int]]:
        """For each sequence that runs, what may come next; most often nothing."""
        found: list[Sequence[int]] = [()] * len(owners)
        if not self._held:
            return found
        asking: list[tuple[int, _Drafted, int]] = []
        for place, owner in enumerate(owners):
            held = self._held.get(owner)
            if held is None:
                continue
            most = min(ROWS // len(owners) - 1, held.running.left - 1)
            if most < 1:
                continue
            found[place] = _from_given(held, most, len(owners))
            if not found[place] and self._drafter is not None:
                length = min(most, held.pace.length(len(owners), self._drafter.price))
                if length:
                    asking.append((place, held, length))
        self._ask(asking, found)
        self.num_passes += any(found)
        self.num_guessed += sum(map(len, found))
        return found

    def _ask(self, asking: Sequence[tuple[int, _Drafted, int]], found: list[Sequence[int]]) -> None:
        if self._drafter is None or not asking:
            return
        wanted = [(held.running, length) for _, held, length in asking]
        for (place, held, _), guess in zip(asking, self._drafter.propose(wanted), strict=True):
            found[place] = guess
            if guess:
                held.pending = (held.pace, len(guess))

    def stood(self, owners: Sequence[Owner], counts: Sequence[int]) -> None:
        """So many of the tokens that were guessed for each of these were sampled."""
        for owner, count in zip(owners, counts, strict=True):
            self.num_stood += count
            held = self._held.get(owner)
            if held is not None and held.pending is not None:
                pace, length = held.pending
                pace.tell(length, count)
                held.pending = None


def _from_given(held: _Drafted, most: int, running: int) -> Sequence[int]:
    if held.given is None:
        return ()
    guess = held.given.next(min(most, held.given_pace.length(running)))
    if guess:
        held.pending = (held.given_pace, len(guess))
    return guess
