"""The one thread that drives an engine for everybody who asks: step() after step(), fair between keys.

Parts: `Desk`, `Listener`; `errands` has what it does between steps. Who hangs up is forgotten before the next one. Laws: a question waits behind its own
key's, never behind all of another's; no more wait than may; an engine that fails answers everybody with that,
and the next question begins anew.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from archipel.engine.protocol import Event, OpenEngine, Ticket
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.defects import broken
from archipel.serve.errands import Errands, do
from archipel.serve.question import Broken, Crowded, Refusal, TooLong

END_S = 30.0
SAID = (ArithmeticError, RuntimeError)
"""Errors of engines that say what is wrong with weights, memory or devices."""
T = TypeVar("T")


@dataclass(frozen=True)
class Room:
    """How much may be under way."""

    running: int = 32
    """Sequences in the engine before no further question is taken in."""
    waiting: int = 256
    """Questions that wait for that, of all keys."""
    waiting_of_one: int = 128
    """Of one key."""


@dataclass(eq=False)
class Listener:
    """Who waits for one answer. Its two functions are called from the desk's thread, and must not wait."""

    request: Request
    key: str
    hear: Callable[[list[Event]], None]
    fail: Callable[[Refusal], None]
    ticket: Ticket | None = None
    has_left: bool = False
    remaining: int = field(init=False)

    def __post_init__(self) -> None:
        self.remaining = self.request.num_rollouts


class Desk:
    """Questions in, events out."""

    def __init__(self, engine: OpenEngine, room: Room = Room()) -> None:
        self._engine, self._room = engine, room
        self._turn = threading.Condition()
        self._queues: OrderedDict[str, deque[Listener]] = OrderedDict()
        """By key; the first is served next."""
        self._running: dict[Ticket, Listener] = {}
        self._left: list[Listener] = []
        self._errands = Errands(room.waiting)
        self._is_closed = False
        self.num_tokens = 0
        """Sampled since the beginning."""
        self._thread = threading.Thread(target=self._drive, name="archipel-desk", daemon=True)
        self._thread.start()

    def ask(self, listener: Listener) -> None:
        """Let it wait for its turn.

        Raises:
            Crowded: too many wait already. Broken: the desk is closed.
        """
        with self._turn:
            if self._is_closed:
                raise Broken("the server ends; ask again when it is back")
            own = self._queues.get(listener.key, ())
            waiting = sum(map(len, self._queues.values()))
            is_full = (
                waiting >= self._room.waiting and own
            )  # who has none waiting is let in: others' crowd is not theirs
            if is_full or len(own) >= self._room.waiting_of_one:
                raise Crowded(
                    f"{waiting} questions are waiting, {len(own)} of them with this key; ask again in a moment"
                )
            self._queues.setdefault(listener.key, deque()).append(listener)
            self._turn.notify()

    def leave(self, listener: Listener) -> None:
        """Nobody waits for it any more: nothing follows, and its slots are free within one step."""
        with self._turn:
            if listener.has_left:
                return
            listener.has_left = True
            self._left.append(listener)
            self._turn.notify()

    def run(self, errand: Callable[[OpenEngine], T], key: str = "") -> "Future[T]":
        """Have the desk's thread do this with the engine between two steps; `key`: whose it is, for fair turns.

        It keeps everybody waiting, so it must be short: what takes longer comes again for its next part.

        Raises:
            Crowded: too many wait already.
        """
        with self._turn:
            if self._is_closed:
                raise Broken("the server ends; ask again when it is back")
            future = self._errands.put(errand, key)
            self._turn.notify()
        return future

    def counts(self) -> Mapping[str, int]:
        """Questions that wait and sequences that run, and what the engine counts, for health and metrics."""
        counted = getattr(self._engine, "counts", {})  # not every engine counts anything
        with self._turn:
            waiting = sum(map(len, self._queues.values()))
            return {**counted, "waiting": waiting, "running": self._num_running}

    def end(self) -> None:
        """Have the thread end after this step; who still waits or is answered is told."""
        with self._turn:
            self._is_closed = True
            self._turn.notify()

    def close(self) -> None:
        """End the thread, and wait for that."""
        self.end()
        self._thread.join(END_S)

    @property
    def _num_running(self) -> int:
        return sum(listener.remaining for listener in self._running.values())

    def _drive(self) -> None:
        while True:
            with self._turn:
                while not (
                    self._queues or self._running or self._left or self._errands or self._is_closed
                ):
                    self._turn.wait()
                left, self._left = self._left, []
                is_closed, coming = self._is_closed, [] if self._is_closed else self._next()
                errand = None if is_closed else self._errands.next()
            for listener in left:
                self._forget(listener)
            if is_closed:
                self._fail_all(Broken("the server ends; ask again when it is back"))
                return
            for listener in coming:
                self._begin(listener)
            if errand is not None:
                do(*errand, self._engine)
            self._step()

    def _next(self) -> list[Listener]:
        """Whose turn it is: one question of each key after another, as far as there is room."""
        found, running = list[Listener](), self._num_running
        while self._queues:
            key, queue = next(iter(self._queues.items()))
            wanted = queue[0].request.num_rollouts
            if not queue[0].has_left:
                # One of many answers goes in wherever there is room for one, and the engine lets them enter as they fit:
                # were it to wait until all do, everybody behind it would, too.
                if running >= self._room.running:
                    break
                found.append(queue[0])
                running += wanted
            queue.popleft()
            if queue:
                self._queues.move_to_end(key)
            else:
                del self._queues[key]
        return found

    def _begin(self, listener: Listener) -> None:
        try:
            # What the engine holds of one key's prompts shortens nobody else's answer.
            listener.ticket = self._engine.add(replace(listener.request, salt=listener.key))
        except InvalidRequest as error:
            listener.fail(TooLong(str(error)))
            return
        except Exception as error:  # noqa: BLE001  whatever it was, whoever asked is told and the thread goes on
            listener.fail(broken(error, "taking a request"))
            return
        with self._turn:
            self._running[listener.ticket] = listener

    def _forget(self, listener: Listener) -> None:
        ticket = listener.ticket
        if ticket is None:
            return
        with self._turn:
            is_running = self._running.pop(ticket, None) is not None
        if is_running:
            self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        try:
            self._engine.cancel(ticket)
        except Exception as error:  # noqa: BLE001  whatever it was, the thread goes on
            broken(error, "cancelling a request")

    def _step(self) -> None:
        if not self._running:
            return
        try:
            events = self._engine.step()
        except Exception as error:  # noqa: BLE001  everybody who waits is told, and the thread goes on
            broken(error, "making a step")
            # The words of other errors may quote a question, and everybody hears these.
            words = str(error) if isinstance(error, SAID) else type(error).__name__
            self._fail_all(Broken(f"the engine failed: {words}"))
            return
        told: dict[Ticket, list[Event]] = {}
        for event in events:
            told.setdefault(event.ticket, []).append(event)
        self.num_tokens += len(events)
        for ticket, some in told.items():
            listener = self._running.get(ticket)
            if listener is None:
                continue
            listener.remaining -= sum(each.ended is not None for each in some)
            if not listener.remaining:
                with self._turn:
                    del self._running[ticket]
            listener.hear(some)

    def _fail_all(self, why: Refusal) -> None:
        with self._turn:
            waiting = [each for queue in self._queues.values() for each in queue]
            everyone = [*self._running.values(), *(waiting if self._is_closed else ())]
            running, self._running = self._running, {}
            if self._is_closed:
                self._queues.clear()
                self._errands.fail(why)
        for ticket in running:
            self._cancel(ticket)
        for listener in everyone:
            listener.fail(why)
