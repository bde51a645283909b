"""One line of a pool with what runs over it, in a thread of its own: while it makes a step, the others go on.

Parts: `Driver`, `waited_for`. Law: one thread holds drivers; what it gives one whose step is under way waits for that.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import torch

from archipel.engine.capacity import Capacity
from archipel.engine.machinery import Network
from archipel.engine.protocol import Events, Ticket
from archipel.records.requests import Request
from archipel.serve.pool.journal import Running
from archipel.serve.pool.line import Line
from archipel.serve.pool.retelling import Retelling, Retold, Said


class Driver:
    """Makes the steps of one line."""

    def __init__(self, capacity: Capacity, network: Network, line: Line) -> None:
        """network: whose layers are on the line."""
        self.line = line
        self._retold = Retold()
        self._generation = Retelling(capacity, network, self._retold)
        line.watch(Running(self._generation.slots_in_use, self._generation.slots_running))
        self._thread = ThreadPoolExecutor(1, "archipel-line")
        self._later: list[Callable[[], object]] = []
        self._open: dict[Ticket, int] = {}
        """How many sequences of each request were given and are not known to have ended."""
        self.stepping: Future[Events] | None = None
        """The step under way."""
        self.num_seen = 0
        """Devices that had joined when it was last looked whether the line would be better with them."""

    @property
    def has_work(self) -> bool:
        """Whether another step is needed."""
        return bool(self._later) or self._generation.has_work

    @property
    def num_open(self) -> int:
        """Sequences that wait or run."""
        return sum(self._open.values())

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """Of the requests that wait or run."""
        return tuple(self._open)

    @property
    def counts(self) -> dict[str, int]:
        """See `LocalEngine.counts`."""
        return dict(self._generation.counts)

    def add(self, ticket: Ticket, request: Request, said: Sequence[Sequence[Said]] = ()) -> None:
        """Let a request wait; said: by rollout, what it said over another line."""
        self._open[ticket] = request.num_rollouts
        self._do(lambda: self._add(ticket, request, said))

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request, after the step under way if there is one."""
        self._open.pop(ticket, None)
        self._do(lambda: self._cancel(ticket))

    def ended(self, ticket: Ticket) -> None:
        """One sequence of it has come to its end."""
        self._open[ticket] = self._open.get(ticket, 0) - 1
        if self._open[ticket] <= 0:
            del self._open[ticket]

    def start(self, first: Callable[[], object] = lambda: None) -> None:
        """Begin the next step, and before it do what is `first`; it is `stepping` until `collected`."""
        self._settle()
        self.stepping = self._thread.submit(self._step, first)

    def step(self, first: Callable[[], object] = lambda: None) -> Events:
        """The same at once, in this thread.

        Raises:
            PoolBroken: the line can hold the model no more. NonFiniteLogits: see `Generation.step`.
        """
        self._settle()
        return self._step(first)

    def collected(self) -> Events:
        """Of the step that was under way. Raises as `step`."""
        stepping, self.stepping = self.stepping, None
        return Events.joined(()) if stepping is None else stepping.result()

    def close(self) -> None:
        """Its thread ends after the step under way."""
        self._thread.shutdown(wait=False)

    def _do(self, what: Callable[[], object]) -> None:
        if self.stepping is None:
            what()
        else:
            self._later.append(what)

    def _settle(self) -> None:
        later, self._later = self._later, []
        for each in later:
            each()

    def _step(self, first: Callable[[], object]) -> Events:
        with torch.inference_mode():
            first()
            return self._generation.step()

    def _add(self, ticket: Ticket, request: Request, said: Sequence[Sequence[Said]]) -> None:
        self._retold.keep(ticket, said)
        self._generation.add(ticket, request)

    def _cancel(self, ticket: Ticket) -> None:
        self._generation.cancel(ticket)
        self._retold.forget(ticket)


def waited_for(drivers: Iterable[Driver], limit_s: float) -> list[Driver]:
    """Those whose step has ended; if none has, once the first does, or after `limit_s` seconds."""
    stepping = {each.stepping: each for each in drivers if each.stepping is not None}
    done = wait(stepping, limit_s, FIRST_COMPLETED).done
    return [driver for future, driver in stepping.items() if future in done]
