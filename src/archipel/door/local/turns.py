"""Operations that wait to be done, and which of them make up the next cycle. Pure.

Parts: `Waiting` (a model's turn), `Given` (what of it goes into a cycle), `Turns`. Laws: a model's operations are given in their
order, tenants by their shares, a tenant's models in turn; a cycle has no more tokens than may, unless one operation
alone has more.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from archipel.door.hands import Turn, TurnDone
from archipel.door.local.shares import Shares
from archipel.door.local.trainer import State
from archipel.training.tenants.operations import ForwardBackward, Operation, Outcome

STEP_TOKENS = 16
"""What a step of the optimiser counts as."""


def tokens_of(operation: Operation) -> int:
    """That pass through the model."""
    if isinstance(operation, ForwardBackward):
        return sum(len(datum.tokens_T) for datum in operation.data)
    return 0


def cost_of(operation: Operation) -> int:
    """Of an operation, in tokens, at least one."""
    return max(1, tokens_of(operation)) if isinstance(operation, ForwardBackward) else STEP_TOKENS


@dataclass(eq=False)
class Waiting:
    """A turn of which something is still to be done."""

    turn: Turn
    state: State
    """Of its model."""
    future: Future[TurnDone]
    outcomes: list[Outcome] = field(default_factory=list)
    num_given: int = 0
    """Operations that were given out."""
    has_left: bool = False
    """Whether nobody waits for it any more."""

    @property
    def next(self) -> Operation | None:
        """The operation that comes next."""
        operations = self.turn.operations
        return operations[self.num_given] if self.num_given < len(operations) else None

    @property
    def done(self) -> TurnDone:
        """All of it."""
        return TurnDone(tuple(self.outcomes), sum(map(tokens_of, self.turn.operations)))


@dataclass(frozen=True, eq=False)
class Given:
    """Of one turn, in one cycle."""

    waiting: Waiting
    operations: list[Operation]


class Turns:
    """Turns that wait, by tenant."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Waiting]] = {}
        self._shares = Shares[str]()
        self.alone = set[str]()
        """Models that are given a cycle of their own, since one of them may have made another fail."""

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def weight(self) -> int:
        """Of all tenants that wait."""
        return sum(self._weights().values())

    def put(self, waiting: Waiting) -> None:
        """Behind its tenant's others."""
        self._queues.setdefault(waiting.turn.tenant, deque()).append(waiting)

    def next(self, most_tokens: int) -> list[Given]:
        """What the next cycle does, in the order in which it was chosen."""
        self._forget_left()
        found: dict[Waiting, Given] = {}
        open_to, total = self._weights(), 0
        while open_to and total < most_tokens:
            tenant = self._shares.next(open_to)
            waiting = self._queues[tenant][0]
            operation = waiting.next
            cost = 0 if operation is None else cost_of(operation)
            is_alone = waiting.turn.model in self.alone
            if total and (total + cost > most_tokens or (is_alone and waiting not in found)):
                del open_to[tenant]  # it comes first another time
                continue
            given = found.setdefault(waiting, Given(waiting, []))
            if operation is not None:
                given.operations.append(operation)
                waiting.num_given += 1
                total += cost
                self._shares.charge(tenant, waiting.turn.share, cost)
            if is_alone:
                self._turn_over(tenant)
                break
            if not self._turn_over(tenant):
                del open_to[tenant]
        return list(found.values())

    def empty(self) -> list[Waiting]:
        """Nobody waits any more; who did."""
        waiting = [each for queue in self._queues.values() for each in queue]
        self._queues.clear()
        return waiting

    def _turn_over(self, tenant: str) -> bool:
        """The tenant's next model is next; whether it has something that waits."""
        queue = self._queues[tenant]
        first = queue.popleft()
        if first.next is not None:
            queue.append(first)
        if not queue:
            del self._queues[tenant]
        return bool(queue)

    def _forget_left(self) -> None:
        for tenant, queue in list(self._queues.items()):
            staying = deque(each for each in queue if not each.has_left)
            if staying:
                self._queues[tenant] = staying
            else:
                del self._queues[tenant]

    def _weights(self) -> dict[str, int]:
        return {tenant: queue[0].turn.share for tenant, queue in self._queues.items()}


def failed(waiting: Sequence[Waiting], why: Exception) -> None:
    """Tell who waits for these."""
    for each in waiting:
        if not each.future.done():
            each.future.set_exception(why)
