"""The one thread of a local door: cycles of training and slices of sampling in turn, by the shares of who waits for which.

Parts: `Desk`. Laws: nobody's operation waits for more than the cycle under way and those that its share gives to others; what
fails is told to all who waited for it, and the thread goes on; whoever leaves keeps nobody waiting.
"""

import threading
from collections.abc import Callable, Sequence

from archipel.door.hands import HandsLost
from archipel.door.local.fitting import Limits
from archipel.door.local.questions import Question
from archipel.door.local.sampling import Sampling
from archipel.door.local.shares import Shares
from archipel.door.local.turns import Given, Turns, Waiting, cost_of, failed
from archipel.training.tenants.operations import Outcome

ENDS = "the door ends; ask again when it is back"
END_S = 60.0
"""For the thread to end after the cycle or step under way."""
KEPT = 0.5
"""Of what was known of the speed of training, after another cycle."""
TRAINS, SAMPLES = "trains", "samples"

Train = Callable[[Sequence[Given], Callable[[], None]], Sequence[Sequence[Outcome]]]
"""Does a cycle's operations; calls between two passes, so that others get their part."""


class Desk:
    """Turns and questions in, what came of them out."""

    def __init__(
        self, train: Train, sampling: Sampling, limits: Limits, clock: Callable[[], float]
    ) -> None:
        """train: for this thread alone; clock: seconds, monotonic."""
        self._train, self._sampling, self._limits, self._clock = train, sampling, limits, clock
        self._wake = threading.Condition()
        self._turns, self._shares = Turns(), Shares[str]()
        self._asked: list[Question] = []
        self._left: list[Question] = []
        self._is_closed = False
        self._tokens_per_s = 0.0
        self.num_cycles = self.num_trained_tokens = 0
        self.last_seen_s = clock()
        """When the thread was last between two things."""
        self._thread = threading.Thread(target=self._drive, name="archipel-door", daemon=True)
        self._thread.start()

    def train(self, waiting: Waiting) -> None:
        """Let a turn wait. Raises HandsLost: the desk is closed."""
        with self._wake:
            self._check_open()
            self._turns.put(waiting)
            self._wake.notify()

    def ask(self, question: Question) -> None:
        """Let a question wait. Raises HandsLost: the desk is closed."""
        with self._wake:
            self._check_open()
            self._asked.append(question)
            self._wake.notify()

    def leave(self, question: Question) -> None:
        """Nobody waits for it any more."""
        with self._wake:
            self._left.append(question)
            self._wake.notify()

    @property
    def counts(self) -> dict[str, int]:
        """What is done and waits, for a progress line and metrics."""
        with self._wake:
            return {
                "cycles": self.num_cycles,
                "trained_tokens": self.num_trained_tokens,
                "sampled_tokens": self._sampling.num_tokens,
                "turns_waiting": len(self._turns),
            }

    def is_well(self, silent_s: float) -> bool:
        """Whether the thread was between two things no longer ago than that."""
        return self._thread.is_alive() and self._clock() - self.last_seen_s <= silent_s

    def close(self) -> None:
        """Have the thread end after what is under way, and wait for that; who still waits is told."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join(END_S)

    def _check_open(self) -> None:
        if self._is_closed:
            raise HandsLost(ENDS)

    def _drive(self) -> None:
        try:
            while self._next():
                pass
        except BaseException as error:
            # Nothing here is to raise; if something does, nobody must wait for a thread that is gone.
            self._end(
                HandsLost(f"the door's thread failed: {type(error).__name__}; start it again")
            )
            raise

    def _next(self) -> bool:
        """One cycle or slice; whether there is another."""
        with self._wake:
            while not (self._turns or self._asked or self._left or self._sampling.has_work):
                if self._is_closed:
                    break
                self._wake.wait()
            self.last_seen_s = self._clock()
            is_closed = self._is_closed
        self._take_in()
        if is_closed:
            self._end(HandsLost(ENDS))
            return False
        with self._wake:
            waiting = {TRAINS: self._turns.weight, SAMPLES: self._sampling.weight}
        waiting = {kind: weight for kind, weight in waiting.items() if weight}
        if not waiting:
            return True
        if self._shares.next(waiting) == TRAINS:
            self._cycle(waiting[TRAINS])
        else:
            self._slice()
        return True

    def _take_in(self) -> None:
        """Those who came and left meanwhile."""
        with self._wake:
            asked, self._asked = self._asked, []
            left, self._left = self._left, []
        for question in asked:
            self._sampling.put(question)
        for question in left:
            self._sampling.leave(question)

    def _slice(self) -> None:
        """Steps of sampling."""
        began_s, weight = self._clock(), self._sampling.weight
        while self._sampling.has_work:
            self._sampling.step()
            self.last_seen_s = self._clock()
            is_over = self.last_seen_s - began_s >= self._limits.slice_s
            if is_over or self._asked or self._left or self._is_closed:
                break
        self._shares.charge(SAMPLES, weight, self._clock() - began_s)

    def _between(self, weight: int) -> None:
        """Between two passes of a cycle, and after the last: it is charged, and what sampling is behind, it gets now."""
        now_s = self._clock()
        self._shares.charge(TRAINS, weight, now_s - self.last_seen_s)
        self.last_seen_s = now_s
        self._take_in()
        while self._sampling.has_work and not self._is_closed:
            if self._shares.next({TRAINS: weight, SAMPLES: self._sampling.weight}) == TRAINS:
                return
            self._slice()
            self._take_in()

    def _cycle(self, weight: int) -> None:
        limits = self._limits
        wanted = round(self._tokens_per_s * limits.cycle_s)
        most = min(max(limits.least_cycle_tokens, wanted), limits.most_cycle_tokens)
        with self._wake:
            given = self._turns.next(most)
        if not given:
            return
        began_s = self.last_seen_s = self._clock()
        sampled_s = 0.0

        def between() -> None:
            nonlocal sampled_s
            before_s = self._clock()
            self._between(weight)
            sampled_s += self._clock() - before_s

        try:
            outcomes = self._train(given, between)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            said = str(error) if isinstance(error, RuntimeError | MemoryError) else ""
            why = HandsLost(
                f"a cycle of training failed: {said or type(error).__name__}; go back to what was kept last"
            )
            for each in given:
                each.waiting.has_left = True
                self._turns.alone.add(each.waiting.turn.model)
            failed([each.waiting for each in given], why)
            return
        self._note(given, self._clock() - began_s - sampled_s)
        self._shares.charge(TRAINS, weight, self._clock() - self.last_seen_s)
        self._turns.alone.difference_update(each.waiting.turn.model for each in given)
        for each, found in zip(given, outcomes, strict=True):
            each.waiting.outcomes += found
            is_waited_for = not (each.waiting.has_left or each.waiting.future.done())
            if each.waiting.next is None and is_waited_for:
                each.waiting.future.set_result(each.waiting.done)

    def _note(self, given: Sequence[Given], elapsed_s: float) -> None:
        cost = sum(cost_of(operation) for each in given for operation in each.operations)
        self.num_cycles += 1
        self.num_trained_tokens += cost
        speed = cost / max(elapsed_s, 1e-6)
        kept = KEPT if self._tokens_per_s else 0.0
        self._tokens_per_s = kept * self._tokens_per_s + (1 - kept) * speed

    def _end(self, why: Exception) -> None:
        with self._wake:
            self._is_closed = True
            turns = self._turns.empty()
        self._take_in()
        failed(turns, why)
        self._sampling.fail(why)
