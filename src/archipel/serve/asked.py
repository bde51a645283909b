"""What the door asks of whatever answers: one model, a pool of devices, a cascade or a router of several.

Parts: `Asked`, `Answering` (one question under way), `Reads` (what some of them do beside that). `served.Served` is the one that drives an engine itself.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from archipel.serve.question import Ended, Question, Said
from archipel.serve.texts import Embedded, Text, Weighed, Weighing

Told = Said | Ended


@dataclass(frozen=True)
class About:
    """What a model is, for whoever looks; empty and 0 where it is not known."""

    family: str = ""
    num_parameters: int = 0
    num_bytes: int = 0
    """Of its weights on disk."""
    precision: str = ""
    """Of its weights in memory."""
    dimensions: int = 0
    """Of its hidden states."""
    base: str = ""
    """Of an adapter: the name of what it lies over."""


class Answering(Protocol):
    """One question under way: iterate over `told` for what it is told, or leave it."""

    @property
    def question(self) -> Question:
        """What was asked."""

    @property
    def num_prompt_tokens(self) -> int:
        """Of what the model read."""

    @property
    def num_tokens(self) -> int:
        """Sampled so far."""

    def told(self) -> AsyncIterator[Told]:
        """All that is told of it, to the end of every choice; leaving the iterator ends the work on it.

        Raises:
            Refusal: it could not be answered after all.
        """

    def leave(self) -> None:
        """Nobody reads it any more: nothing more is computed for it. May be called again, and after its end."""


class Asked(Protocol):
    """Something that answers to a name. All of it is called on the event loop, and holds it up for no time."""

    @property
    def name(self) -> str:
        """What clients call it."""

    @property
    def since(self) -> int:
        """Unix seconds: since when it is here."""

    @property
    def fingerprint(self) -> str:
        """Names what answers depend on, beside the question."""

    @property
    def positions(self) -> int:
        """Tokens that a prompt and its answer may have together."""

    @property
    def chat_template(self) -> str | None:
        """How messages become a prompt; None: it goes on with texts alone."""

    def counts(self) -> Mapping[str, int]:
        """Questions that wait and sequences that run, for health and metrics."""

    async def ask(self, question: Question, key: str, now: datetime) -> Answering:
        """Begin with a question; `key`: whose it is, for fair turns; now: what templates may say.

        Raises:
            Refusal: it makes no sense, is too long, or too much is waiting.
        """

    async def count(self, question: Question, key: str, now: datetime) -> int:
        """Tokens of its prompt; `key`: see `ask`.

        Raises:
            Refusal: it makes no sense.
        """


@runtime_checkable
class HasWeights(Protocol):
    """Something with weights of its own."""

    async def digest(self) -> str:
        """Of them; "" as long as it is not known, since it takes a reading of all of them."""


@runtime_checkable
class Reads(Protocol):
    """Something that reads texts without sampling an answer."""

    async def embed(self, text: Text, key: str, *, is_cut: bool = False) -> Embedded:
        """What the model makes of a text. is_cut: of one that is too long, as far as it can be read.

        Raises:
            Refusal: it is empty or too long, or too much is waiting.
        """

    async def weigh(self, weighing: Weighing, key: str, now: datetime) -> Weighed:
        """How likely each of some answers is.

        Raises:
            Refusal: the question makes no sense, is too long, or too much is waiting.
        """
