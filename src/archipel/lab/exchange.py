"""Turns on their way between nodes and trusted roles: in memory, beside the ledger and no part of its state.

A question is waiting -> handed out -> answered, and goes with its lease. Parts: `Question`, `Exchange`.
Laws: everything is bounded, by lease, by node and in all; questions go out in the order in which they came, so that
no lease with many holds up another; the same words are one question, however often they come; a trusted
role that asks for questions has none in hand, so one that was handed to it before waits again; what was begun with
one trusted role goes to another only when that one is silent. Times are arguments.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from archipel.lab import refusals
from archipel.records.turns import TurnsAsked, TurnsTold

MAX_OPEN_PER_WORK = 16
"""Questions of one lease that wait for a reply."""
MAX_KEPT_PER_WORK = 32
"""With those that have one, should it not have arrived."""
MAX_BYTES = 64 * 1024 * 1024
"""Of all that is said and told."""
SHARE = 8
"""A node takes this part of all at the most: more than one is needed to leave no room for others."""
SILENT_MS = 30_000
"""A trusted role that neither asks nor tells for this long is gone."""


@dataclass(eq=False)
class Question:
    """Turns of one lease that wait for their replies."""

    word: TurnsAsked
    sealed: str
    said: bytes
    trusted: tuple[str, ...]
    """Who may answer."""
    entries: tuple[int, int]
    """Positions in the ledger of its lease's grant and of its run's opening."""
    handed: tuple[str, int] | None = None
    """To whom, and when."""
    told: tuple[TurnsTold, str, bytes] | None = None
    """The answer, as it was signed, and the replies."""
    number: int = 0
    """So many came before, and itself."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def size(self) -> int:
        """Bytes that it takes, with the signed words."""
        own = len(self.sealed) + len(self.said)
        return own + (0 if self.told is None else len(self.told[1]) + len(self.told[2]))


