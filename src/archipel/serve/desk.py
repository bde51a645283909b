"""The one thread that drives an engine for everybody who asks: step() after step(), fair between keys.

Parts: `Desk`; `queues` says who is next, `errands` has what it does between steps. Who hangs up is forgotten before the
next one. Laws: a question waits behind its own key's, never behind all of another's; no more wait than may; an engine
that fails answers everybody with that, and the next question begins anew.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from archipel.engine.protocol import Event, OpenEngine, Ticket
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.defects import broken
from archipel.serve.errands import Errands, do
from archipel.serve.question import Broken, Crowded, Refusal, TooLong
from archipel.serve.queues import SHARE, Listener, Part, Queues

END_S = 30.0
PAUSE_S = 0.1
"""After a turn that failed: what it lacked may be back then."""
ENDS = "the server ends; ask again when it is back"
SAID = (ArithmeticError, RuntimeError)
"""Errors of engines that say what is wrong with weights, memory or devices."""
T = TypeVar("T")


@dataclass(frozen=True)
class Room:
    """How much may be under way."""

    running: int = 32
    """Sequences in the engine."""
    waiting: int = 256
    """Questions of which something waits for that, of all keys."""
    waiting_of_one: int = 128
    """Of one key."""


class Desk:
    """Questions in, events out."""

    def __init__(self, engine: OpenEngine, room: Room = Room()) -> None:
        self._engine, self._room = engine, room
        self._turn = threading.Condition()
        self._queues = Queues()
        self._running: dict[Ticket, Part] = {}
        self._left: list[Listener] = []
        self._told: list[Listener] = []
        """Those that something begins or is heard for in this turn: what was for them is lost if it fails."""
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
                raise Broken(ENDS)
            own, waiting = self._queues.of(listener.key), len(self._queues)
            # Who has none waiting is let in: others' crowd is not theirs.
            if (own and waiting >= self._room.waiting) or own >= self._room.waiting_of_one:
                raise Crowded(
                    f"{waiting} questions are waiting, {own} of them with this key; ask again in a moment"
                )
            self._queues.put(listener)
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
                raise Broken(ENDS)
            future = self._errands.put(errand, key)
            self._turn.notify()
        return future

    def counts(self) -> Mapping[str, int]:
        """Questions that wait and sequences that run, and what the engine counts, for health and metrics."""
        counted = getattr(self._engine, "counts", {})  # not every engine counts anything
        with self._turn:
            return {**counted, "waiting": len(self._queues), "running": self._num_running}

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
        return sum(part.remaining for part in self._running.values())

    def _drive(self) -> None:
        is_over = False
        while not is_over:
            try:
                is_over = self._takes_turn()
            except Exception as error:  # noqa: BLE001  without memory, say: a desk that nobody drives answers nobody again
                with suppress(MemoryError):
                    broken(error, "driving the engine")
                with suppress(MemoryError):
                    self._fail_all(
                        Broken(f"the desk failed: {type(error).__name__}; ask again"), self._told
                    )
                time.sleep(PAUSE_S)

    def _takes_turn(self) -> bool:
        """All that is to be done between two steps, and the next step; whether it was the last."""
        with self._turn:
            while not (
                self._queues or self._running or self._left or self._errands or self._is_closed
            ):
                self._turn.wait()
            left, self._left, self._told = self._left, [], []
            is_closed, coming = self._is_closed, [] if self._is_closed else self._next()
            errand = None if is_closed else self._errands.next()
            self._told += [part.listener for part in coming]
        for listener in left:
            self._forget(listener)
        if is_closed:
            self._fail_all(Broken(ENDS))
            return True
        for part in coming:
            self._begin(part)
        if errand is not None:
            do(*errand, self._engine)
        self._step()
        return False

    def _next(self) -> list[Part]:
        """Whose turn it is, as far as there is room."""
        found, held = list[Part](), getattr(self._engine, "holds", _whole)
        running = [*self._running.values()]
        free = self._room.running - self._num_running
        while free > 0 and (part := self._queues.next(free, [*running, *found], held)) is not None:
            found.append(part)
            free -= part.remaining
        return found

    def _begin(self, part: Part) -> None:
        listener = part.listener
        if listener.has_left:
            return
        try:
            ticket = self._engine.add(part.request)
        except InvalidRequest as error:
            self._refuse(listener, TooLong(str(error)))
            return
        except Exception as error:  # noqa: BLE001  whatever it was, whoever asked is told and the thread goes on
            self._refuse(listener, broken(error, "taking a request"))
            return
        with self._turn:
            self._running[ticket] = part

    def _refuse(self, listener: Listener, why: Refusal) -> None:
        """All of it, whatever of it runs."""
        listener.has_left = True
        self._forget(listener)
        listener.fail(why)

    def _forget(self, listener: Listener) -> None:
        with self._turn:
            found = [each for each, part in self._running.items() if part.listener is listener]
            for ticket in found:
                del self._running[ticket]
        for ticket in found:
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
            part = self._running.get(ticket)
            if part is not None:
                self._tell(ticket, part, some)

    def _tell(self, ticket: Ticket, part: Part, events: list[Event]) -> None:
        was_silent, listener = not part.has_begun, part.listener
        heard = part.told(events)
        with self._turn:
            if not part.remaining:
                del self._running[ticket]
            if was_silent and part.has_begun and listener.num_waiting:
                self._queues.put(listener)  # the rest finds its prompt read
        self._told.append(listener)
        listener.hear(heard)

    def _fail_all(self, why: Refusal, told: Sequence[Listener] = ()) -> None:
        """Of all that runs; told: and these."""
        with self._turn:
            waiting = self._queues.empty() if self._is_closed else []
            parts, self._running = self._running, {}
            if self._is_closed:
                self._errands.fail(why)
        for ticket in parts:
            self._cancel(ticket)
        running = [part.listener for part in parts.values()]
        for listener in dict.fromkeys([*running, *waiting, *told]):
            listener.has_left = True  # what of it waits goes in no more
            listener.fail(why)


def _whole(request: Request) -> int:
    """Of an engine that does not say what it holds."""
    return SHARE * request.num_rollouts
