"""Answers that somebody may want signed: kept in memory for a while, and for who asked alone; nothing on disk.

Parts: `Signing`. Laws: bounded in answers, tokens and time; an answer that was not heard to its end is not there; signing
takes place beside the event loop.
"""

import asyncio
import math
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from archipel.identity import Identity
from archipel.serve.answer import Answer
from archipel.serve.aside import Aside
from archipel.serve.origin import Origin
from archipel.serve.question import Refusal
from archipel.serve.signed.document import (
    MAX_TOKENS,
    NotSignable,
    SignedAnswer,
    SignedChoice,
    bits_of,
    sealed,
)
from archipel.serve.signed.request import request_of

KEPT_S = 600.0
SOON_S = 0.05


class NoAnswer(Refusal):
    """No answer of this name, or not of this caller."""

    status = 404
    code = "answer_not_found"


class NotYet(Refusal):
    """It is being given."""

    status = 409
    code = "answer_not_whole"


@dataclass(frozen=True)
class Bounds:
    """Of what is kept."""

    answers: int = 256
    tokens: int = 2_000_000
    """Of prompts and answers together."""
    seconds: float = KEPT_S


@dataclass(frozen=True)
class _Kept:
    answer: SignedAnswer | None
    """None: it is under way, or nobody heard it to its end."""
    key: str
    until_s: float
    num_tokens: int = 0


class Signing:
    """Of one door."""

    def __init__(self, identity: Identity, bounds: Bounds = Bounds()) -> None:
        self._identity, self._bounds = identity, bounds
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        """Oldest first."""
        self._aside = Aside(threads=1, most=64)

    @property
    def did(self) -> str:
        """Who signs."""
        return self._identity.did

    @property
    def num_kept(self) -> int:
        """Answers, those under way included."""
        return len(self._kept)

    def expect(self, answer: Answer) -> str | None:
        """The name by which an answer can be fetched once it is whole; None: it cannot be signed."""
        origin = answer.origin
        if origin is None or answer.most_tokens > MAX_TOKENS:
            return None
        name = secrets.token_urlsafe(18)
        self._kept[name] = _Kept(None, answer.key, math.inf)
        answer.when_whole = lambda: self._keep(name, answer, origin)
        self._prune()
        return name

    async def fetch(self, name: str, key: str) -> bytes:
        """The signed answer of this name.

        Raises:
            NoAnswer: there is none, any more or for this key. NotYet: it is under way. Crowded: too much is signed now.
        """
        self._prune()
        kept = self._kept.get(name)
        if kept is None or kept.key != key:
            raise NoAnswer(
                f"no answer {name!r:.40} is kept here for you; the header archipel-answer names one, for "
                f"{self._bounds.seconds:.0f} seconds"
            )
        if kept.answer is None:
            raise NotYet("this answer is not whole; read it to its end, and ask again")
        try:
            return await self._aside.do(key, sealed, kept.answer, self._identity)
        except NotSignable as error:
            raise NoAnswer(f"this answer has no signed form: {error}") from None

    def _keep(self, name: str, answer: Answer, origin: Origin) -> None:
        kept = self._kept.get(name)
        if kept is None:  # so many came meanwhile
            return
        try:
            signed = signed_answer(answer, origin, round(time.time() * 1000))
        except NotSignable:
            del self._kept[name]
            return
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._bounds.seconds
        loop.call_later(self._bounds.seconds + SOON_S, self._prune)
        num_tokens = answer.num_prompt_tokens + answer.num_tokens
        self._kept[name] = _Kept(signed, kept.key, until_s, num_tokens)
        self._kept.move_to_end(name)
        self._prune()

    def _prune(self) -> None:
        now_s, bounds = asyncio.get_running_loop().time(), self._bounds
        for name in [name for name, each in self._kept.items() if each.until_s <= now_s]:
            del self._kept[name]
        tokens = sum(each.num_tokens for each in self._kept.values())
        while len(self._kept) > bounds.answers or tokens > bounds.tokens:
            tokens -= self._kept.popitem(last=False)[1].num_tokens


def signed_answer(answer: Answer, origin: Origin, at_ms: int) -> SignedAnswer:
    """What is signed of an answer that is whole.

    Raises:
        NotSignable: more than the form takes.
    """
    asked = answer.request
    choices = [answer.rollouts[each] for each in range(asked.num_rollouts)]
    return SignedAnswer(
        format="archipel-answer-1",
        model=answer.question.model[:256],
        at_ms=at_ms,
        contract=origin.contract,
        fingerprint=origin.fingerprint,
        weights=origin.weights,
        tokenizer=origin.tokenizer,
        adapter=origin.adapter,
        beside_adapters=True if origin.is_beside and not origin.is_exact else None,
        threads=None if origin.is_exact else origin.threads,
        request=request_of(answer.question, asked.prompt, asked.seed, asked.max_new_tokens),
        choices=tuple(
            SignedChoice(
                tokens=each.tokens,
                logprobs=tuple(map(bits_of, each.logprobs)),
                finished=each.finished,
            )
            for each in choices
        ),
    )
