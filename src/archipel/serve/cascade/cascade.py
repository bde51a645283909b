"""Two models behind one name: the small one answers, unless the question is plainly hard or its answer unsure.

Parts: `Cascade` (an `Asked`), `Tally`. Laws: nothing of an answer is said before it is known whose it is, so no client ever reads two;
what the small model cannot take or finish goes to the large one; a question goes to the large one at most once.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from archipel.serve.asked import Answering, Asked, Told
from archipel.serve.cascade.confidence import Confidence
from archipel.serve.cascade.heads import Head, sigmoid
from archipel.serve.cascade.hidden import hidden_of
from archipel.serve.cascade.policy import Policy
from archipel.serve.question import Broken, DeadEnd, NotOffered, Question, Said, TooLong
from archipel.serve.served import Served
from archipel.serve.texts import Embedded, Text, Weighed, Weighing


@dataclass
class Tally:
    """Questions so far, by how they went."""

    asked: int = 0
    kept: int = 0
    """Answered by the small model."""
    straight: int = 0
    """Answered by the large model, without the small one's answer."""
    escalated: int = 0
    """The same, after it."""


@dataclass(frozen=True, eq=False)
class Cascade:
    """One name."""

    name: str
    small: Served
    large: Asked
    policy: Policy
    tally: Tally = field(default_factory=Tally)

    @property
    def since(self) -> int:
        """See `asked.Asked`."""
        return self.small.since

    @property
    def fingerprint(self) -> str:
        """See `asked.Asked`: of both."""
        return f"{self.small.fingerprint}+{self.large.fingerprint}"

    @property
    def positions(self) -> int:
        """See `asked.Asked`: those of the large one, who takes what the small one cannot."""
        return self.large.positions

    @property
    def chat_template(self) -> str | None:
        """See `asked.Asked`: the small one's, which reads every question."""
        return self.small.chat_template

    def counts(self) -> Mapping[str, int]:
        """See `asked.Asked`; of both, and how questions went."""
        small, large, tally = self.small.counts(), self.large.counts(), self.tally
        both = {name: small.get(name, 0) + large.get(name, 0) for name in {**small, **large}}
        return both | {f"cascade_{name}": count for name, count in vars(tally).items()}

    async def count(self, question: Question, key: str, now: datetime) -> int:
        """See `asked.Asked`: as the small one reads it."""
        return await self.small.count(question, key, now)

    async def ask(self, question: Question, key: str, now: datetime) -> Answering:
        """See `asked.Asked.ask`; the gate has spoken when it comes back."""
        self._check(question)
        self.tally.asked += 1
        try:
            hidden = await hidden_of(self.small, question, key, now, self.small.adapter)
            logits = self._gate.logits(hidden[None])
            if not self.policy.rules.is_straight(float(sigmoid(logits)[0])):
                first = await self._small(question, key, now)
                return _Awaited(self, first, float(logits[0]), key, now)
        except TooLong:
            pass  # for the small one: the large one says whether it is for itself
        answer = await self._large(question, key, now)
        self.tally.straight += 1
        return answer

    async def embed(self, text: Text, key: str, *, is_cut: bool = False) -> Embedded:
        """See `asked.Reads.embed`: what the small one makes of it."""
        return await self.small.embed(text, key, is_cut=is_cut)

    async def weigh(self, weighing: Weighing, key: str, now: datetime) -> Weighed:
        """See `asked.Reads.weigh`: not here. Raises NotOffered."""
        raise NotOffered(
            f"{self.name} weighs no answers: its two models would weigh them differently, and how sure that is was never "
            "calibrated; serve one of them by itself",
            "model",
        )

    def _check(self, question: Question) -> None:
        """Raises NotOffered: it names tokens by number, which are others' for the large model."""
        if self._is_one_vocabulary:
            return
        for name, is_there in (
            ("prompt as token ids", bool(question.tokens)),
            ("logit_bias", bool(question.settings.bends.biases)),
        ):
            if is_there:
                raise NotOffered(
                    f"{name}: the two models of {self.name} have other tokens by the same number; leave it out, or "
                    "give a text"
                )

    @cached_property
    def _is_one_vocabulary(self) -> bool:
        other = getattr(self.large, "tokenizer", None)
        return other is not None and self.small.tokenizer.has_the_tokens_of(other)

    @cached_property
    def _gate(self) -> Head:
        return self.policy.gate.head()

    @cached_property
    def sure(self) -> Confidence:
        """How sure an answer is."""
        return self.policy.confidence

    async def _small(self, question: Question, key: str, now: datetime) -> Answering:
        return await self.small.ask(replace(question, model=self.small.name), key, now)

    async def _large(self, question: Question, key: str, now: datetime) -> Answering:
        return await self.large.ask(replace(question, model=self.large.name), key, now)

    async def escalated(
        self, question: Question, key: str, now: datetime, draft: str = ""
    ) -> Answering:
        """The large one's answer after the small one's, which it reads as a guess: as far as both agree, in one pass."""
        answer = await self._large(replace(question, draft=draft), key, now)
        self.tally.escalated += 1
        return answer


class _Awaited:
    """A question that the small model answers first."""

    def __init__(
        self, cascade: Cascade, first: Answering, gate_logit: float, key: str, now: datetime
    ) -> None:
        self._cascade, self._gate_logit = cascade, gate_logit
        self._key, self._now = key, now
        self._answer, self._has_left = first, False
        self.question = first.question

    @property
    def num_prompt_tokens(self) -> int:
        """See `asked.Answering`: of whoever answers."""
        return self._answer.num_prompt_tokens

    @property
    def num_tokens(self) -> int:
        """See `asked.Answering`: of whoever answers."""
        return self._answer.num_tokens

    def leave(self) -> None:
        """See `asked.Answering.leave`."""
        self._has_left = True
        self._answer.leave()

    async def told(self) -> AsyncIterator[Told]:
        """See `asked.Answering.told`: at once if the small model is sure, else as the large one says it."""
        try:
            held = await self._first()
            if held is not None and self._is_kept(held):
                self._cascade.tally.kept += 1
                for each in held:
                    yield each
                return
            if self._has_left:
                return
            draft = _first_choice(held or [])
            self._answer = await self._cascade.escalated(self.question, self._key, self._now, draft)
            async for each in self._answer.told():
                yield each
        finally:
            self.leave()

    async def _first(self) -> list[Told] | None:
        """All that the small model says; None: it could not finish."""
        try:
            return [each async for each in self._answer.told()]
        except (DeadEnd, Broken):
            return None

    def _is_kept(self, held: list[Told]) -> bool:
        """By the least sure of its choices."""
        logprobs: dict[int, list[float]] = {}
        for each in held:
            said = logprobs.setdefault(each.choice, [])
            if isinstance(each, Said):
                said += [token.logprob for token in each.tokens]
        cascade = self._cascade
        sure = [cascade.sure.of(each, self._gate_logit) for each in logprobs.values()]
        return cascade.policy.rules.is_kept(min(sure, default=0.0))


def _first_choice(held: list[Told]) -> str:
    return "".join(each.text for each in held if isinstance(each, Said) and each.choice == 0)
