"""Reading at a desk: texts and what may follow them, a block at a time between the steps of others.

Parts: `Reader`. Law: whoever reads much waits behind its own key's texts, never holds up anybody's stream by more than a
block.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

from archipel.engine.protocol import NonFiniteLogits, OpenEngine
from archipel.engine.reading import Follows, Reading
from archipel.model.tokenizer import UnknownText
from archipel.records.requests import InvalidRequest
from archipel.serve.aside import Asides
from archipel.serve.asking import (
    MAX_CHARS_PER_TOKEN,
    Terms,
    check_size,
    prompt_of,
    size_of,
)
from archipel.serve.desk import Desk
from archipel.serve.question import BadQuestion, Broken, NotOffered, Question, TooLong
from archipel.serve.texts import Embedded, Likelihood, Text, Weighed, Weighing, weighed

T = TypeVar("T")


@runtime_checkable
class Reads(Protocol):
    """An engine that reads."""

    def reading(
        self, tokens: Sequence[int], adapter: str | None = None, follows: Follows | None = None
    ) -> Reading:
        """See `engine.engine.LocalEngine.reading`."""


@dataclass(frozen=True)
class Reader:
    """Of one model."""

    terms: Terms
    desk: Desk
    asides: Asides

    async def embed(self, text: Text, key: str, *, is_cut: bool = False) -> Embedded:
        """See `asked.Reads.embed`."""
        if is_cut and isinstance(text, str):
            text = text[: self.terms.positions * MAX_CHARS_PER_TOKEN]
        tokens = await self.asides.of(len(text)).do(key, self._tokens, text)
        if is_cut:
            tokens = tokens[: self.terms.positions]
        reading = await self._read(tokens, key, self.terms.adapter)
        vector = await self._run(lambda _: reading.mean.tolist(), key)
        return Embedded(tuple(vector), len(tokens))

    async def read(
        self, question: Question, key: str, now: datetime, adapter: str | None
    ) -> Reading:
        """A question's whole prompt, read with this adapter.

        Raises:
            Refusal: it makes no sense, is too long, or too much is waiting.
        """
        prompt = await self.asides.of(size_of(question)).do(
            key, prompt_of, self.terms, question, now
        )
        return await self._read(prompt, key, adapter)

    async def weigh(self, weighing: Weighing, key: str, now: datetime) -> Weighed:
        """See `asked.Reads.weigh`."""
        num_read, told = 0, list[tuple[Likelihood, ...]]()
        for question in (weighing.question, weighing.prior):
            if question is not None:
                size = size_of(question) * len(weighing.choices) + sum(map(len, weighing.choices))
                beside = self.asides.of(size)
                prompt, choices = await beside.do(key, self._parts, question, weighing, now)
                told.append(await self._likelihoods(prompt, choices, key))
                num_read += len(prompt)
        found, priors = told[0], told[1] if len(told) > 1 else None
        chances = weighed(found, priors, weighing.length)
        return Weighed(chances, found, priors, num_read)

    def _tokens(self, text: Text) -> tuple[int, ...]:
        check_size(self.terms.positions, len(text), "input")
        try:
            found = (
                tuple(self.terms.tokenizer.encode_prompt(text)) if isinstance(text, str) else text
            )
        except UnknownText as error:
            raise BadQuestion(str(error), "input") from None
        if not found:
            raise BadQuestion(
                "a text is empty, and this model's texts have no begin token", "input"
            )
        return found

    def _parts(
        self, question: Question, weighing: Weighing, now: datetime
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """The prompt, and the choices behind it."""
        prompt, tokenizer = prompt_of(self.terms, question, now), self.terms.tokenizer
        if not prompt:
            raise BadQuestion("the prompt is empty, and this model's texts have no begin token")
        choices = []
        for choice in weighing.choices:
            tokens = tuple(tokenizer.encode(choice, parse_special=False))
            if not question.messages and not question.tokens:
                # A text and what follows it are one text, where its tokens are not cut otherwise then.
                whole = tuple(tokenizer.encode_prompt(question.text + choice))
                tokens = whole[len(prompt) :] if whole[: len(prompt)] == prompt else tokens
            choices.append(tokens)
        if len(set(choices)) < len(choices) or () in choices:
            raise BadQuestion("two choices, or one and nothing, are the same tokens", "choices")
        return prompt, choices

    async def _likelihoods(
        self, prompt: tuple[int, ...], choices: Sequence[tuple[int, ...]], key: str
    ) -> tuple[Likelihood, ...]:
        """Of whole answers: each choice with a token that ends answers, of all such together."""
        ends: list[tuple[int, ...]] = [(each,) for each in self.terms.tokenizer.stop_ids] or [()]
        follows = Follows([(*choice, *end) for choice in choices for end in ends])
        reading = await self._read(prompt, key, self.terms.adapter, follows)
        scores = iter(await self._run(lambda _: reading.scores(), key))
        found = []
        for choice in choices:
            sums = [math.fsum(next(scores)) for _ in ends]
            highest = max(sums)
            logprob = highest + math.log(math.fsum(math.exp(each - highest) for each in sums))
            found.append(Likelihood(logprob, len(choice) + len(ends[0])))
        return tuple(found)

    async def _read(
        self, tokens: Sequence[int], key: str, adapter: str | None, follows: Follows | None = None
    ) -> Reading:
        begun = partial(self._begun, tokens=tokens, adapter=adapter, follows=follows)
        reading = await self._run(begun, key)
        while not reading.is_whole:
            await self._run(lambda _: reading.step(), key)
        return reading

    def _begun(
        self,
        engine: OpenEngine,
        tokens: Sequence[int],
        adapter: str | None,
        follows: Follows | None,
    ) -> Reading:
        if not isinstance(engine, Reads):
            raise NotOffered(
                f"{self.terms.name}'s engine reads no texts; ask a model of one machine"
            )
        return engine.reading(tokens, adapter, follows)

    async def _run(self, errand: Callable[[Any], T], key: str) -> T:
        try:
            return await asyncio.wrap_future(self.desk.run(errand, key))
        except InvalidRequest as error:
            raise TooLong(str(error), "input") from None
        except NonFiniteLogits as error:
            raise Broken(str(error)) from None
