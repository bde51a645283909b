"""Turns that wait and go on, and whose pieces make up the next pass. Pure.

Parts: `Waiting` (a model's turn), `Turns`. Laws: tenants come by their shares, a tenant's models in turn, of each turn one piece in a
pass; a pass has no more rows than may, unless one piece alone has more.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from archipel.door.hands import Turn, TurnDone
from archipel.door.local.shares import Shares
from archipel.door.local.trainer import Going
from archipel.training.tenants.operations import ForwardBackward, Operation

STEP_ROWS = 16
"""What is done without a pass, such as a step of the optimiser, counts as so many rows."""


def tokens_of(operations: Sequence[Operation]) -> int:
    """That pass through the model."""
    return sum(
        len(datum.tokens_T)
        for each in operations
        if isinstance(each, ForwardBackward)
        for datum in each.data
    )


def sound(operations: Sequence[Operation], longest: int) -> tuple[int, str]:
    """How many come before one with a sequence that is too long for a pass, and what to say of that and all after it."""
    for number, each in enumerate(operations):
        lengths = [len(d.tokens_T) for d in each.data] if isinstance(each, ForwardBackward) else []
        if max(lengths, default=0) > longest:
            return number, (
                f"a sequence has {max(lengths)} tokens, and a pass takes {longest} here: cut it, and send this operation "
                "and those after it again"
            )
    return len(operations), ""


@dataclass(eq=False)
class Waiting:
    """A turn that is not done yet."""

    turn: Turn
    going: Going
    future: Future[TurnDone]
    rows: int | None = None
    """Of its next piece; None: it is not ready."""
    has_left: bool = False
    """Whether nobody waits for it any more."""

    @property
    def done(self) -> TurnDone:
        """What came of it."""
        return TurnDone(tuple(self.going.outcomes), tokens_of(self.turn.operations))


class Turns:
    """By tenant."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Waiting]] = {}
        self._shares = Shares[str]()
        self.alone = set[str]()
        """Models that have a pass of their own, since one of them may have made another's fail."""

    def __len__(self) -> int:
        return sum(map(len, list(self._queues.values())))  # others look, too

    @property
    def weight(self) -> int:
        """Of all tenants that wait."""
        return sum(self._weights().values())

    def put(self, waiting: Waiting) -> None:
        """Behind its tenant's others."""
        self._queues.setdefault(waiting.turn.tenant, deque()).append(waiting)

    def next(self, ready: Callable[[Waiting], int], most_rows: int) -> list[Waiting]:
        """Whose pieces make up the next pass.

        ready: makes one ready that is not, and gives the rows of its piece; 0: it is done, and waits no more, whether
        it was removed there or not.
        """
        self._forget_left()
        found: list[Waiting] = []
        open_to, rows, cost = self._weights(), 0, 0
        while open_to and rows + cost < most_rows:
            tenant = self._shares.next(open_to)
            waiting = self._queues[tenant][0]
            if waiting in found:
                del open_to[tenant]
                continue
            if waiting.rows is None:
                waiting.rows = ready(waiting)
                cost += STEP_ROWS
                self._shares.charge(tenant, waiting.turn.share, STEP_ROWS)
            if not waiting.rows:
                self.remove(waiting)
                if tenant not in self._queues:
                    del open_to[tenant]
                continue
            is_alone = waiting.turn.model in self.alone
            if found and (is_alone or rows + waiting.rows > most_rows):
                del open_to[tenant]  # it comes first another time
                continue
            found.append(waiting)
            rows += waiting.rows
            self._shares.charge(tenant, waiting.turn.share, waiting.rows)
            self._queues[tenant].rotate(-1)
            if is_alone:
                break
        return found

    def remove(self, waiting: Waiting) -> None:
        """It is done."""
        queue = self._queues.get(waiting.turn.tenant)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            if not queue:
                del self._queues[waiting.turn.tenant]

    def empty(self) -> list[Waiting]:
        """Nobody waits any more; who did."""
        waiting = [each for queue in self._queues.values() for each in queue]
        self._queues.clear()
        return waiting

    def _forget_left(self) -> None:
        for queue in list(self._queues.values()):
            for each in [each for each in queue if each.has_left]:
                self.remove(each)

    def _weights(self) -> dict[str, int]:
        return {tenant: queue[0].turn.share for tenant, queue in self._queues.items()}
