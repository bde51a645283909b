"""Turns done by nodes: one question each, or several where a turn is more than a question takes.

Parts: `Site` (what a run takes of a door), `Training`.
Laws: operations that were asked from where a model stands are not asked again, whatever turns they come in; an operation
that no question takes is refused here; after a refused one nothing of its turn is done, however the turn is cut.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from archipel.door.hands import CannotDo, HandsLost, ServedModel, Turn
from archipel.door.remote.asking import Asking, Forgotten
from archipel.door.remote.history import History, Place
from archipel.door.remote.lab import Asked, Standing
from archipel.door.remote.shelf import Shelf
from archipel.records.door import MAX_SHARE
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.payload import BadPayload
from archipel.records.programmes.door import DoorPace
from archipel.training.tenants.operations import ForwardBackward, Operation, Outcome, Refused
from archipel.training.tenants.parcels import (
    MAX_OPERATIONS,
    num_tokens_of,
    pack_operations,
    unpack_outcomes,
)

AFTER_REFUSED = "an earlier operation of this model was refused, so this one was not done"


@dataclass(frozen=True)
class Site:
    """A run, as its door knows it."""

    run: str
    pace: DoorPace
    served: tuple[ServedModel, ...]
    """The run's model under each of its names."""
    salt: bytes
    """So that nobody finds tenants' names by trying them."""

    def tag(self, tenant: str) -> str:
        """The digest that stands for a tenant."""
        return f"sha256:{hmac.new(self.salt, tenant.encode(), hashlib.sha256).hexdigest()}"

    def check_base(self, name: str) -> None:
        """Raises CannotDo: there is no such base."""
        if all(each.name != name for each in self.served):
            known = ", ".join(each.name for each in self.served)
            raise CannotDo(f"no base is called {name!r:.120}; expected one of: {known}")


