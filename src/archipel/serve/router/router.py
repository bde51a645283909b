"""Specialists behind one name.

Parts: `Router` (an `Asked`). Laws: a question is asked of exactly one; of which, follows from the base model's hidden state of it alone; a client may also
name a specialist itself, where the door serves it under its own name.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from archipel.serve.asked import Answering, Asked, Reads
from archipel.serve.cascade.hidden import hidden_of
from archipel.serve.question import NotOffered, Question, TooLong
from archipel.serve.router.routes import Routes, topics_of
from archipel.serve.router.topics import Space, Topic, choose
from archipel.serve.served import Served
from archipel.serve.texts import Embedded, Text, Weighed, Weighing

GENERALIST = "generalist"


@dataclass(frozen=True, eq=False)
class Router:
    """One name."""

    name: str
    base: Served
    """Who reads every question, by its own weights, and answers what nobody knows."""
    specialists: Mapping[str, Asked]
    """By the names of their topics."""
    routes: Routes
    tally: Counter[str] = field(default_factory=Counter)
    """Questions by who answered."""

    @property
    def since(self) -> int:
        """See `asked.Asked`."""
        return self.base.since

    @property
    def fingerprint(self) -> str:
        """See `asked.Asked`."""
        return f"{self.base.fingerprint}-router{len(self.specialists)}"

    @property
    def positions(self) -> int:
        """See `asked.Asked`: what any of them takes."""
        return min(each.positions for each in (self.base, *self.specialists.values()))

    @property
    def chat_template(self) -> str | None:
        """See `asked.Asked`."""
        return self.base.chat_template

    def counts(self) -> Mapping[str, int]:
        """See `asked.Asked`; of all of them, and how many questions went to specialists: metrics name nobody."""
        asked = {
            id(getattr(one, "desk", one)): one for one in (self.base, *self.specialists.values())
        }
        summed = Counter[str]()
        for one in asked.values():
            summed.update(one.counts())
        known = sum(self.tally[name] for name in self.specialists)
        return dict(summed) | {
            "routed_to_specialists": known,
            "routed_to_generalist": self.tally[GENERALIST],
        }

    async def count(self, question: Question, key: str, now: datetime) -> int:
        """See `asked.Asked`."""
        return await self.base.count(question, key, now)

    async def ask(self, question: Question, key: str, now: datetime) -> Answering:
        """See `asked.Asked.ask`."""
        name = await self.routed(question, key, now)
        one: Asked = self.base if name is None else self.specialists[name]
        answer = await one.ask(replace(question, model=one.name), key, now)
        self.tally[name or GENERALIST] += 1
        return answer

    async def embed(self, text: Text, key: str, *, is_cut: bool = False) -> Embedded:
        """See `asked.Reads.embed`: what the base makes of it, so that vectors of all texts are of one space."""
        return await self.base.embed(text, key, is_cut=is_cut)

    async def weigh(self, weighing: Weighing, key: str, now: datetime) -> Weighed:
        """See `asked.Reads.weigh`: by whoever would answer. Raises NotOffered: a specialist that does not weigh."""
        name = await self.routed(weighing.question, key, now)
        one: Asked = self.base if name is None else self.specialists[name]
        if not isinstance(one, Reads):
            raise NotOffered(f"{one.name}, whose topic it is, weighs no answers", "model")
        question = replace(weighing.question, model=one.name)
        return await one.weigh(replace(weighing, question=question), key, now)

    async def routed(self, question: Question, key: str, now: datetime) -> str | None:
        """Whose topic it is; None: nobody's, or more than the base can read."""
        try:
            hidden = await hidden_of(self.base, question, key, now)
        except TooLong:
            return None
        return choose(self._topics, self._space.of(hidden[None])[0])[0]

    @cached_property
    def _space(self) -> Space:
        return self.routes.space.space()

    @cached_property
    def _topics(self) -> tuple[Topic, ...]:
        return tuple(each for each in topics_of(self.routes) if each.name in self.specialists)
