"""The one thread of a local door: passes of training and slices of sampling in turn, by the shares of who waits for which.

Parts: `Desk`. Laws: nobody's operation waits for more than the pass or slice under way and those that its share gives to others; what
fails is told to all who waited for it, and the thread goes on; whoever leaves keeps nobody waiting.
"""

import threading
from collections.abc import Callable, Sequence

from archipel.door.hands import HandsLost
from archipel.door.local.fitting import Limits
from archipel.door.local.questions import Question
from archipel.door.local.sampling import Sampling
from archipel.door.local.shares import Shares
from archipel.door.local.trainer import Trainer
from archipel.door.local.turns import Turns, Waiting

ENDS = "the door ends; ask again when it is back"
END_S = 60.0
"""For the thread to end after what is under way."""
TRAINS, SAMPLES = "trains", "samples"
SAID = (ArithmeticError, MemoryError, RuntimeError)
"""Errors that say what is wrong with weights, memory or devices; others may quote what somebody asked."""


class Desk:
    """Turns and questions in, what came of them out."""

    def __init__(
        self, trainer: Trainer, sampling: Sampling, limits: Limits, clock: Callable[[], float]
    ) -> None:
        """clock: seconds, monotonic."""
        self._trainer, self._sampling, self._limits, self._clock = trainer, sampling, limits, clock
        self._wake = threading.Condition()
        self._turns, self._shares = Turns(), Shares[str]()
        self._came: list[Waiting | Question] = []
        self._left: list[Question] = []
        self._is_closed = False
        self._counts = {"passes": 0, "trained_tokens": 0}
        self._last_seen_s = clock()
        """When the thread was last between two things."""
        self._thread = threading.Thread(target=self._drive, name="archipel-door", daemon=True)
        self._thread.start()

    def put(self, what: Waiting | Question) -> None:
        """Let it wait.

        Raises:
            HandsLost: the desk is closed.
        """
        with self._wake:
            if self._is_closed:
                raise HandsLost(ENDS)
            self._came.append(what)
            self._wake.notify()

    def leave(self, what: Waiting | Question) -> None:
        """Nobody waits for it any more."""
        what.has_left = True
        if isinstance(what, Question):
            with self._wake:
                self._left.append(what)
                self._wake.notify()

    def counts(self) -> dict[str, int]:
        """What was done and what waits, for a progress line and metrics; the latter as it was a moment ago."""
        now = {"turns_waiting": len(self._turns), "sampled_tokens": self._sampling.num_tokens}
        return {**self._counts, **now}

    def is_well(self, silent_s: float) -> bool:
        """Whether the thread is there, and was between two things no longer ago than that."""
        return self._thread.is_alive() and self._clock() - self._last_seen_s <= silent_s

    def close(self) -> None:
        """Have the thread end after what is under way, and wait for that; who still waits is told."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join(END_S)

    def _drive(self) -> None:
        why = HandsLost(ENDS)
        try:
            while self._next():
                pass
        except BaseException as error:
            # Nothing here is to raise; if something does, nobody must wait for a thread that is gone.
            why = HandsLost(
                f"the door's thread failed: {type(error).__name__}; start the door again"
            )
            raise
        finally:
            self._end(why)

    def _next(self) -> bool:
        """One pass or slice; whether there is another."""
        with self._wake:
            while not (self._came or self._left or self._has_work or self._is_closed):
                self._wake.wait()
            self._last_seen_s = self._clock()
            if self._is_closed:
                return False
        self._take_in()
        weights = {TRAINS: self._turns.weight, SAMPLES: self._sampling.weight}
        waiting = {kind: weight for kind, weight in weights.items() if weight}
        if not waiting:
            return True
        kind = self._shares.next(waiting)
        began_s = self._clock()
        if kind == TRAINS:
            self._pass()
        else:
            self._slice(began_s + self._limits.slice_s)
        self._shares.charge(kind, waiting[kind], self._clock() - began_s)
        return True

    @property
    def _has_work(self) -> bool:
        return bool(len(self._turns) or self._sampling.has_work)

    def _take_in(self) -> None:
        """Those who came and left meanwhile."""
        with self._wake:
            came, self._came = self._came, []
            left, self._left = self._left, []
        for each in came:
            if isinstance(each, Question):
                self._sampling.put(each)
            else:
                self._turns.put(each)
        for question in left:
            self._sampling.leave(question)

    def _slice(self, until_s: float) -> None:
        """Steps of sampling, up to this moment, or to the next who comes."""
        while self._sampling.has_work:
            self._sampling.step()
            self._last_seen_s = self._clock()
            if self._last_seen_s >= until_s or self._came or self._left or self._is_closed:
                return

    def _pass(self) -> None:
        chosen = self._turns.next(self._ready, self._limits.pass_tokens)
        if not chosen:
            return
        rows = sum(each.rows or 0 for each in chosen)
        try:
            self._trainer.advance([each.going for each in chosen])
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            # Whoever it was, it fails alone next time, and nobody beside it.
            self._turns.alone.update(each.turn.model for each in chosen)
            self._fail(chosen, _lost(error))
            return
        self._turns.alone.difference_update(each.turn.model for each in chosen)
        self._counts["passes"] += 1
        self._counts["trained_tokens"] += rows
        for each in chosen:
            each.rows = None
            self._ready(each)

    def _ready(self, waiting: Waiting) -> int:
        try:
            waiting.rows = self._trainer.ready(waiting.going)
        except Exception as error:  # noqa: BLE001 - as for a pass
            waiting.rows = 0
            self._fail([waiting], _lost(error))
            return 0
        if not waiting.rows:
            self._turns.remove(waiting)
            if not (waiting.has_left or waiting.future.done()):
                waiting.future.set_result(waiting.done)
        return waiting.rows

    def _fail(self, some: Sequence[Waiting], why: Exception) -> None:
        for each in some:
            self._turns.remove(each)
            if not (each.has_left or each.future.done()):
                each.future.set_exception(why)

    def _end(self, why: Exception) -> None:
        with self._wake:
            self._is_closed = True
        self._take_in()
        self._fail(self._turns.empty(), why)
        self._sampling.fail(why)


def _lost(error: Exception) -> HandsLost:
    said = str(error) if isinstance(error, SAID) else ""
    return HandsLost(
        f"a pass of training failed: {said or type(error).__name__}; go back to what was kept last"
    )
