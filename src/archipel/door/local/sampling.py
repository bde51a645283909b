"""Prompts that wait to be answered and those that are being answered, of all tenants, in one engine.

`step()` = let in -> score -> sample. Parts: `Room`, `Sampling`.
Laws: tenants get tokens by their shares; whoever runs leaves room for one more; weights whose numbers are not finite fail
their own questions alone: what ran beside them begins again, each weights' questions by themselves.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archipel.door.hands import CannotDo, HandsLost
from archipel.door.local.adapters import InEngine, engine_name
from archipel.door.local.questions import Part, Question
from archipel.door.local.queues import Queues
from archipel.door.local.shares import Shares
from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import Events, NonFiniteLogits, Ticket
from archipel.records.requests import InvalidRequest

SHARE = 4
"""A part has at most one in so many of the sequences of its length that the engine's cache holds."""
BROKEN = (
    "what this model computes is no finite number any more; go back to an earlier checkpoint, and train on with a lower "
    "learning rate"
)
MOST_BROKEN = 4096
"""Names of weights that are remembered as broken."""


@dataclass(frozen=True)
class Room:
    """How much may run."""

    running: int = 64
    """Sequences in the engine, and prompts that are being scored."""


class Sampling:
    """Questions of all tenants. One thread uses it."""

    def __init__(self, engine: LocalEngine, adapters: InEngine, room: Room) -> None:
        self._engine, self._adapters, self._room = engine, adapters, room
        self._waiting = Queues()
        self._running: dict[Ticket, Part] = {}
        self._scoring: list[Question] = []
        self._apart: deque[list[Part]] = deque()
        """Those that begin again, and nothing beside them, one list after the other."""
        self._is_apart = False
        """Whether those that run are such."""
        self._open = Counter[Question]()
        """How many parts and scorings of each question have begun and not ended."""
        self._broken: dict[str, None] = {}
        self._entry, self._turn = Shares[str](), Shares[str]()
        self.num_tokens = 0
        """Read and sampled since the beginning."""

    @property
    def has_work(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._waiting or self._running or self._scoring or self._apart)

    @property
    def weight(self) -> int:
        """Of all tenants that wait or run."""
        return sum(self._present().values())

    @property
    def counts(self) -> dict[str, int]:
        """Now: questions that wait and sequences that run."""
        running = sum(part.remaining for part in self._running.values()) + len(self._scoring)
        return {"waiting": len(self._waiting), "running": running}

    def put(self, question: Question) -> None:
        """Behind its tenant's others."""
        self._waiting.put(question)

    def leave(self, question: Question) -> None:
        """Nobody waits for it any more; its slots are free at once."""
        question.has_left = True
        self._drop(question)

    def step(self) -> None:
        """Let in who may, score a block of one prompt, and sample a token of every sequence.

        Nothing is raised: whose question fails is told.
        """
        self._enter()
        self._score()
        if not self._running:
            return
        try:
            events = self._engine.step()
        except NonFiniteLogits:
            self._part_company(CannotDo(BROKEN))
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            said = str(error) if isinstance(error, RuntimeError | MemoryError) else ""
            self._part_company(HandsLost(f"the engine failed: {said or type(error).__name__}"))
        else:
            self._collect(events)

    def fail(self, why: Exception) -> None:
        """All that waits and runs."""
        waiting = [*self._waiting]
        again = [part.question for parts in self._apart for part in parts]
        self._fail_running(why)
        for question in dict.fromkeys([*waiting, *again, *self._scoring]):
            self._refuse(question, why)

    def _present(self) -> dict[str, int]:
        """Tenants that wait or run, with their shares."""
        asked = [part.question.asked for part in self._running.values()]
        asked += [question.asked for question in self._scoring]
        asked += [part.question.asked for parts in self._apart for part in parts]
        return {each.tenant: each.share for each in asked} | self._waiting.shares

    def _enter(self) -> None:
        if self._is_apart and self._running:
            return
        self._is_apart = bool(self._apart)
        if self._apart:
            for part in self._apart.popleft():
                self._begin(part)
            return
        blocked = set[str]()
        while (free := self._room.running - self._num_running) > 0:
            room = dict(self._rooms(free))
            ready = {
                tenant: share
                for tenant, share in self._waiting.shares.items()
                if room[tenant] > 0 and tenant not in blocked
            }
            if not ready:
                return
            tenant = self._entry.next(ready)
            if not self._let_in(tenant, room[tenant]):
                blocked.add(tenant)

    @property
    def _num_running(self) -> int:
        return self.counts["running"]

    def _rooms(self, free: int) -> Iterator[tuple[str, int]]:
        """How many sequences more each waiting tenant may have: as if one more, of the largest share, were there."""
        present, own = self._present(), Counter[str]()
        for part in self._running.values():
            own[part.question.asked.tenant] += part.remaining
        own.update(question.asked.tenant for question in self._scoring)
        whole = sum(present.values()) + max(present.values(), default=0)
        for tenant in self._waiting.shares:
            most = max(1, self._room.running * present[tenant] // whole)
            yield tenant, min(free, most - own[tenant])

    def _let_in(self, tenant: str, room: int) -> bool:
        """Something of the tenant's first question that can begin; whether there was one."""
        for _ in range(self._waiting.of(tenant)):
            question = self._waiting.first(tenant)
            try:
                has_begun = self._begin_some(question, room)
            except (CannotDo, InvalidRequest, NonFiniteLogits) as error:
                self._refuse(question, CannotDo(str(error)))
                return tenant in self._waiting
            if has_begun and not question.waits:
                self._waiting.withdraw(question)
            else:
                self._waiting.pass_over(tenant)
            if has_begun:
                return tenant in self._waiting
        return False

    def _begin_some(self, question: Question, room: int) -> bool:
        asked = question.asked
        if asked.weights.name in self._broken:
            raise CannotDo(BROKEN)
        if not self._open[question] and not self._adapters.take(asked.weights):
            return False
        self._open[question] += 1
        if question.wanted is not None and question.is_unscored:
            name = engine_name(asked.weights)
            question.scoring = self._engine.scoring(asked.prompt, question.wanted, name)
            self._scoring.append(question)
            return True
        assert question.request is not None  # noqa: S101 - something of it waits
        width = max(1, self._engine.holds(question.request) // SHARE)
        self._begin(Part(question, question.request, min(question.num_waiting, room, width)))
        return True

    def _begin(self, part: Part) -> None:
        """Raises InvalidRequest: the engine can never do this."""
        asked = part.question.asked
        self._running[self._engine.add(part.request)] = part
        self._charge(part.question, len(asked.prompt))

    def _charge(self, question: Question, cost: int) -> None:
        self.num_tokens += cost
        self._entry.charge(question.asked.tenant, question.asked.share, cost)

    def _score(self) -> None:
        if not self._scoring:
            return
        first = {each.asked.tenant: each for each in reversed(self._scoring)}
        tenant = self._turn.next({name: each.asked.share for name, each in first.items()})
        question = first[tenant]
        scoring = question.scoring
        assert scoring is not None  # noqa: S101 - it is being scored
        before = scoring.num_read
        try:
            goes_on = scoring.step()
        except NonFiniteLogits:
            self._note_broken(question.asked.weights.name)
            self._refuse(question, CannotDo(BROKEN))
            return
        except Exception as error:  # noqa: BLE001 - who waits for it is told, whatever it was
            self._refuse(question, HandsLost(f"scoring a prompt failed: {type(error).__name__}"))
            return
        cost = scoring.num_read - before
        self._turn.charge(tenant, question.asked.share, cost)
        self._charge(question, cost)
        if not goes_on:
            self._scoring.remove(question)
            self._end_one(question)

    def _collect(self, events: Events) -> None:
        told = Counter[Question]()
        for event in events:
            part = self._running[event.ticket]
            told[part.question] += 1
            if part.told(event):
                del self._running[event.ticket]
                self._end_one(part.question)
        for question, count in told.items():
            self._charge(question, count)

    def _end_one(self, question: Question) -> None:
        """A part or the scoring of it has ended."""
        self._open[question] -= 1
        if not self._open[question]:
            del self._open[question]
            self._adapters.leave(question.asked.weights)
        if question.is_whole:
            _tell(question, lambda: question.future.set_result(question.sampled))

    def _refuse(self, question: Question, why: Exception) -> None:
        """All of it."""
        self._drop(question)
        _tell(question, lambda: question.future.set_exception(why))

    def _drop(self, question: Question) -> None:
        """Whatever of it waits or runs."""
        self._waiting.withdraw(question)
        for ticket in [each for each, part in self._running.items() if part.question is question]:
            del self._running[ticket]
            self._engine.cancel(ticket)
        if question in self._scoring:
            self._scoring.remove(question)
        self._apart = deque(
            left
            for parts in self._apart
            if (left := [p for p in parts if p.question is not question])
        )
        if self._open.pop(question, 0):
            self._adapters.leave(question.asked.weights)

    def _part_company(self, why: Exception) -> None:
        """Something that runs makes the engine fail: what, shows when each weights' questions run by themselves."""
        parts, self._running = [*self._running.values()], {}
        by_name: dict[str, list[Part]] = {}
        for part in parts:
            by_name.setdefault(part.question.asked.weights.name, []).append(part)
        if len(by_name) > 1:
            for part in parts:
                part.again()
            self._apart.extend(by_name.values())
            return
        for name in by_name:
            if isinstance(why, CannotDo):
                self._note_broken(name)
        for question in dict.fromkeys(part.question for part in parts):
            self._refuse(question, why)

    def _note_broken(self, name: str) -> None:
        if name:  # of the base it may have been this prompt alone
            self._broken[name] = None
            while len(self._broken) > MOST_BROKEN:
                del self._broken[next(iter(self._broken))]

    def _fail_running(self, why: Exception) -> None:
        for question in dict.fromkeys([part.question for part in self._running.values()]):
            self._refuse(question, why)


def _tell(question: Question, say: Callable[[], None]) -> None:
    if not question.has_left and not question.future.done():
        say()
