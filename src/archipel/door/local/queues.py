"""Questions of which something is to begin, by tenant. Pure.

Parts: `Queues`. Law: a tenant's questions take turns.
"""

from collections import deque
from collections.abc import Iterator

from archipel.door.local.questions import Question


class Queues:
    """Of all tenants."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Question]] = {}

    def __len__(self) -> int:
        return sum(map(len, list(self._queues.values())))  # others look, too

    def __contains__(self, tenant: object) -> bool:
        return tenant in self._queues

    def __iter__(self) -> Iterator[Question]:
        return (each for queue in self._queues.values() for each in queue)

    @property
    def shares(self) -> dict[str, int]:
        """Of the tenants that wait."""
        return {tenant: queue[0].asked.share for tenant, queue in self._queues.items()}

    def of(self, tenant: str) -> int:
        """How many of this one wait."""
        return len(self._queues.get(tenant, ()))

    def put(self, question: Question) -> None:
        """Behind its tenant's others."""
        self._queues.setdefault(question.asked.tenant, deque()).append(question)

    def first(self, tenant: str) -> Question:
        """The one that is next."""
        return self._queues[tenant][0]

    def pass_over(self, tenant: str) -> None:
        """The tenant's next one is next."""
        self._queues[tenant].rotate(-1)

    def withdraw(self, question: Question) -> None:
        """Nothing of it waits."""
        tenant = question.asked.tenant
        queue = self._queues.get(tenant)
        if queue is not None and question in queue:
            queue.remove(question)
            if not queue:
                del self._queues[tenant]