class Training:
    """Of all models of a run."""

    def __init__(self, site: Site, asking: Asking, shelf: Shelf) -> None:
        self._site, self._asking, self._shelf = site, asking, shelf
        self.history = History()

    async def begin(self) -> None:
        """Learn what was asked before. Raises HandsLost."""
        for each in await self._asking.standings():
            if each.question is None or each.question.kind != "adapt":
                continue
            self.history.note(each.number, each.question)
            if isinstance(each.answer, AdaptAnswer):
                self.history.answered(each.number, each.answer)

    async def done(self, turn: Turn, place: Place) -> tuple[tuple[Outcome, ...], Place]:
        """What came of a turn's operations from here, and where its model is then.

        Raises:
            HandsLost, CannotDo: nothing of the turn counts.
        """
        rest, outcomes = list(turn.operations), list[Outcome]()
        while rest:
            portion = self._portion(rest)
            if portion:
                asked = await self._asked(turn, place, portion)
                place, came = await self._answered(turn.model, place, asked)
                count = len(asked.operations)
            else:
                count, came = 1, (self._too_large(rest[0]),)
            outcomes += came
            del rest[:count]
            if any(isinstance(each, Refused) for each in came):
                outcomes += [Refused(AFTER_REFUSED)] * len(rest)
                break
        return tuple(outcomes), place

    async def made(self, turn: Turn, place: Place) -> Place:
        """The same place, with a state that somebody has made.

        Raises:
            HandsLost: nobody did.
        """
        if place.state is not None:
            return place
        asked = await self._asked(turn, place, [])
        return (await self._answered(turn.model, place, asked))[0]

    async def make_room(self) -> bool:
        """Have the lab forget what no model needs; whether there was any."""
        numbers = self.history.unneeded(self.history.passed)
        if numbers:
            await self.withdraw(numbers)
        return bool(numbers)

    async def withdraw(self, numbers: Sequence[int]) -> None:
        """Have the lab forget these."""
        for number in numbers:
            self.history.lost(number)
        await self._asking.withdraw(list(numbers))

    def _portion(self, operations: Sequence[Operation]) -> list[Operation]:
        """As many of the first ones as one question takes."""
        found, num_tokens, num_bytes = list[Operation](), 0, 0
        pace = self._site.pace
        for each in operations[:MAX_OPERATIONS]:
            num_tokens += num_tokens_of([each])
            num_bytes += size_of(each)
            if num_tokens > pace.turn_tokens or num_bytes > pace.question_bytes:
                break
            found.append(each)
        return found

    def _too_large(self, operation: Operation) -> Refused:
        pace = self._site.pace
        return Refused(
            f"one operation of {num_tokens_of([operation])} tokens and about {size_of(operation)} bytes; this door's "
            f"network takes at most {pace.turn_tokens} tokens and {pace.question_bytes} bytes: send fewer data at once"
        )

    async def _asked(self, turn: Turn, place: Place, portion: list[Operation]) -> "_Asked":
        """The question for these operations, or the first of them: one that was asked before may have fewer."""
        if self.history.has_more(place):
            for count in range(len(portion), 0, -1):
                data = await asyncio.to_thread(pack_operations, portion[:count])
                digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
                number = self.history.asked(place, digest)
                if number is not None:
                    return _Asked(number, portion[:count], digest)
        data = await asyncio.to_thread(pack_operations, portion)
        blob = await self._asking.patiently(lambda: self._shelf.put(data))
        return _Asked(await self._ask(turn, place, portion, blob), portion, blob.digest)

    async def _ask(self, turn: Turn, place: Place, portion: list[Operation], blob: BlobRef) -> int:
        known = place.number in self.history.known
        question = place.asks(blob, is_kept=known)
        asked = Asked(
            tenant=self._site.tag(turn.tenant),
            share=min(turn.share, MAX_SHARE),
            num_tokens=num_tokens_of(portion),
            lasts_ms=self._asking.lasts_ms,
            question=question,
        )
        try:
            number = await self._asking.ask(asked, self.make_room)
        except Forgotten:
            if not known or place.number is None:
                raise
            self.history.lost(place.number)
            return await self._ask(turn, place, portion, blob)
        self.history.note(number, question)
        return number

    async def _answered(
        self, model: str, place: Place, asked: "_Asked"
    ) -> tuple[Place, tuple[Outcome, ...]]:
        """Where the model is then, and what came of these operations; raises HandsLost."""
        number = asked.number
        try:
            shown = await self._asking.answer(number)
        except HandsLost:
            self.history.lost(number)
            raise
        try:
            answer = self._looked_at(shown, place, asked)
            data = await self._asking.patiently(lambda: self._shelf.fetch(answer.outcomes))
            outcomes = await asyncio.to_thread(unpack_outcomes, data, asked.operations)
        except BadPayload as error:
            await self.withdraw([number])
            raise HandsLost(f"the answer to question {number} is none: {error}") from None
        self.history.answered(number, answer)
        self.history.came_to(model, number)
        return Place(number=number, state=answer.state), outcomes

    def _looked_at(self, shown: Standing, place: Place, asked: "_Asked") -> AdaptAnswer:
        """Raises BadPayload: to another question, or more bytes than a door takes in."""
        spec, answer, pace = shown.spec, shown.answer, self._site.pace
        if not isinstance(spec, AdaptSpec) or not isinstance(answer, AdaptAnswer):
            raise BadPayload("it samples; expected adapt")
        is_same = (spec.begins, spec.state) == (place.begins, place.state)
        if not is_same or spec.operations.digest != asked.digest:
            raise BadPayload("its node was told other operations, or another state before them")
        if answer.outcomes.size > pace.answer_bytes or answer.state.size > pace.state_bytes:
            raise BadPayload(
                f"outcomes of {answer.outcomes.size} bytes and a state of {answer.state.size}; expected at most "
                f"{pace.answer_bytes} and {pace.state_bytes}"
            )
        return answer


@dataclass(frozen=True)
class _Asked:
    """A question that the lab has."""

    number: int
    operations: Sequence[Operation]
    digest: str
    """Of their bytes."""


def size_of(operation: Operation) -> int:
    """Bytes that an operation takes in a question, about."""
    if not isinstance(operation, ForwardBackward):
        return 256
    arrays = (each for datum in operation.data for each in (datum.tokens_T, *datum.inputs.values()))
    return 512 + 128 * len(operation.data) + sum(each.nbytes for each in arrays)
