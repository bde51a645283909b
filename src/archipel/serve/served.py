"""A model that is served: its folder, tokenizer and desk; from questions to what streams back.

Parts: `Served`, `serve_folder`, `Answer` (one question under way). Law: a question that is refused was never given
to the desk; one whose answer nobody reads any more leaves it at once.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import torch

from archipel.engine.engine import EngineLimits
from archipel.engine.protocol import Event
from archipel.engine.quantised.arithmetic import Weights
from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.pieces import NoPieces, Pieces
from archipel.model.stop_strings import StopStrings
from archipel.model.tokenizer import Tokenizer, UnknownText
from archipel.model.tool_calls import format_of
from archipel.records.cuts import Cut
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.asked import Told
from archipel.serve.calls import parted
from archipel.serve.checks import check_settings, check_tools
from archipel.serve.desk import Desk, Listener, Room
from archipel.serve.grammar import Grammars
from archipel.serve.loading import load
from archipel.serve.question import (
    BadQuestion,
    Call,
    DeadEnd,
    Ended,
    NotOffered,
    Question,
    Refusal,
    Said,
    Settings,
    Token,
    TookTooLong,
    TooLong,
    Why,
)
from archipel.serve.steering import Steered, steering_of
from archipel.serve.voice import Voice, voice_of
from archipel.work.folders import NAME, Folder

MAX_SEED = 2**64
MAX_UNREAD = 8192
"""Steps of an answer that its reader may lag behind, beyond what the connection holds."""


@dataclass(frozen=True, eq=False)
class Served:
    """One model, ready."""

    name: str
    tokenizer: Tokenizer
    desk: Desk
    grammars: Grammars
    positions: int
    """Its context, as far as the cache holds it."""
    usual_tokens: int
    """Of an answer at most, where the question names no limit: the cache is shared by all that are under way."""
    adapter: str | None
    """What the engine calls the adapter to sample with."""
    fingerprint: str
    """Names what answers depend on: engine, precision, threads, version of torch."""
    since: int
    """Unix seconds."""

    async def ask(self, question: Question, key: str, now: datetime) -> "Answer":
        """See `asked.Asked.ask`."""
        prompt = self.prompt_of(question, now)
        answer = Answer(self, question, self._request(question.settings, prompt), key)
        self.desk.ask(answer.listener)
        return answer

    async def count(self, question: Question, now: datetime) -> int:
        """See `asked.Asked.count`."""
        return len(self.prompt_of(question, now))

    @property
    def chat_template(self) -> str | None:
        """See `asked.Asked.chat_template`."""
        return self.tokenizer.chat_template

    def counts(self) -> Mapping[str, int]:
        """See `asked.Asked.counts`."""
        return self.desk.counts()

    def prompt_of(self, question: Question, now: datetime) -> tuple[int, ...]:
        """Token ids that the model goes on from.

        Raises:
            BadQuestion, NotOffered: the template cannot render it, or there is none.
        """
        check_tools(question)
        try:
            if not question.messages:
                return tuple(self.tokenizer.encode_prompt(question.text))
            if self.tokenizer.chat_template is None:
                raise NotOffered(
                    f"{self.name} has no chat template, so it takes no messages; ask for a completion of a text",
                    "messages",
                )
            if question.tools and format_of(self.tokenizer.chat_template) == "plain":
                raise NotOffered(
                    f"{self.name}'s chat template knows no tools; leave them out", "tools"
                )
            messages = question.messages
            return tuple(chat_ids(self.tokenizer, messages, now=now, tools=question.tools))
        except (InvalidChat, UnknownText) as error:
            raise BadQuestion(str(error), "messages" if question.messages else "prompt") from None

    @property
    def pieces(self) -> Pieces | None:
        """What each id writes; None: this tokenizer does not put tokens side by side."""
        try:
            return self.tokenizer.pieces
        except NoPieces:
            return None

    def _request(self, settings: Settings, prompt: tuple[int, ...]) -> Request:
        check_settings(settings)
        if not prompt:
            raise BadQuestion("the prompt is empty, and this model's texts have no begin token")
        room = self.positions - len(prompt)
        if room < 1 or (settings.max_new_tokens or 1) > room:
            raise TooLong(
                f"a prompt of {len(prompt)} tokens and {settings.max_new_tokens or 1} new ones are more than the "
                f"context of {self.positions}; shorten one of them",
                "max_tokens" if room >= 1 else "messages",
            )
        greedy, stops = settings.temperature == 0, self.tokenizer.stop_ids
        mask = None if settings.form is None else self.grammars.masks(settings.form)
        cut = Cut(settings.top_k, settings.top_p, settings.min_p)
        try:
            return Request(
                key=self.name,
                prompt=prompt,
                seed=secrets.randbits(64) if settings.seed is None else settings.seed % MAX_SEED,
                num_rollouts=settings.choices,
                max_new_tokens=settings.max_new_tokens or min(room, self.usual_tokens),
                temperature=settings.temperature,
                stop_tokens=stops,
                steering=steering_of(settings.bends, mask, stops),
                cut=None if greedy or not cut.bounds else cut,
                ending=StopStrings.of(settings.stop, self._needed_pieces())
                if settings.stop
                else None,
                adapter=self.adapter,
            )
        except InvalidRequest as error:
            raise BadQuestion(str(error)) from None

    def _needed_pieces(self) -> Pieces:
        try:
            return self.tokenizer.pieces
        except NoPieces as error:
            raise NotOffered(str(error), "stop") from None


@dataclass(eq=False)
class _Choice:
    """One of the answers, as far as it has come."""

    voice: Voice
    num_tokens: int = 0
    text: list[str] = field(default_factory=list)


class Answer:
    """One question under way: iterate over it for what it is told, or leave it."""

    def __init__(self, served: Served, question: Question, request: Request, key: str) -> None:
        self.served, self.question = served, question
        self.num_prompt_tokens = len(request.prompt)
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[list[Event] | Refusal] = asyncio.Queue()
        self._choices = [
            _Choice(voice_of(served.tokenizer, question.settings.stop))
            for _ in range(request.num_rollouts)
        ]
        self.listener = Listener(request, key, self._post, self._post)

    @property
    def num_tokens(self) -> int:
        """Sampled so far."""
        return sum(choice.num_tokens for choice in self._choices)

    async def told(self) -> AsyncIterator[Told]:
        """All that is told of it, to the end of every choice; leaving the iterator leaves the desk.

        Raises:
            Refusal: it could not be answered after all.
        """
        open_choices = len(self._choices)
        try:
            while open_choices:
                got = await self._told.get()
                if isinstance(got, Refusal):
                    raise got
                for event in got:
                    for each in self._heard(event):
                        open_choices -= isinstance(each, Ended)
                        yield each
        finally:
            self.leave()

    def leave(self) -> None:
        """Nobody reads it any more."""
        self.served.desk.leave(self.listener)

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
        choice.num_tokens += 1
        text = choice.voice.say(event.token)
        if event.ended is not None:
            text += choice.voice.end()
        piece = self.served.pieces
        token = Token(event.token, piece[event.token] if piece else text.encode(), event.logprob)
        choice.text.append(text)
        said = Said(event.rollout, text, (token,))
        if event.ended is None:
            return [] if self.question.tools else [said]  # whether it calls is known at its end
        return self._whole(event, choice, said)

    def _whole(self, event: Event, choice: _Choice, said: Said) -> list[Told]:
        steering = self.listener.request.steering
        if isinstance(steering, Steered) and event.rollout in steering.faults:
            raise DeadEnd(steering.faults[event.rollout], "response_format")
        why: Why = "stop" if event.ended is not None and event.ended.finished else "length"
        calls: tuple[Call, ...] = ()
        if self.question.tools:
            form = format_of(self.served.tokenizer.chat_template)
            text, calls = parted("".join(choice.text), form, self.question.tools)
            said = Said(event.rollout, text)
            why = "tool_calls" if calls else why
        return [said, Ended(event.rollout, why, choice.num_tokens, calls)]


@dataclass(frozen=True)
class How:
    """How a model is served."""

    name: str
    limits: EngineLimits = field(default_factory=EngineLimits)
    room: Room = field(default_factory=Room)
    usual_tokens: int = 1024
    weights: Weights | Literal["auto"] = "auto"
    """What the weights are held as; auto: what this machine is quickest with, without rounding more than bf16 does."""


def serve_folder(folder: Folder, how: How, now: datetime) -> Served:
    """Load a model directory and begin to answer.

    Raises:
        InvalidModel, InvalidTokenizer: it cannot be used, or is computed by another library than this one.
    """
    tokenizer = Tokenizer.from_directory(folder.model)
    loaded = load(folder, how.weights, how.limits)
    return Served(
        name=how.name,
        tokenizer=tokenizer,
        desk=Desk(loaded.engine, how.room),
        grammars=Grammars(tokenizer, loaded.config.vocab_size),
        positions=loaded.engine.longest,
        usual_tokens=how.usual_tokens,
        adapter=NAME if folder.adapter is not None else None,
        fingerprint=f"archipel-{loaded.weights}-{torch.get_num_threads()}t-torch{torch.__version__}",
        since=round(now.timestamp()),
    )
