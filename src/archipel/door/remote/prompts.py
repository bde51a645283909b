"""Prompts answered by nodes: those of one tenant for the same weights together, in one question.

Parts: `Prompts`. Law: an answer that is not of its question is nobody's: the question is withdrawn, and may be asked again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from archipel.door.hands import CannotDo, HandsLost, SampleAsked, Sampled
from archipel.door.remote.asking import Asking
from archipel.door.remote.gathering import Answer, Bounds, Gathering, Key
from archipel.door.remote.lab import Asked, Standing
from archipel.door.remote.lab import Question as AtLab
from archipel.door.remote.shelf import Shelf
from archipel.door.remote.training import Site, Training
from archipel.records.door import MAX_SHARE, SampleQuestion
from archipel.records.fields import BlobRef
from archipel.records.kinds.sample import SampleAnswer, SampleSpec
from archipel.records.payload import BadPayload
from archipel.training.tenants.operations import Refused
from archipel.work.question_payloads import pack_questions, unpack_answers
from archipel.work.questions import Question

MAX_FOLDERS = 4096
"""Adapters whose place on this disk is remembered."""


class Prompts:
    """Of all tenants of a run."""

    def __init__(self, site: Site, asking: Asking, shelf: Shelf, training: Training) -> None:
        """training: whose questions make room."""
        self._site, self._asking, self._shelf, self._training = site, asking, shelf, training
        bounds = Bounds(most_tokens=site.pace.sample_tokens)
        self._gathering = Gathering(self._answers, bounds)
        self._folders: OrderedDict[str, Path] = OrderedDict()
        """Name of an adapter -> where it lies."""

    async def sampled(self, asked: SampleAsked) -> Sampled:
        """See `Hands.sample`."""
        self._site.check_base(asked.weights.base)
        question = question_of(asked)
        num_tokens = most_tokens_of(question)
        if num_tokens > self._site.pace.sample_tokens:
            raise CannotDo(
                f"a prompt and completions of up to {num_tokens} tokens; this door's network takes at most "
                f"{self._site.pace.sample_tokens} at once: ask for fewer or shorter ones"
            )
        name = self._known(asked)
        key = Key(name, asked.tenant, min(asked.share, MAX_SHARE))
        answer = await self._gathering.ask(key, question, num_tokens)
        if isinstance(answer, Refused):
            raise CannotDo(answer.reason)
        return answer

    def close(self) -> None:
        """Wait for nothing any more."""
        self._gathering.close()

    def _known(self, asked: SampleAsked) -> str:
        """The adapter's name; from now on it is known where it lies."""
        weights = asked.weights
        if weights.adapter is None:
            return ""
        self._folders[weights.name] = weights.adapter
        self._folders.move_to_end(weights.name)
        while len(self._folders) > MAX_FOLDERS:
            self._folders.popitem(last=False)
        return weights.name

    async def _answers(self, key: Key, questions: Sequence[Question]) -> Sequence[Answer]:
        """Raises HandsLost, CannotDo."""
        try:
            data = await asyncio.to_thread(pack_questions, questions)
        except (ValueError, OverflowError) as error:
            raise CannotDo(f"this cannot be asked of a node: {error!s:.300}") from None
        prompts = await self._asking.patiently(lambda: self._shelf.put(data))
        adapter = await self._adapter(key.weights)
        asked = Asked(
            tenant=self._site.tag(key.tenant),
            share=key.share,
            num_tokens=sum(map(most_tokens_of, questions)),
            lasts_ms=self._asking.lasts_ms,
            question=SampleQuestion(adapter=adapter, questions=prompts),
        )
        number = await self._asking.ask(asked, self._training.make_room)
        try:
            shown = await self._asking.answer(number)
            return await self._read(shown, asked.question, questions)
        except BadPayload as error:
            raise HandsLost(f"the answer to question {number} is none: {error}") from None
        finally:
            await asyncio.shield(self._asking.withdraw([number]))

    async def _adapter(self, name: str) -> BlobRef | None:
        if not name:
            return None
        folder = self._folders.get(name)
        if folder is None:
            raise HandsLost("it is not known any more where the adapter lies; ask again")
        return await self._asking.patiently(lambda: self._shelf.put_folder(folder))

    async def _read(
        self, shown: Standing, asked: AtLab, questions: Sequence[Question]
    ) -> Sequence[Answer]:
        """Raises BadPayload: to another question, or no answers."""
        spec, answer = shown.spec, shown.answer
        if not isinstance(spec, SampleSpec) or not isinstance(answer, SampleAnswer):
            raise BadPayload("it is of training; expected completions")
        if asked != SampleQuestion(adapter=spec.adapter, questions=spec.questions):
            raise BadPayload("its node was told other prompts, or another adapter")
        if answer.result.size > self._site.pace.answer_bytes:
            raise BadPayload(
                f"completions of {answer.result.size} bytes; expected at most {self._site.pace.answer_bytes}"
            )
        data = await self._asking.patiently(lambda: self._shelf.fetch(answer.result))
        return await asyncio.to_thread(unpack_answers, data, questions)


def question_of(asked: SampleAsked) -> Question:
    """What is asked of a node."""
    return Question(**{each.name: getattr(asked, each.name) for each in fields(Question)})


def most_tokens_of(question: Question) -> int:
    """Of prompt and completions together; one at least."""
    return max(1, len(question.prompt) + question.num_samples * question.max_tokens)