class Exchange:
    """All that are open at one lab."""

    def __init__(self) -> None:
        self._works: dict[str, dict[str, Question]] = {}
        """Work -> digest of what was said -> question, in the order in which they came."""
        self._refused: dict[str, str] = {}
        """Work -> why its trusted role answers it no more."""
        self._host: dict[str, str] = {}
        """Work -> who answered it first."""
        self.seen_ms: dict[str, int] = {}
        """Key -> when it asked for questions, or told, last."""
        self._came = 0
        self._numbers: dict[str, int] = {}
        self._wakers: dict[str, asyncio.Event] = {}
        """Key that waits for questions -> what wakes it."""

    def ask(self, question: Question) -> Question:
        """Let it in; the question that there is already, if it is the same.

        Raises:
            Conflict: this lease's turns are answered no more.
            Busy: too many wait, of this lease, of this node or in all.
        """
        work, digest = question.word.work, question.word.said.digest
        if work in self._refused:
            raise refusals.Conflict(
                f"turns of {work} are not answered any more: {self._refused[work]}"
            )
        open_ones = self._works.get(work, {})
        if digest in open_ones:
            return open_ones[digest]
        if sum(each.told is None for each in open_ones.values()) >= MAX_OPEN_PER_WORK:
            raise refusals.Busy(
                f"{MAX_OPEN_PER_WORK} questions of {work} wait already; ask again later"
            )
        self._make_room(question)
        self._works.setdefault(work, open_ones)[digest] = question
        self._came += 1
        question.number = self._came
        self._forget_told(open_ones)
        self._wake(question.trusted)
        return question

    def _make_room(self, question: Question) -> None:
        """Of the node's own part, then of all; the oldest answers go before a question is refused."""
        who = question.word.author
        own = [each for each in self._all() if each.word.author == who]
        if not self._fits(question, own, MAX_BYTES // SHARE):
            raise refusals.Busy(f"too many turns of {who} wait at this lab; ask again later")
        if not self._fits(question, list(self._all()), MAX_BYTES):
            raise refusals.Busy("too many turns wait at this lab; ask again later")

    def _fits(self, question: Question, held: Collection[Question], most: int) -> bool:
        size = sum(each.size for each in held) + question.size
        for each in sorted(held, key=lambda one: one.number):
            if size > most and each.told is not None:
                size -= each.size
                del self._works[each.word.work][each.word.said.digest]
        return size <= most

    async def answer(
        self, question: Question, wait_s: float
    ) -> tuple[TurnsTold, str, bytes] | None:
        """What was told, waiting so long for it; None: nothing yet."""
        await _set_within(question.answered, wait_s)
        return question.told

    def silent_ms(self, trusted: Collection[str], now_ms: int) -> int | None:
        """Since one of these asked for questions, or told; None: they never did."""
        seen = [self.seen_ms[key] for key in trusted if key in self.seen_ms]
        return max(0, now_ms - max(seen)) if seen else None

    async def next(self, key: str, seq: int, wait_s: float, now_ms: int) -> Question | None:
        """The oldest question that waits for this key, waiting so long for one; nothing is in its hands any more.

        Raises:
            Replayed: the number was used before.
        """
        if seq <= self._numbers.get(key, 0):
            raise refusals.Replayed(f"the request for questions {seq} was made before")
        self._numbers[key], self.seen_ms[key] = seq, now_ms
        older = self._wakers.pop(key, None)
        if older is not None:
            older.set()
        self._take_back(key)
        waker = self._wakers[key] = asyncio.Event()
        try:
            found = self._waiting_for(key, now_ms)
            if (
                found is None
                and await _set_within(waker, wait_s)
                and self._wakers.get(key) is waker
            ):
                found = self._waiting_for(key, now_ms)
        finally:
            if self._wakers.get(key) is waker:
                del self._wakers[key]
        if found is not None:
            found.handed = (key, now_ms)
        return found

    def tell(self, word: TurnsTold, sealed: str, told: bytes, now_ms: int) -> None:
        """Take in an answer; the first one stands.

        Raises:
            Unknown: nobody asks that, or not any more.
            NotAllowed: another key should answer.
        """
        question = self._works.get(word.work, {}).get(word.asked)
        if question is None:
            raise refusals.Unknown(f"no open question {word.asked} of {word.work}")
        if word.author not in question.trusted:
            raise refusals.NotAllowed(f"{word.author} is not trusted in the run of {word.work}")
        self.seen_ms[word.author] = now_ms
        if question.told is not None:
            return
        question.told = (word, sealed, told)
        question.answered.set()
        if word.told is not None:
            self._host.setdefault(word.work, word.author)
        elif word.fault == "work":
            self._refused[word.work] = word.reason or "no reason was given"

    def ended(self, works: Iterable[str]) -> None:
        """Their leases are over: whoever still waits hears nothing more."""
        for work in works:
            for question in self._works.pop(work, {}).values():
                question.answered.set()
            self._refused.pop(work, None)
            self._host.pop(work, None)

    def close(self) -> None:
        """Let everybody who waits go, empty-handed."""
        for waker in self._wakers.values():
            waker.set()
        for question in self._all():
            question.answered.set()

    def __len__(self) -> int:
        return sum(each.told is None for each in self._all())

    def _all(self) -> Iterator[Question]:
        for questions in self._works.values():
            yield from questions.values()

    def _take_back(self, key: str) -> None:
        for question in self._all():
            if question.handed is not None and question.handed[0] == key:
                question.handed = None

    def _waiting_for(self, key: str, now_ms: int) -> Question | None:
        waiting = (each for each in self._all() if self._is_for(each, key, now_ms))
        return min(waiting, key=lambda each: each.number, default=None)

    def _is_for(self, question: Question, key: str, now_ms: int) -> bool:
        if question.told is not None or key not in question.trusted:
            return False
        holder = question.handed[0] if question.handed else self._host.get(question.word.work, key)
        return holder == key or now_ms - self.seen_ms.get(holder, 0) > SILENT_MS

    def _wake(self, keys: Collection[str]) -> None:
        for key in keys:
            waker = self._wakers.get(key)
            if waker is not None:
                waker.set()

    def _forget_told(self, questions: dict[str, Question]) -> None:
        """The oldest answered ones: whoever asks again is answered by the trusted role, the same."""
        for digest in list(questions):
            if len(questions) <= MAX_KEPT_PER_WORK:
                return
            if questions[digest].told is not None:
                del questions[digest]


async def _set_within(event: asyncio.Event, wait_s: float) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
