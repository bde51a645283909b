"""Rewards from a separate confined process, so that no completion can touch the learner or another's reward.

Parts: `Submission`, `Grader`. The other side of the pipe is `work.grading`, which says what confines it.
Laws: each grading has a time of its own and each batch a budget; whatever goes wrong with one (hang, crash,
exception, a reward that is no number in [0, 1]) gives reward 0, is counted by cause, and the rest of the
batch goes on. What one completion does, no other's reward shows. The secret travels in the pipe, never in
arguments or the environment. POSIX only.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from archipel.records.recipe import EnvironmentSection, Recipe
from archipel.training.grading_pipe import Child, ChildLost, GraderUnavailable, json_line

__all__ = ["Grader", "GraderUnavailable", "Submission", "grader_of"]

log = logging.getLogger(__name__)

BUDGET_S = 60.0
"""A batch takes no longer, unless more was given."""
LEASE_SHARE = 0.2
"""Of the time that an update or an evaluation may take, for grading one batch."""
GRACE_S = 10.0
"""Beyond the budget, for what is no grading: making tasks, forking, a busy machine."""
MAX_CHILDREN_IN_VAIN = 3
"""So many processes in a row may be lost without a reward: a machine short of memory kills one now and then,
and what a completion does ends its own cell alone."""
MAX_COMPLETION_CHARS = 1_000_000
"""A longer completion is not graded."""

DEFAULT_FACTORY = "archipel.training.environments.environment:make_environment"
CAUSES = frozenset({"timeout", "crash", "exception", "out_of_range", "garbled", "oversized"})


@dataclass(frozen=True)
class Submission:
    """One completion of one task of the environment."""

    split: str
    index: int
    completion: str
    finished: bool


class Grader:
    """Grades batches in a child process; a context manager that closes it.

    Safe to use from several threads: batches queue. `faults` counts rewards of 0 that no grader
    gave, by cause: timeout, crash, exception, out_of_range, garbled, oversized. `protections` names
    what holds where completions are graded.
    """

    def __init__(
        self,
        section: EnvironmentSection,
        seed: int,
        secret: bytes | None = None,
        factory: str = DEFAULT_FACTORY,
        budget_s: float = BUDGET_S,
    ) -> None:
        """Prepare; the child starts on entering the context or with the first batch.

        Args:
            section: the recipe's `[environment]`; its `time_limit_s` bounds each grading.
            seed: the run's seed, as for `make_environment`.
            secret: as for `make_environment`.
            factory: "module:function" with the signature of `make_environment`.
            budget_s: a batch takes no longer; well below the lease that it is graded under.
        """
        self.faults: Counter[str] = Counter()
        self.protections: tuple[str, ...] = ()
        self._limit_s = section.time_limit_s
        self._budget_s = budget_s
        self._lock = threading.Lock()
        self._child: Child | None = None
        setup = {
            "factory": factory,
            "section": section.model_dump(mode="json"),
            "seed": seed,
            "secret": None if secret is None else secret.hex(),
        }
        self._setup = json_line(setup)

    def __enter__(self) -> Self:
        with self._lock:
            self._running()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, submissions: Sequence[Submission]) -> tuple[float, ...]:
        """Rewards in [0, 1], in order.

        Raises:
            GraderUnavailable: the child does not start, or the machine cannot confine it.
        """
        with self._lock:
            rewards: dict[int, float] = {}
            for number, submission in enumerate(submissions):
                if len(submission.completion) > MAX_COMPLETION_CHARS:
                    rewards[number] = self._zero("oversized", "completion too long")
            self._running()
            ends_s, in_vain = time.monotonic() + self._budget_s, 0
            while missing := [n for n in range(len(submissions)) if n not in rewards]:
                found = len(rewards)
                try:
                    self._ask({n: submissions[n] for n in missing}, ends_s, rewards)
                except ChildLost as lost:
                    self._drop()
                    in_vain = in_vain + 1 if len(rewards) == found else 0
                    if in_vain >= MAX_CHILDREN_IN_VAIN or time.monotonic() >= ends_s:
                        self._give_up(set(missing) - set(rewards), str(lost), rewards)
            return tuple(rewards[number] for number in range(len(submissions)))

    def close(self) -> None:
        """End the child; a later batch would start a new one."""
        with self._lock:
            self._drop()

    def _ask(
        self, submissions: dict[int, Submission], ends_s: float, rewards: dict[int, float]
    ) -> None:
        """Put a reward beside each number, as they come."""
        child = self._running()
        left_s = max(0.0, ends_s - time.monotonic())
        child.send(_batch(submissions, self._limit_s, left_s))
        last_s = time.monotonic() + left_s + GRACE_S
        for _ in range(len(submissions)):
            reply = child.receive(last_s - time.monotonic())
            number = reply.get("number")
            if not isinstance(number, int) or number not in submissions or number in rewards:
                raise ChildLost("garbled")
            rewards[number] = self._judge(reply)

    def _give_up(self, numbers: set[int], cause: str, rewards: dict[int, float]) -> None:
        """Neither time nor a new child helps."""
        for number in sorted(numbers):
            rewards[number] = self._zero(cause, f"the grading process was lost at {number}")

    def _judge(self, reply: dict[str, Any]) -> float:
        if "fault" in reply:
            return self._zero(str(reply["fault"]), str(reply.get("detail")))
        reward = reply.get("reward")
        if not isinstance(reward, float) or not math.isfinite(reward) or not 0.0 <= reward <= 1.0:
            return self._zero("out_of_range", f"reward {reward!r:.80}, expected 0 to 1")
        return reward

    def _zero(self, cause: str, detail: str) -> float:
        cause = cause if cause in CAUSES else "garbled"  # a cell may say what it likes
        self.faults[cause] += 1
        log.warning("grading fault: %s: %.500r", cause, detail)
        return 0.0

    def _running(self) -> Child:
        if self._child is None:
            self._child = Child(self._setup)
            self.protections = self._child.protections
            if self._child.missing:
                log.warning("graders are not fully confined: no %s", ", ".join(self._child.missing))
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def grader_of(recipe: Recipe, secret: bytes | None) -> Grader:
    """The grader of a run, whose batches take a small part of the lease that they are graded under."""
    budget_s = recipe.lease.update_deadline_s * LEASE_SHARE
    return Grader(recipe.environment, recipe.run.seed, secret, budget_s=budget_s)


def _batch(submissions: dict[int, Submission], limit_s: float, budget_s: float) -> bytes:
    header = {"count": len(submissions), "limit_s": limit_s, "budget_s": budget_s}
    lines = [
        [number, each.split, each.index, each.completion, each.finished]
        for number, each in submissions.items()
    ]
    return b"".join(map(json_line, (header, *lines)))
