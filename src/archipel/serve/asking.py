"""From a question to what the desk is given: its prompt rendered and tokenized, its settings checked, its grammar compiled.

Parts: `Terms` (what a model is asked by), `prompt_of`, `asking_of`. Law: pure but for a fresh seed; takes as long as the
question is, so it runs beside the event loop (`aside`).
"""

import hashlib
import secrets
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.pieces import NoPieces, Pieces
from archipel.model.stop_strings import StopStrings
from archipel.model.tokenizer import Tokenizer, UnknownText
from archipel.model.tool_calls import format_of
from archipel.records.cuts import Cut
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.answer import Asking
from archipel.serve.calls import CLOSES
from archipel.serve.checks import check_settings, check_tools
from archipel.serve.grammar import Grammars
from archipel.serve.question import BadQuestion, Bends, NotOffered, Question, Settings, TooLong
from archipel.serve.steering import Look, Mask, Steered

MAX_SEED = 2**64
MAX_CHARS_PER_TOKEN = 64
"""On the average of a whole text; people's texts have three to five."""


class Terms(Protocol):
    """Of one model."""

    @property
    def name(self) -> str: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def grammars(self) -> Grammars: ...
    @property
    def positions(self) -> int: ...
    @property
    def usual_tokens(self) -> int: ...
    @property
    def adapter(self) -> str | None: ...
    @property
    def is_deterministic(self) -> bool: ...
    @property
    def takes_bends(self) -> bool: ...


def prompt_of(terms: Terms, question: Question, now: datetime) -> tuple[int, ...]:
    """Token ids that the model goes on from.

    Raises:
        BadQuestion, NotOffered: the template cannot render it, or there is none.
    """
    check_tools(question)
    param = "messages" if question.messages else "prompt"
    check_size(terms.positions, size_of(question), param)
    tokenizer, messages = terms.tokenizer, question.messages
    try:
        if not messages:
            return question.tokens or tuple(tokenizer.encode_prompt(question.text))
        if tokenizer.chat_template is None:
            raise NotOffered(
                f"{terms.name} has no chat template, so it takes no messages; ask for a completion of a text",
                "messages",
            )
        if question.tools and format_of(tokenizer.chat_template) == "plain":
            raise NotOffered(
                f"{terms.name}'s chat template knows no tools; leave them out", "tools"
            )
        return tuple(chat_ids(tokenizer, messages, now=now, tools=question.tools))
    except (InvalidChat, UnknownText) as error:
        raise BadQuestion(str(error), param) from None


def size_of(question: Question) -> int:
    """Characters of all that is said in it: how long reading takes, about."""
    size, left = len(question.text), list[Any]([*question.messages, *question.tools])
    while left:
        one = left.pop()
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, Mapping):
            left += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            left += one
    return size


def check_size(positions: int, size: int, param: str) -> None:
    """What fills the context many times over is not tokenized first. Raises TooLong."""
    most = positions * MAX_CHARS_PER_TOKEN
    if size > most:
        raise TooLong(
            f"{size} characters; the context of {positions} tokens takes {most} at most, and most texts are far longer "
            "in tokens: shorten it",
            param,
        )


def asking_of(terms: Terms, question: Question, now: datetime) -> Asking:
    """What the desk is given.

    Raises:
        Refusal: the question makes no sense, asks for what is not done, or is too long.
    """
    prompt, settings = prompt_of(terms, question, now), question.settings
    check_settings(settings)
    room = _room(terms, prompt, settings)
    ends, stops = terms.tokenizer.stop_ids, _stops(terms, question)
    cut = Cut(settings.top_k, settings.top_p, settings.min_p)
    left = None if settings.temperature == 0 or not cut.bounds else cut
    look = Look(settings.num_top, settings.temperature, left) if settings.num_top else None
    steered = Steered(settings.bends, _mask(terms, question), ends, look, prompt)
    if not terms.takes_bends:
        _check_whole(steered, left)
    try:
        request = Request(
            key=terms.name,
            prompt=prompt,
            seed=_seed(terms, prompt, settings),
            num_rollouts=settings.choices,
            max_new_tokens=settings.max_new_tokens or min(room, terms.usual_tokens),
            temperature=settings.temperature,
            stop_tokens=ends,
            steering=steered if steered.is_needed else None,
            cut=left,
            ending=StopStrings.of(stops, _pieces(terms)) if stops else None,
            adapter=terms.adapter,
            draft=_draft(terms.tokenizer, question.draft),
        )
    except InvalidRequest as error:
        raise BadQuestion(str(error)) from None
    return Asking(question, request, stops)


def _draft(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """A guess at the whole of an answer; what the tokenizer cannot write is no guess."""
    try:
        said = tokenizer.encode(text, parse_special=False) if text else []
    except UnknownText:
        return ()
    return (*said, *tokenizer.stop_ids[:1]) if said else ()


def _seed(terms: Terms, prompt: tuple[int, ...], settings: Settings) -> int:
    """The question's own; without one, where answers are to be repeated, what follows from the prompt; else a fresh one."""
    if settings.seed is not None:
        return settings.seed % MAX_SEED
    if not terms.is_deterministic:
        return secrets.randbits(64)
    said = b"archipel seed of a prompt\n" + struct.pack(f"<{len(prompt)}q", *prompt)
    return int.from_bytes(hashlib.sha256(said).digest()[:8], "big")


def _check_whole(steered: Steered, cut: Cut | None) -> None:
    """Raises NotOffered: the exact contract samples from all of a distribution as it is."""
    bends = "logit_bias, presence_penalty, frequency_penalty or repeat_penalty"
    asked = dict.fromkeys(() if cut is None else cut.bounds, True) | {
        "response_format or a forced tool_choice": steered.mask is not None,
        "top_logprobs": steered.look is not None,
        bends: steered.bends != Bends(),
    }
    for name in (each for each, is_asked in asked.items() if is_asked):
        raise NotOffered(
            f"{name} is not done by the exact contract, which samples from the whole distribution as it is; leave it "
            "out, or ask a model that is computed in floating point",
            name.partition(" ")[0].rstrip(","),
        )


def _room(terms: Terms, prompt: tuple[int, ...], settings: Settings) -> int:
    """Tokens that an answer may have."""
    if not prompt:
        raise BadQuestion("the prompt is empty, and this model's texts have no begin token")
    room, wanted = terms.positions - len(prompt), settings.max_new_tokens or 1
    if room < 1 or wanted > room:
        raise TooLong(
            f"a prompt of {len(prompt)} tokens and {wanted} new ones are more than the context of "
            f"{terms.positions}; shorten one of them",
            "max_tokens" if room >= 1 else "messages",
        )
    return room


def _stops(terms: Terms, question: Question) -> tuple[str, ...]:
    """Texts that end the answer: where one call is allowed and no grammar sees to it, the end of the first."""
    stops, calling = question.settings.stop, question.calling
    is_single = bool(question.tools) and calling.is_single and not calling.is_forced
    if is_single and format_of(terms.tokenizer.chat_template) == "hermes":
        return (*stops, CLOSES)
    return stops


def _mask(terms: Terms, question: Question) -> Callable[[], Mask] | None:
    form = question.settings.form
    if question.tools and (question.calling.is_forced or form is not None):
        called = format_of(terms.tokenizer.chat_template)
        return terms.grammars.calls(called, question.tools, question.calling, form)
    return None if form is None else terms.grammars.masks(form)


def _pieces(terms: Terms) -> Pieces:
    try:
        return terms.tokenizer.pieces
    except NoPieces as error:
        raise NotOffered(str(error), "stop") from None
