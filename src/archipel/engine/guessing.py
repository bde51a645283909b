"""Who guesses tokens, and of what: a `Drafter` is told of a `Running` sequence; `lookup` and `draft_model` are two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from archipel.engine.protocol import Ticket
from archipel.records.requests import Request

Owner = tuple[Ticket, int]


@dataclass(eq=False)
class Running:
    """A sequence that is sampled."""

    owner: Owner
    request: Request
    said: list[int]
    """Prompt and answer so far."""

    @property
    def num_new(self) -> int:
        """Tokens of the answer so far."""
        return len(self.said) - len(self.request.prompt)

    @property
    def left(self) -> int:
        """Tokens that may still come."""
        return self.request.max_new_tokens - self.num_new


class Drafter(Protocol):
    """Who guesses."""

    @property
    def price(self) -> float:
        """Of one guessed token, in steps of the model that it is guessed for."""

    def propose(self, wanted: Sequence[tuple[Running, int]]) -> list[Sequence[int]]:
        """For each sequence what may come next, at most so many tokens; it may be none."""

    def end(self, owner: Owner) -> None:
        """Nothing more is sampled of it."""
