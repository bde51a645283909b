"""One question under way at a desk: from the tokens that are sampled to what is told of it.

Parts: `Answer`. Law: one whose answer nobody reads any more leaves the desk at once; what is told piece by piece is
what is told at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from archipel.engine.protocol import Event
from archipel.model.pieces import NoPieces, Pieces
from archipel.model.tokenizer import Tokenizer
from archipel.model.tool_calls import format_of
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.serve.asked import Told
from archipel.serve.calls import Parting
from archipel.serve.desk import Desk
from archipel.serve.origin import Origin
from archipel.serve.question import (
    Call,
    DeadEnd,
    Ended,
    Question,
    Refusal,
    Said,
    Token,
    TookTooLong,
    Why,
)
from archipel.serve.queues import Listener
from archipel.serve.steering import Steered
from archipel.serve.voice import Voice, voice_of

MAX_UNREAD = 8192
"""Steps of an answer that its reader may lag behind, beyond what the connection holds."""


@dataclass(eq=False)
class _Choice:
    """One of the answers, as far as it has come."""

    voice: Voice
    parting: Parting | None
    """Where tools are offered."""
    num_tokens: int = 0


@dataclass(frozen=True)
class Asking:
    """A question that makes sense, as the desk is given it."""

    question: Question
    request: Request
    stops: tuple[str, ...]
    """Texts of which none is said."""


class Answer:
    """See `asked.Answering`."""

    def __init__(
        self,
        asking: Asking,
        tokenizer: Tokenizer,
        desk: Desk,
        key: str,
        origin: Origin | None = None,
    ) -> None:
        """origin: what its bits come from, where they can be repeated."""
        self.question, self._desk, self._tokenizer = asking.question, desk, tokenizer
        request, tools = asking.request, asking.question.tools
        self.request, self.origin, self.key = request, origin, key
        self.rollouts: dict[int, Rollout] = {}
        """By choice, as each is whole."""
        self.when_whole: Callable[[], None] = lambda: None
        """Called once all are, before the last word of it is told."""
        self.when_left: Callable[[], None] = lambda: None
        """Called once, when nobody reads it any more; by its end, or before."""
        self.has_failed = False
        """The server could not answer after all."""
        self.num_prompt_tokens = len(request.prompt)
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[list[Event] | Refusal] = asyncio.Queue()
        self._pieces = _pieces_of(tokenizer)
        form = format_of(tokenizer.chat_template)
        self._choices = [
            _Choice(voice_of(tokenizer, asking.stops), Parting(form, tools) if tools else None)
            for _ in range(request.num_rollouts)
        ]
        self.listener = Listener(request, key, self._post, self._post)

    @property
    def most_tokens(self) -> int:
        """That prompt and choices may have together."""
        return self.num_prompt_tokens + self.request.num_rollouts * self.request.max_new_tokens

    @property
    def num_tokens(self) -> int:
        """Sampled so far."""
        return sum(choice.num_tokens for choice in self._choices)

    async def told(self) -> AsyncIterator[Told]:
        """See `asked.Answering.told`."""
        open_choices = len(self._choices)
        try:
            while open_choices:
                got = await self._told.get()
                if isinstance(got, Refusal):
                    raise got
                for event in got:
                    for each in self._heard(event):
                        open_choices -= isinstance(each, Ended)
                        if not open_choices:
                            self.when_whole()
                        yield each
        except Refusal:
            self.has_failed = True
            raise
        finally:
            self.leave()

    def leave(self) -> None:
        """Nobody reads it any more."""
        self._desk.leave(self.listener)
        left, self.when_left = self.when_left, lambda: None
        left()

    def _post(self, what: list[Event] | Refusal) -> None:
        """From the desk's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._take, what)

    def _take(self, what: list[Event] | Refusal) -> None:
        """Kept until it is read; whoever does not read is hung up on, and costs no more memory than that."""
        if self._told.qsize() < MAX_UNREAD:
            self._told.put_nowait(what)
        elif not self.listener.has_left:
            self._told.put_nowait(TookTooLong(f"{MAX_UNREAD} steps of this answer were not read"))
            self.leave()

    def _heard(self, event: Event) -> list[Told]:
        choice = self._choices[event.rollout]
        text = choice.voice.say(event.token)
        if event.ended is not None:
            text += choice.voice.end()
        token = self._token(event, choice.num_tokens, text)
        choice.num_tokens += 1
        if choice.parting is not None:
            text = choice.parting.say(text)
        if event.ended is None:
            return [Said(event.rollout, text, (token,))]
        return self._whole(event, choice, text, token)

    def _whole(self, event: Event, choice: _Choice, text: str, token: Token) -> list[Told]:
        steering = self.listener.request.steering
        if isinstance(steering, Steered) and event.rollout in steering.faults:
            raise DeadEnd(steering.faults[event.rollout], "response_format")
        why: Why = "stop" if event.ended is not None and event.ended.finished else "length"
        calls: tuple[Call, ...] = ()
        if choice.parting is not None:
            rest, calls = choice.parting.end()
            text, why = text + rest, "tool_calls" if calls else why
        if event.ended is not None:
            self.rollouts[event.rollout] = event.ended
        said = Said(event.rollout, text, (token,))
        return [said, Ended(event.rollout, why, choice.num_tokens, calls)]

    def _token(self, event: Event, place: int, text: str) -> Token:
        steering = self.listener.request.steering
        noted = steering.tops.get(event.rollout, []) if isinstance(steering, Steered) else []
        top = noted[place] if place < len(noted) else ()
        alike = tuple(Token(each, self._piece(each, ""), logprob) for each, logprob in top)
        return Token(event.token, self._piece(event.token, text), event.logprob, alike)

    def _piece(self, token: int, text: str) -> bytes:
        """What it writes; text: by a tokenizer that does not put tokens side by side."""
        if self._pieces is not None:
            return self._pieces[token] if token < len(self._pieces) else b""
        return (text or self._tokenizer.decode([token])).encode()


def _pieces_of(tokenizer: Tokenizer) -> Pieces | None:
    try:
        return tokenizer.pieces
    except NoPieces:
        return None
